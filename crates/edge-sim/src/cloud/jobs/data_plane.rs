//! Data plane over MQTT: the requests `get`, `start-next` and `update` of a device.

use serde_json::{Map, Value, json};

use super::change::{Change, details, flag, number, status, step_timer};
use super::fields::identifier;
use super::messages::Publication;
use super::payloads;
use super::refusal::{Code, Outcome, Refusal};
use super::state::{Account, Execution, Job, Status};

/// Words of the API in the place of a job ID: a job of this name is out of reach.
const RESERVED: [&str; 4] = ["get", "start-next", "notify", "notify-next"];

/// Request of a device, from its topic.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    List,
    StartNext,
    Describe(&'a str),
    Update(&'a str),
}

impl Request<'_> {
    /// Returns whether the request counts as a write in the quotas.
    pub(super) fn writes(&self) -> bool {
        matches!(self, Self::StartNext | Self::Update(_))
    }
}

/// Returns the thing and the request that a topic names; `None` if it is not that of a
/// request.
pub(super) fn parse(topic: &str) -> Option<(&str, Request<'_>)> {
    let (thing, rest) = topic.strip_prefix("$aws/things/")?.split_once("/jobs/")?;
    let levels: Vec<_> = rest.split('/').collect();
    let request = match levels[..] {
        ["get"] => Request::List,
        ["start-next"] => Request::StartNext,
        [job, _] if RESERVED.contains(&job) => return None,
        ["$next", "get"] => Request::Describe("$next"),
        [job, "get"] if identifier(job, 64, "") => Request::Describe(job),
        [job, "update"] if identifier(job, 64, "") => Request::Update(job),
        _ => return None,
    };
    Some((thing, request))
}

/// Refusal of an update, with the state that the execution has.
struct Rejection {
    refusal: Refusal,
    state: Option<Value>,
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            state: None,
        }
    }
}

/// Answers a request; returns `…/accepted` or `…/rejected` of its topic.
pub(super) fn answer(
    account: &mut Account,
    topic: &str,
    payload: &[u8],
    now: u64,
    throttled: bool,
) -> Option<Publication> {
    let (thing, request) = parse(topic)?;
    let parsed = serde_json::from_slice::<Value>(payload);
    let body = match &parsed {
        Ok(Value::Object(body)) => body.clone(),
        _ => Map::new(),
    };
    let result = match &parsed {
        _ if throttled => Err(Refusal::new(Code::Throttled, "Rate exceeded").into()),
        Err(_) if !payload.is_empty() => Err(Refusal::new(
            Code::InvalidJson,
            "The contents of the request could not be interpreted as valid UTF-8-encoded JSON",
        )
        .into()),
        Ok(value) if !value.is_object() => {
            Err(Refusal::invalid("The request is not a JSON object").into())
        }
        _ => execute(account, thing, &request, &body, now),
    };
    let (end, mut answer) = match result {
        Ok(answer) => ("accepted", answer),
        Err(rejection) => {
            let mut answer = json!({
                "code": rejection.refusal.code.over_mqtt(),
                "message": rejection.refusal.message,
            });
            if let Some(state) = rejection.state {
                answer["executionState"] = state;
            }
            ("rejected", answer)
        }
    };
    answer["timestamp"] = now.into();
    if let Some(token @ Value::String(_)) = body.get("clientToken") {
        answer["clientToken"] = token.clone();
    }
    Some(Publication {
        topic: format!("{topic}/{end}"),
        payload: answer,
    })
}

fn execute(
    account: &mut Account,
    thing: &str,
    request: &Request<'_>,
    body: &Map<String, Value>,
    now: u64,
) -> Result<Value, Rejection> {
    if body
        .get("clientToken")
        .is_some_and(|token| !token.is_string())
    {
        return Err(Refusal::invalid("clientToken must be a string").into());
    }
    Ok(match request {
        Request::List => {
            let (in_progress, queued) = payloads::lists(account, thing);
            json!({ "inProgressJobs": in_progress, "queuedJobs": queued })
        }
        Request::Describe(id) => describe(account, thing, id, body, now)?,
        Request::StartNext => start_next(account, thing, body, now)?,
        Request::Update(id) => return update(account, thing, id, body, now),
    })
}

fn described(execution: Option<Value>) -> Value {
    execution.map_or_else(|| json!({}), |execution| json!({ "execution": execution }))
}

fn describe(
    account: &Account,
    thing: &str,
    id: &str,
    body: &Map<String, Value>,
    now: u64,
) -> Outcome<Value> {
    let document = flag(body, "includeJobDocument")?.unwrap_or(true);
    let wanted = number(body, "executionNumber")?;
    if id == "$next" {
        let pending = account.pending(thing);
        let front = pending.first();
        return Ok(described(front.map(|(job, execution)| {
            payloads::execution(job, execution, now, document)
        })));
    }
    let (job, execution) = find(account, thing, id, wanted)?;
    if execution.status.is_final() {
        return Err(Refusal::new(
            Code::TerminalStateReached,
            "Job Execution has reached terminal state. It is neither IN_PROGRESS nor QUEUED",
        ));
    }
    Ok(described(Some(payloads::execution(
        job, execution, now, document,
    ))))
}

fn find<'a>(
    account: &'a Account,
    thing: &str,
    id: &str,
    number: Option<u64>,
) -> Outcome<(&'a Job, &'a Execution)> {
    let job = account.jobs.get(id);
    let found = job.and_then(|job| Some((job, job.execution(thing, number)?)));
    found.ok_or_else(|| Refusal::not_found(format!("Job {id} not found for {thing}")))
}

fn start_next(
    account: &mut Account,
    thing: &str,
    body: &Map<String, Value>,
    now: u64,
) -> Outcome<Value> {
    let details = details(body)?;
    let step = step_timer(body)?;
    let Some((id, sequence, status)) = (account.pending(thing).first())
        .map(|(job, execution)| (job.id.clone(), execution.sequence, execution.status))
    else {
        return Ok(described(None));
    };
    let started = account.with(&id, |_, job| {
        if status == Status::Queued {
            let change = Change {
                status: Status::InProgress,
                details,
                step,
            };
            change.apply(job, sequence, now);
        }
        let execution = job.executions.iter().find(|e| e.sequence == sequence);
        execution.map(|execution| payloads::execution(job, execution, now, true))
    });
    account.changed.insert(thing.into());
    Ok(described(started.flatten()))
}

fn update(
    account: &mut Account,
    thing: &str,
    id: &str,
    body: &Map<String, Value>,
    now: u64,
) -> Result<Value, Rejection> {
    let wanted = number(body, "executionNumber")?;
    let (_, execution) = find(account, thing, id, wanted)?;
    let change = Change {
        status: status(body)?,
        details: details(body)?,
        step: step_timer(body)?,
    };
    let refused = |code, message: String| Rejection {
        refusal: Refusal::new(code, message),
        state: Some(payloads::state(execution)),
    };
    if let Some(expected) = number(body, "expectedVersion")?
        && expected != execution.version
    {
        return Err(refused(
            Code::VersionMismatch,
            format!(
                "Expected version {expected} but found version {}",
                execution.version
            ),
        ));
    }
    if execution.status.is_final() {
        return Err(refused(
            Code::InvalidStateTransition,
            format!(
                "Job {id} for {thing} has already finished with status {}",
                execution.status.name()
            ),
        ));
    }
    let want_state = flag(body, "includeJobExecutionState")?.unwrap_or(false);
    let want_document = flag(body, "includeJobDocument")?.unwrap_or(false);
    let (sequence, status) = (execution.sequence, change.status);
    account.changed.insert(thing.into());
    let answer = account.with(id, |account, job| {
        change.apply(job, sequence, now);
        if status != Status::InProgress {
            account.finish(job, sequence, status, now);
        }
        let mut answer = json!({});
        let execution = job.executions.iter().find(|e| e.sequence == sequence);
        if let Some(execution) = execution.filter(|_| want_state) {
            answer["executionState"] = payloads::state(execution);
        }
        if want_document {
            answer["jobDocument"] = payloads::document(job);
        }
        answer
    });
    Ok(answer.unwrap_or_default())
}
