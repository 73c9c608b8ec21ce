//! Update of an execution by a device, from the fields of its request.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::fields::{identifier, printable};
use super::refusal::{Code, Outcome, Refusal};
use super::state::{Job, Status};
use super::validation::MAX_TIMEOUT;

/// Largest number of pairs in status details.
const MAX_DETAILS: usize = 10;
/// Largest size of a value in status details, in characters.
const MAX_DETAIL: usize = 1024;

/// Validated update of an execution.
pub(super) struct Change {
    pub status: Status,
    pub details: Option<BTreeMap<String, String>>,
    pub step: Option<StepTimer>,
}

/// Request for the step timer.
pub(super) enum StepTimer {
    Off,
    Minutes(u64),
}

impl Change {
    /// Writes details, start and timers to the execution; the caller ends it.
    pub(super) fn apply(self, job: &mut Job, sequence: u64, now: u64) {
        let timeout = job.config.timeout;
        let Some(execution) = job.executions.iter_mut().find(|e| e.sequence == sequence) else {
            return;
        };
        if let Some(details) = self.details {
            execution.details = details;
        }
        if self.status != Status::InProgress {
            return;
        }
        if execution.started_at.is_none() {
            execution.started_at = Some(now);
            execution.job_timer = timeout.map(|minutes| now + minutes * 60);
        }
        match self.step {
            Some(StepTimer::Off) => execution.step_timer = None,
            Some(StepTimer::Minutes(minutes)) => execution.step_timer = Some(now + minutes * 60),
            None => {}
        }
        execution.status = Status::InProgress;
        execution.updated_at = now;
        execution.version += 1;
    }
}

/// Returns the status that an update requests; a device may set four of them.
pub(super) fn status(body: &Map<String, Value>) -> Outcome<Status> {
    let name = match body.get("status") {
        Some(Value::String(name)) => name,
        _ => return Err(Refusal::invalid("Missing required field: status")),
    };
    match Status::named(name) {
        None => Err(Refusal::invalid(format!(
            "Invalid job execution status: '{name}'"
        ))),
        Some(
            status @ (Status::InProgress | Status::Succeeded | Status::Failed | Status::Rejected),
        ) => Ok(status),
        Some(_) => Err(Refusal::new(
            Code::InvalidStateTransition,
            format!("The status of job execution cannot be changed to be {name}"),
        )),
    }
}

/// Returns the status details of a request: keys and values as the published model limits
/// them.
pub(super) fn details(body: &Map<String, Value>) -> Outcome<Option<BTreeMap<String, String>>> {
    let pairs = match body.get("statusDetails") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(pairs)) => pairs,
        Some(_) => return Err(Refusal::invalid("statusDetails must be an object")),
    };
    if pairs.len() > MAX_DETAILS {
        return Err(Refusal::invalid(format!(
            "statusDetails has more than {MAX_DETAILS} pairs"
        )));
    }
    let mut details = BTreeMap::new();
    for (key, value) in pairs {
        let value = value.as_str().unwrap_or_default();
        let size = value.chars().count();
        let fits = (1..=MAX_DETAIL).contains(&size) && value.chars().all(printable);
        if !fits || !identifier(key, 128, ":") {
            return Err(Refusal::invalid(format!(
                "statusDetails has the invalid pair {key:?}"
            )));
        }
        details.insert(key.clone(), value.to_string());
    }
    Ok(Some(details))
}

/// Returns the step timer that a request sets.
pub(super) fn step_timer(body: &Map<String, Value>) -> Outcome<Option<StepTimer>> {
    let name = "stepTimeoutInMinutes";
    if body
        .get(name)
        .is_some_and(|value| value == -1 || value == "-1")
    {
        return Ok(Some(StepTimer::Off));
    }
    match number(body, name)? {
        None => Ok(None),
        Some(minutes) if (1..=MAX_TIMEOUT).contains(&minutes) => {
            Ok(Some(StepTimer::Minutes(minutes)))
        }
        Some(minutes) => Err(Refusal::invalid(format!(
            "{name} is {minutes}, neither -1 nor between 1 and {MAX_TIMEOUT}"
        ))),
    }
}

/// Returns a whole number; AWS also accepts it as text.
pub(super) fn number(body: &Map<String, Value>, name: &str) -> Outcome<Option<u64>> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let text = value.as_str().and_then(|text| text.parse().ok());
            let number = value.as_u64().or(text);
            let number = number.ok_or_else(|| Refusal::invalid(format!("{name} is {value}")));
            number.map(Some)
        }
    }
}

/// Returns a boolean.
pub(super) fn flag(body: &Map<String, Value>, name: &str) -> Outcome<Option<bool>> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(value) => Err(Refusal::invalid(format!("{name} is {value}, no boolean"))),
    }
}
