//! Requests of the control plane about executions.

use serde_json::{Value, json};

use super::context::Context;
use super::fields::choice;
use super::refusal::{Code, Outcome, Refusal};
use super::state::{Execution, STATUSES, Status};
use super::{arn, change, fields};

fn number(text: Option<&str>) -> Outcome<Option<u64>> {
    let parsed = text.map(str::parse).transpose();
    parsed.map_err(|_| Refusal::invalid("executionNumber is not a number"))
}

fn summary(execution: &Execution) -> Value {
    let mut value = json!({
        "status": execution.status.name(),
        "queuedAt": execution.queued_at,
        "lastUpdatedAt": execution.updated_at,
        "executionNumber": execution.number,
        "retryAttempt": execution.repeats.len(),
    });
    if let Some(started) = execution.started_at {
        value["startedAt"] = started.into();
    }
    value
}

fn wanted(c: &Context<'_>) -> Outcome<Option<Status>> {
    let names = STATUSES.map(|(status, name, _)| (name, status));
    choice(&c.parameters(), "status", &names)
}

/// Handles ListJobExecutionsForJob.
pub(super) fn of_job(c: &mut Context<'_>, id: &str) -> Outcome<Value> {
    let status = wanted(c)?;
    let mut executions: Vec<_> = c.job(id)?.executions.iter().collect();
    executions.sort_by_key(|e| (&e.thing, std::cmp::Reverse(e.number)));
    let fits = |e: &&&Execution| status.is_none_or(|status| e.status == status);
    let all = executions.iter().filter(fits).map(
        |e| json!({ "thingArn": arn::of("thing", &e.thing), "jobExecutionSummary": summary(e) }),
    );
    c.page("executionSummaries", all.collect())
}

/// Handles ListJobExecutionsForThing.
pub(super) fn of_thing(c: &mut Context<'_>, thing: &str) -> Outcome<Value> {
    if !c.account.things.contains(thing) {
        return Err(Refusal::not_found(format!("Thing {thing} not found")));
    }
    let (status, id) = (wanted(c)?, c.parameter("jobId"));
    let jobs = c
        .account
        .jobs
        .values()
        .filter(|job| id.is_none_or(|id| job.id == id));
    let mut all: Vec<_> = jobs
        .flat_map(|job| job.executions.iter().map(move |e| (job, e)))
        .filter(|(_, e)| e.thing == thing && status.is_none_or(|status| e.status == status))
        .collect();
    all.sort_by_key(|(_, e)| std::cmp::Reverse(e.sequence));
    let all = all.into_iter().map(
        |(job, execution)| json!({ "jobId": job.id, "jobExecutionSummary": summary(execution) }),
    );
    c.page("executionSummaries", all.collect())
}

/// Handles DescribeJobExecution.
pub(super) fn execution(c: &mut Context<'_>, thing: &str, id: &str) -> Outcome<Value> {
    let execution = c.execution(thing, id, number(c.parameter("executionNumber"))?)?;
    let mut value = summary(execution);
    if let Some(fields) = value.as_object_mut() {
        fields.remove("retryAttempt");
    }
    value["jobId"] = id.into();
    value["thingArn"] = arn::of("thing", thing).into();
    value["versionNumber"] = execution.version.into();
    value["forceCanceled"] = execution.force_canceled.into();
    value["statusDetails"] = json!({ "detailsMap": execution.details });
    if let Some(due) = execution.due() {
        value["approximateSecondsBeforeTimedOut"] = due.saturating_sub(c.now).into();
    }
    Ok(json!({ "execution": value }))
}

/// Handles CancelJobExecution.
pub(super) fn cancel_execution(c: &mut Context<'_>, thing: &str, id: &str) -> Outcome<Value> {
    let names = ["expectedVersion", "statusDetails"];
    let fields = fields::object(c.body, "CancelJobExecution", &names)?;
    let details = change::details(fields)?;
    let expected = fields::number(fields, names[0], 0, u64::MAX)?;
    let (force, execution) = (c.force(), c.execution(thing, id, None)?);
    if let Some(expected) = expected.filter(|expected| *expected != execution.version) {
        return Err(Refusal::new(
            Code::VersionMismatch,
            format!(
                "Expected version {expected} but found version {}",
                execution.version
            ),
        ));
    }
    if execution.status.is_final() || execution.status == Status::InProgress && !force {
        return Err(Refusal::new(
            Code::InvalidStateTransition,
            format!("Job {id} for {thing} is {}", execution.status.name()),
        ));
    }
    let (sequence, now) = (execution.sequence, c.now);
    c.account.with(id, |account, job| {
        if let Some(execution) = job.executions.iter_mut().find(|e| e.sequence == sequence) {
            execution.force_canceled = force && execution.status == Status::InProgress;
            execution.details = details.unwrap_or(std::mem::take(&mut execution.details));
        }
        account.finish(job, sequence, Status::Canceled, now);
    });
    Ok(json!({}))
}

/// Handles DeleteJobExecution.
pub(super) fn delete_execution(
    c: &mut Context<'_>,
    thing: &str,
    id: &str,
    text: &str,
) -> Outcome<Value> {
    let execution = c.execution(thing, id, number(Some(text))?)?;
    if !execution.status.is_final() && !c.force() {
        return Err(Refusal::new(
            Code::InvalidStateTransition,
            format!("Job {id} for {thing} is {}", execution.status.name()),
        ));
    }
    let (sequence, now) = (execution.sequence, c.now);
    c.account.changed.insert(thing.into());
    c.account.with(id, |_, job| {
        job.executions.retain(|e| e.sequence != sequence);
        job.complete(now);
    });
    Ok(json!({}))
}
