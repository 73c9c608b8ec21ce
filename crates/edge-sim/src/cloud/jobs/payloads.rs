//! JSON of the data plane: summaries, executions, notifications.

use serde_json::{Map, Value, json};

use super::messages::Publication;
use super::state::{Account, Announced, Execution, Job, MAX_LISTED, Status};

/// Returns the summary of an execution in a list.
fn summary(job: &Job, execution: &Execution) -> Value {
    let mut summary = json!({
        "jobId": job.id,
        "queuedAt": execution.queued_at,
        "lastUpdatedAt": execution.updated_at,
        "executionNumber": execution.number,
        "versionNumber": execution.version,
    });
    if let Some(started) = execution.started_at {
        summary["startedAt"] = started.into();
    }
    summary
}

/// Returns the pending executions of a thing in progress and those queued, together at most
/// as many as AWS lists.
pub(super) fn lists(account: &Account, thing: &str) -> (Vec<Value>, Vec<Value>) {
    let (mut in_progress, mut queued) = (Vec::new(), Vec::new());
    for (job, execution) in account.pending(thing).into_iter().take(MAX_LISTED) {
        let list = match execution.status {
            Status::InProgress => &mut in_progress,
            _ => &mut queued,
        };
        list.push(summary(job, execution));
    }
    (in_progress, queued)
}

/// Returns an execution as the data plane describes it.
pub(super) fn execution(job: &Job, execution: &Execution, now: u64, document: bool) -> Value {
    let mut value = summary(job, execution);
    value["status"] = execution.status.name().into();
    if !execution.details.is_empty() {
        value["statusDetails"] = json!(execution.details);
    }
    if let Some(due) = execution.due() {
        value["approximateSecondsBeforeTimedOut"] = due.saturating_sub(now).into();
    }
    if document {
        value["jobDocument"] = self::document(job);
    }
    value
}

/// Returns the state of an execution in an answer to an update.
pub(super) fn state(execution: &Execution) -> Value {
    let mut value = json!({
        "status": execution.status.name(),
        "versionNumber": execution.version,
    });
    if !execution.details.is_empty() {
        value["statusDetails"] = json!(execution.details);
    }
    value
}

/// Returns the document of a job as an object. As at AWS, members that are null vanish.
pub(super) fn document(job: &Job) -> Value {
    let parsed = serde_json::from_str(&job.document).unwrap_or(Value::Null);
    without_nulls(parsed)
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(_, member)| !member.is_null());
            let kept: Map<_, _> = kept
                .map(|(name, member)| (name, without_nulls(member)))
                .collect();
            Value::Object(kept)
        }
        Value::Array(elements) => elements.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// Returns the notifications for the things whose list changed since the last call: `notify`
/// after a change of its members, `notify-next` after a change of the first one.
pub(super) fn notifications(account: &mut Account, now: u64) -> Vec<Publication> {
    let mut publications = Vec::new();
    for thing in std::mem::take(&mut account.changed) {
        let pending = account.pending(&thing);
        let sequences = pending.iter().map(|(_, execution)| execution.sequence);
        let present = Announced {
            members: sequences.clone().collect(),
            front: sequences.clone().next(),
        };
        let earlier = account.announced.get(&thing).cloned().unwrap_or_default();
        let topic = |end: &str| format!("$aws/things/{thing}/jobs/{end}");
        if present.members != earlier.members {
            let (in_progress, queued) = lists(account, &thing);
            let named = [("IN_PROGRESS", in_progress), ("QUEUED", queued)];
            let filled = named.into_iter().filter(|(_, list)| !list.is_empty());
            let jobs: Map<_, _> = filled
                .map(|(name, list)| (name.into(), list.into()))
                .collect();
            publications.push(Publication {
                topic: topic("notify"),
                payload: json!({ "timestamp": now, "jobs": jobs }),
            });
        }
        if present.front != earlier.front {
            let mut payload = json!({ "timestamp": now });
            if let Some((job, front)) = pending.first() {
                payload["execution"] = execution(job, front, now, true);
            }
            publications.push(Publication {
                topic: topic("notify-next"),
                payload,
            });
        }
        account.announced.insert(thing, present);
    }
    publications
}
