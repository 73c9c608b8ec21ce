//! AWS IoT Jobs at the strict endpoint: answers and notifications, correct or with a fault of
//! the script.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::fault::{Kind, Script, Stage, spoil};
use super::sessions::{Outbox, Sessions};
use super::{Shared, lock};
use crate::cloud::jobs::Publication;
use crate::cloud::pki;

/// Depth of a hostile document.
const DEPTH: usize = 1000;

/// End of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The connection stays open.
    Open,
    /// The connection is closed after its messages are sent.
    Cut,
}

/// Returns the stage of a request about jobs; `None` for any other topic.
pub(super) fn stage(topic: &str) -> Option<Stage> {
    let levels: Vec<_> = topic.split('/').collect();
    match levels[..] {
        ["$aws", "things", _, "jobs", "get"] => Some(Stage::JobsList),
        ["$aws", "things", _, "jobs", "start-next"]
        | ["$aws", "things", _, "jobs", _, "update"] => Some(Stage::JobsUpdate),
        ["$aws", "things", _, "jobs", _, "get"] => Some(Stage::JobsDescribe),
        _ => None,
    }
}

fn closed(reason: &str) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, reason)
}

/// Executes a request and adds its answer to `outbox`, with the next fault of its stage.
pub(super) fn answer(
    shared: &Shared,
    outbox: &Outbox,
    stage: Stage,
    (topic, payload): (&str, &[u8]),
) -> io::Result<End> {
    let fault = lock(&shared.script).next(stage);
    match fault {
        Some(Kind::Silent) => return Ok(End::Open),
        Some(Kind::Dropped) => return Err(closed("dropped")),
        _ => {}
    }
    if let Some(code) = fault.and_then(rejection) {
        shared.note("jobs", false);
        let token = serde_json::from_slice::<Value>(payload).unwrap_or_default();
        let mut answer = json!({ "code": code, "message": "As the script of faults says" });
        if token["clientToken"].is_string() {
            answer["clientToken"] = token["clientToken"].clone();
        }
        outbox.push(&format!("{topic}/rejected"), answer.to_string().into());
        return Ok(End::Open);
    }
    let held = shared.jobs.receive(topic, payload, |answer| {
        let answer = answer?;
        let succeeded = answer.topic.ends_with("/accepted");
        shared.note("jobs", succeeded);
        let fault = fault.filter(|_| succeeded);
        let content = changed(fault, &answer, &shared.authority);
        if matches!(fault, Some(Kind::Late(_) | Kind::Lost)) {
            return Some((answer.topic, content));
        }
        outbox.push(&answer.topic, content.clone());
        if fault == Some(Kind::Twice) {
            outbox.push(&answer.topic, content);
        }
        None
    });
    match (fault, held) {
        (Some(Kind::Lost), _) => Err(closed("lost")),
        (Some(Kind::Late(time)), Some((topic, content))) => {
            std::thread::sleep(time);
            outbox.push(&topic, content);
            Ok(End::Open)
        }
        (Some(Kind::Cut), _) => Ok(End::Cut),
        _ => Ok(End::Open),
    }
}

/// Returns the code of the rejection that a fault stands for.
fn rejection(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Throttled => Some("RequestThrottled"),
        Kind::Broken => Some("InternalError"),
        Kind::Gone => Some("ResourceNotFound"),
        Kind::Code(code) => Some(code),
        _ => None,
    }
}

/// Returns the payload of a message with a fault.
fn changed(fault: Option<Kind>, message: &Publication, authority: &pki::Authority) -> Vec<u8> {
    let mut payload = message.payload.clone();
    match fault {
        Some(Kind::Stale) => {
            // The newest execution is the last one of the list.
            if let Some(queued) = payload["queuedJobs"].as_array_mut() {
                queued.pop();
            }
        }
        Some(Kind::Hostile) => return hostile(&payload).into_bytes(),
        Some(fault) => {
            return spoil(fault, &payload, authority)
                .unwrap_or_else(|_| payload.to_string().into());
        }
        None => {}
    }
    payload.to_string().into_bytes()
}

/// Returns a payload whose document is a thousand levels deep and whose other members have
/// wrong types.
fn hostile(payload: &Value) -> String {
    let mut payload = payload.clone();
    payload["timestamp"] = json!({ "now": [-1, 1.5e300] });
    for list in ["inProgressJobs", "queuedJobs", "jobs"] {
        if !payload[list].is_null() {
            payload[list] = json!([null, 7, "x".repeat(32_000), { "jobId": ["../../etc"] }]);
        }
    }
    if payload["executionState"].is_object() {
        payload["executionState"] = json!([{ "versionNumber": "one" }]);
    }
    let deep = format!("{}{}", r#"{"a":"#.repeat(DEPTH), "null") + &"}".repeat(DEPTH);
    if payload["execution"].is_object() {
        payload["execution"]["jobDocument"] = "DEEP".into();
        payload["execution"]["versionNumber"] = "one".into();
    }
    payload.to_string().replace("\"DEEP\"", &deep)
}

/// Returns the delivery of notifications to sessions, with the faults of the stage
/// `jobs-notify`.
pub(super) fn delivery(
    sessions: Arc<Sessions>,
    script: Arc<Mutex<Script>>,
    authority: pki::Authority,
) -> impl Fn(&Publication) + Send {
    move |message| {
        let Some(thing) = message.topic.split('/').nth(2) else {
            return;
        };
        let fault = lock(&script).next(Stage::JobsNotify);
        let times = match fault {
            Some(Kind::Silent) => 0,
            Some(Kind::Twice) => 2,
            _ => 1,
        };
        for _ in 0..times {
            // A device connects with its thing name as client id.
            let payload = changed(fault, message, &authority);
            sessions.send(thing, &message.topic, payload);
        }
    }
}
