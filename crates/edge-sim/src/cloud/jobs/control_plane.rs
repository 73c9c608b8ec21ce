//! Control plane over HTTPS: routes, and the requests about jobs.

use serde_json::{Map, Value, json};

use super::context::{Context, Route};
use super::fields::{object, printable, text};
use super::messages::{Call, Response};
use super::quota::Calls;
use super::refusal::{Code, Outcome, Refusal};
use super::rollout::Cancellation;
use super::state::{Account, Job, JobStatus, STATUSES, Status, Target};
use super::{arn, execution_calls as executions, group_calls, validation};

/// Answers a request, or refuses it above the quota of its kind.
pub(super) fn respond(account: &mut Account, calls: &mut Calls, call: &Call, now: u64) -> Response {
    let body = match call.body.is_empty() {
        true => Ok(json!({})),
        false => serde_json::from_slice(&call.body),
    };
    let outcome = match body {
        Ok(body) => route(account, calls, call, &body, now),
        Err(_) => Err(Refusal::invalid("The request body is not JSON")),
    };
    match outcome {
        Ok(body) => Response {
            status: 200,
            error: None,
            body,
        },
        Err(refusal) => {
            let (status, error) = refusal.code.over_https();
            let mut body = json!({ "message": refusal.message });
            if let (Code::AlreadyExists, Some(id)) = (refusal.code, call.path.rsplit('/').next()) {
                body["resourceId"] = id.into();
                body["resourceArn"] = arn::of("job", id).into();
            }
            Response {
                status,
                error: Some(error),
                body,
            }
        }
    }
}

fn route(
    account: &mut Account,
    calls: &mut Calls,
    call: &Call,
    body: &Value,
    now: u64,
) -> Outcome<Value> {
    let levels: Vec<_> = call.path.split('/').skip(1).collect();
    let mut context = Context {
        account,
        call,
        body,
        now,
    };
    let context = &mut context;
    let (kind, answer): Route<'_> = match (call.method.as_str(), &levels[..]) {
        ("GET", ["jobs"]) => ("ListJobs", Box::new(list)),
        ("PUT", ["jobs", id]) => ("CreateJob", Box::new(|c| create(c, id))),
        ("GET", ["jobs", id]) => ("DescribeJob", Box::new(|c| describe(c, id))),
        ("PATCH", ["jobs", id]) => ("UpdateJob", Box::new(|c| update(c, id))),
        ("DELETE", ["jobs", id]) => ("DeleteJob", Box::new(|c| delete(c, id))),
        ("PUT", ["jobs", id, "cancel"]) => ("CancelJob", Box::new(|c| cancel(c, id))),
        ("POST", ["jobs", id, "targets"]) => {
            ("AssociateTargetsWithJob", Box::new(|c| associate(c, id)))
        }
        ("GET", ["jobs", id, "job-document"]) => ("GetJobDocument", Box::new(|c| document(c, id))),
        ("GET", ["jobs", id, "things"]) => (
            "ListJobExecutionsForJob",
            Box::new(|c| executions::of_job(c, id)),
        ),
        ("GET", ["things", thing, "jobs"]) => (
            "ListJobExecutionsForThing",
            Box::new(|c| executions::of_thing(c, thing)),
        ),
        ("GET", ["things", thing, "jobs", id]) => (
            "DescribeJobExecution",
            Box::new(|c| executions::execution(c, thing, id)),
        ),
        ("PUT", ["things", thing, "jobs", id, "cancel"]) => (
            "CancelJobExecution",
            Box::new(|c| executions::cancel_execution(c, thing, id)),
        ),
        ("DELETE", ["things", thing, "jobs", id, "executionNumber", number]) => (
            "DeleteJobExecution",
            Box::new(|c| executions::delete_execution(c, thing, id, number)),
        ),
        (method, levels) => group_calls::route(method, levels)?,
    };
    if !calls.take(kind, context.now) {
        return Err(Refusal::new(Code::Throttled, "Rate exceeded"));
    }
    answer(context)
}

fn identity(job: &Job) -> Value {
    let mut value = json!({ "jobArn": arn::of("job", &job.id), "jobId": job.id });
    if let Some(description) = job.requested.get("description") {
        value["description"] = description.clone();
    }
    value
}

fn create(c: &mut Context<'_>, id: &str) -> Outcome<Value> {
    let request = validation::create(c.account, id, c.body, c.now)?;
    if c.account.jobs.contains_key(id) {
        return Err(Refusal::new(
            Code::AlreadyExists,
            format!("Job {id} already exists"),
        ));
    }
    validation::quota(c.account, request.continuous)?;
    let mut job = Job {
        id: id.into(),
        targets: request.targets,
        continuous: request.continuous,
        document: request.document,
        config: request.config,
        requested: request.requested,
        status: JobStatus::Scheduled,
        force_canceled: false,
        reason_code: None,
        comment: None,
        created_at: c.now,
        updated_at: c.now,
        completed_at: None,
        waiting: Default::default(),
        next_batch: None,
        stopped: false,
        executions: Vec::new(),
    };
    if job.config.starts_at.is_none() {
        c.account.begin(&mut job, c.now);
    }
    if !request.tags.is_empty() {
        let tags = request.tags.into_iter().collect();
        c.account.tags.insert(arn::of("job", id), tags);
    }
    let created = identity(&job);
    c.account.jobs.insert(id.into(), job);
    Ok(created)
}

/// Returns the fields that a job has in a list and in its description.
fn outline(job: &Job) -> Value {
    let mut value = json!({
        "jobArn": arn::of("job", &job.id),
        "jobId": job.id,
        "targetSelection": if job.continuous { "CONTINUOUS" } else { "SNAPSHOT" },
        "status": job.status.name(),
        "createdAt": job.created_at,
        "lastUpdatedAt": job.updated_at,
    });
    if let Some(completed) = job.completed_at {
        value["completedAt"] = completed.into();
    }
    value
}

fn describe(c: &mut Context<'_>, id: &str) -> Outcome<Value> {
    let job = c.job(id)?;
    let mut value = outline(job);
    let targets = job.targets.iter().map(arn::of_target);
    value["targets"] = targets.clone().collect();
    let counts = STATUSES
        .iter()
        .map(|(status, _, counter)| ((*counter).into(), job.count(*status).into()));
    let mut details: Map<String, Value> = counts.collect();
    if job.status == JobStatus::InProgress && (job.continuous || !job.waiting.is_empty()) {
        details.insert("processingTargets".into(), targets.collect());
    }
    value["jobProcessDetails"] = details.into();
    for (name, requested) in &job.requested {
        value[name] = requested.clone();
    }
    for (name, text) in [("reasonCode", &job.reason_code), ("comment", &job.comment)] {
        if let Some(text) = text {
            value[name] = text.as_str().into();
        }
    }
    if job.force_canceled {
        value["forceCanceled"] = true.into();
    }
    Ok(json!({ "job": value }))
}

fn document(c: &mut Context<'_>, id: &str) -> Outcome<Value> {
    Ok(json!({ "document": c.job(id)?.document }))
}

fn list(c: &mut Context<'_>) -> Outcome<Value> {
    let group = c
        .parameter("thingGroupName")
        .map(|name| Target::Group(name.into()));
    let (status, selection) = (c.parameter("status"), c.parameter("targetSelection"));
    let mut jobs: Vec<_> = (c.account.jobs.values())
        .filter(|job| {
            group
                .as_ref()
                .is_none_or(|group| job.targets.contains(group))
        })
        .filter(|job| status.is_none_or(|status| job.status.name() == status))
        .filter(|job| {
            selection.is_none_or(|selection| (selection == "CONTINUOUS") == job.continuous)
        })
        .collect();
    jobs.sort_by_key(|job| (std::cmp::Reverse(job.created_at), &job.id));
    c.page("jobs", jobs.into_iter().map(outline).collect())
}

fn update(c: &mut Context<'_>, id: &str) -> Outcome<Value> {
    let job = c.job(id)?;
    if !matches!(job.status, JobStatus::InProgress | JobStatus::Scheduled) {
        return Err(Refusal::invalid(format!(
            "Job {id} has ended and cannot be updated"
        )));
    }
    let known = validation::CONFIGURATIONS
        .iter()
        .filter(|name| **name != "schedulingConfig");
    let fields = object(c.body, "UpdateJob", &known.copied().collect::<Vec<_>>())?;
    if fields.is_empty() {
        return Err(Refusal::invalid(format!(
            "Update Job request for job {id} cannot be empty."
        )));
    }
    let (mut config, mut requested) = (job.config.clone(), job.requested.clone());
    validation::configure(&mut config, fields, c.now)?;
    let repeats = fields.contains_key("jobExecutionsRetryConfig");
    if repeats && config.retries.iter().any(|retry| retry.times > 0) {
        return Err(Refusal::invalid("retries of a job can only be set to 0"));
    }
    requested.extend(validation::requested(fields));
    let now = c.now;
    c.account.with(id, |_, job| {
        (job.config, job.requested, job.updated_at) = (config, requested, now);
    });
    Ok(json!({}))
}

fn associate(c: &mut Context<'_>, id: &str) -> Outcome<Value> {
    let fields = object(c.body, "AssociateTargetsWithJob", &["targets", "comment"])?;
    text(fields, "comment", 2028, printable)?;
    let added = validation::targets(c.account, fields)?;
    let job = c.job(id)?;
    if !job.continuous || job.status != JobStatus::InProgress {
        return Err(Refusal::invalid(format!(
            "Job {id} is not a continuous job in progress"
        )));
    }
    if job.targets.len() + added.len() > 100 {
        return Err(Refusal::new(
            Code::LimitExceeded,
            "a job has at most 100 targets",
        ));
    }
    let now = c.now;
    let joined = c.account.members(&added);
    let identity = c.account.with(id, |account, job| {
        let added = added
            .into_iter()
            .filter(|target| !job.targets.contains(target));
        let added: Vec<_> = added.collect();
        job.targets.extend(added);
        for thing in joined {
            account.join(job, &thing, now);
        }
        identity(job)
    });
    Ok(identity.unwrap_or_default())
}

fn cancel(c: &mut Context<'_>, id: &str) -> Outcome<Value> {
    let fields = object(c.body, "CancelJob", &["reasonCode", "comment"])?;
    let code = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let cancellation = Cancellation {
        force: c.force(),
        reason_code: text(fields, "reasonCode", 128, code)?,
        comment: text(fields, "comment", 2028, printable)?,
    };
    let job = c.job(id)?;
    let running = job.count(Status::InProgress) > 0;
    let again = job.status == JobStatus::Canceled && cancellation.force && running;
    if !again && !matches!(job.status, JobStatus::InProgress | JobStatus::Scheduled) {
        return Err(Refusal::invalid(format!(
            "Job {id} is {} and cannot be canceled",
            job.status.name()
        )));
    }
    let now = c.now;
    let identity = c.account.with(id, |account, job| {
        account.cancel(job, cancellation, now);
        identity(job)
    });
    Ok(identity.unwrap_or_default())
}

fn delete(c: &mut Context<'_>, id: &str) -> Outcome<Value> {
    let force = c.force();
    c.account.delete_job(id, force)?;
    c.account.tags.remove(&arn::of("job", id));
    Ok(json!({}))
}
