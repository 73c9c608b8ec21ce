//! Messages of AWS IoT Jobs. They are not trusted: what has another form than AWS publishes
//! is no answer.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::execution::{Details, Execution, Key, MAX_DETAILS, Status, is_detail, is_job_id};

/// Size limit of a document, in bytes.
const MAX_DOCUMENT_BYTES: usize = 32 * 1024;
/// Maximum depth of a document.
const MAX_DOCUMENT_DEPTH: usize = 32;

/// Message on a topic of jobs. A document in it may be of any depth, so it is not parsed.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(rename = "clientToken", default)]
    pub token: Value,
    #[serde(default)]
    pub timestamp: Value,
    #[serde(default)]
    pub code: Value,
    #[serde(default)]
    pub message: Value,
    #[serde(borrow, default)]
    execution: Option<&'a RawValue>,
    #[serde(rename = "executionState", default)]
    state: Value,
    #[serde(rename = "inProgressJobs", default)]
    in_progress: Value,
    #[serde(rename = "queuedJobs", default)]
    queued: Value,
    #[serde(default)]
    jobs: Value,
}

/// Entry of a list of executions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub key: Key,
    pub status: Status,
    pub version: u64,
}

/// List of executions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct List {
    pub entries: Vec<Summary>,
    /// Whether every entry has the form that AWS publishes.
    pub whole: bool,
}

/// State of an execution in an answer to an update.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct State {
    pub status: Status,
    pub version: u64,
}

#[derive(Deserialize)]
struct Described<'a> {
    #[serde(rename = "jobId", default)]
    id: Value,
    #[serde(rename = "executionNumber", default)]
    number: Value,
    #[serde(rename = "queuedAt", default)]
    queued: Value,
    #[serde(rename = "versionNumber", default)]
    version: Value,
    #[serde(default)]
    status: Value,
    #[serde(rename = "statusDetails", default)]
    details: Value,
    #[serde(rename = "jobDocument", borrow, default)]
    document: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    /// Parses a message; `None` if it is not a JSON object of this form.
    pub(super) fn parse(payload: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }

    /// Returns the list in an answer to `get`; `None` if there is none.
    pub(super) fn list(&self) -> Option<List> {
        if !self.in_progress.is_array() || !self.queued.is_array() {
            return None;
        }
        Some(list([
            (Status::InProgress, &self.in_progress),
            (Status::Queued, &self.queued),
        ]))
    }

    /// Returns the executions that a notification names.
    pub(super) fn notified(&self) -> List {
        list([
            (Status::InProgress, &self.jobs["IN_PROGRESS"]),
            (Status::Queued, &self.jobs["QUEUED"]),
        ])
    }

    /// Returns the state of the execution in an answer to an update.
    pub(super) fn state(&self) -> Option<State> {
        Some(State {
            status: Status::parse(self.state["status"].as_str()?),
            version: number(&self.state["versionNumber"])?,
        })
    }

    /// Returns the execution in an answer to `JOB/get`, with its document as AWS spells it.
    pub(super) fn execution(&self) -> Option<Execution> {
        let described: Described = serde_json::from_str(self.execution?.get()).ok()?;
        let details = described.details.as_object();
        let details = details.into_iter().flatten().filter_map(|(key, value)| {
            let value = value.as_str()?;
            is_detail(key, value).then(|| (key.clone(), value.to_string()))
        });
        let document = described.document?.get();
        Some(Execution {
            key: key(&described.id, &described.number, &described.queued)?,
            status: Status::parse(described.status.as_str()?),
            version: number(&described.version)?,
            details: details.take(MAX_DETAILS).collect::<Details>(),
            document: if is_kept(document) {
                document.into()
            } else {
                String::new()
            },
            progress_at: Duration::ZERO,
        })
    }
}

fn list(parts: [(Status, &Value); 2]) -> List {
    let mut list = List {
        entries: Vec::new(),
        whole: true,
    };
    for (status, entries) in parts {
        list.whole &= entries.is_array() || entries.is_null();
        for entry in entries.as_array().into_iter().flatten() {
            match summary(status, entry) {
                Some(summary) => list.entries.push(summary),
                None => list.whole = false,
            }
        }
    }
    list
}

fn summary(status: Status, entry: &Value) -> Option<Summary> {
    Some(Summary {
        key: key(
            &entry["jobId"],
            &entry["executionNumber"],
            &entry["queuedAt"],
        )?,
        status,
        version: number(&entry["versionNumber"])?,
    })
}

fn key(id: &Value, number: &Value, queued: &Value) -> Option<Key> {
    Some(Key {
        id: id.as_str().filter(|id| is_job_id(id))?.into(),
        number: self::number(number)?,
        queued: self::number(queued)?,
    })
}

/// Returns a number, which may be spelled as text.
pub(super) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    }
}

/// Returns whether a document may be kept: an object within the limits of size and depth.
fn is_kept(document: &str) -> bool {
    document.len() <= MAX_DOCUMENT_BYTES
        && document.starts_with('{')
        && depth(document) <= MAX_DOCUMENT_DEPTH
}

/// Returns the depth of valid JSON.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_text, mut is_escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_text,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn execution(document: &str) -> Option<Execution> {
        let text = format!(
            r#"{{"clientToken":"t","timestamp":7,"later":{{}},"execution":{{"jobId":"j1",
            "status":"QUEUED","statusDetails":{{"a":"b","bad key":"x","c":7}},"queuedAt":5,
            "executionNumber":1,"versionNumber":"2","thingName":"x","jobDocument":{document}}}}}"#
        );
        Message::parse(text.as_bytes())?.execution()
    }

    #[test]
    fn documents_are_kept_as_they_are_spelled() {
        let spelled = r#"{ "b":1.50, "a":"\u00e9\n{[", "a":18446744073709551615 }"#;
        let found = execution(spelled).unwrap();
        assert_eq!(found.document, spelled);
        let details = Details::from([("a".into(), "b".into())]);
        assert_eq!((found.version, found.details), (2, details));
    }

    #[test]
    fn documents_that_are_too_deep_or_too_long_are_empty() {
        let deep = |levels: usize| "{\"a\":".repeat(levels) + "1" + &"}".repeat(levels);
        let long = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
        for (document, kept) in [
            (deep(32), true),
            (deep(33), false),
            (deep(1000), false),
            (long(32 * 1024), true),
            (long(32 * 1024 + 1), false),
            ("[1]".into(), false),
            ("\"text\"".into(), false),
            (r#"{"a":"[[[\"{{\\"}"#.into(), true),
        ] {
            let found = execution(&document).unwrap();
            assert_eq!(!found.document.is_empty(), kept, "{document:.60}");
        }
        assert_eq!(execution("null"), None);
    }

    #[test]
    fn anything_but_the_published_form_is_no_answer() {
        for text in [
            "",
            "{",
            "[]",
            "7",
            "null",
            r#"{"execution":7}"#,
            r#"{"execution":{}}"#,
        ] {
            let execution = Message::parse(text.as_bytes()).and_then(|m| m.execution());
            assert_eq!(execution, None, "{text}");
        }
        let entry =
            json!({ "jobId": "j1", "queuedAt": 5, "executionNumber": 1, "versionNumber": 1 });
        let lists = |queued: Value| {
            let text = json!({ "inProgressJobs": [], "queuedJobs": queued }).to_string();
            Message::parse(text.as_bytes()).unwrap().list()
        };
        assert!(lists(json!([entry])).unwrap().whole);
        for bad in [
            json!(null),
            json!(7),
            json!("x".repeat(32_000)),
            json!({ "jobId": ["../../etc"] }),
            json!({ "jobId": "../x", "queuedAt": 5, "executionNumber": 1, "versionNumber": 1 }),
            json!({ "jobId": "get", "queuedAt": 5, "executionNumber": 1, "versionNumber": 1 }),
            json!({ "jobId": "j", "queuedAt": -5, "executionNumber": 1, "versionNumber": 1 }),
            json!({ "jobId": "j", "queuedAt": 5, "executionNumber": 1.5, "versionNumber": 1 }),
        ] {
            let list = lists(json!([bad, entry])).unwrap();
            assert!(!list.whole && list.entries.len() == 1, "{bad}");
        }
        assert_eq!(lists(json!({})), None);
        for jobs in [
            json!([]),
            json!(7),
            json!({ "QUEUED": {} }),
            json!({ "QUEUED": [7] }),
        ] {
            let text = json!({ "jobs": jobs }).to_string();
            let notified = Message::parse(text.as_bytes()).unwrap().notified();
            assert!(notified.entries.is_empty(), "{jobs}");
        }
    }
}
