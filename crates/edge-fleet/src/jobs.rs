//! List of jobs, which edge-heartbeat writes as it receives it. It is hostile input: whoever
//! may create jobs chooses every byte of a document.

use serde::Deserialize;

use crate::converge::{Desired, Execution, Jobs, Pending};
use crate::reference;

/// Size limit of the list, in bytes.
pub const MAX_LIST_BYTES: u64 = 512 * 1024;
/// Size limit of a document, in bytes, equal to that of AWS.
const MAX_DOCUMENT_BYTES: usize = 32 * 1024;
/// Number of jobs that AWS lists at most.
const MAX_JOBS: usize = 10;
/// Version of the documents that this program understands.
const DOCUMENT_VERSION: u64 = 1;

#[derive(Deserialize)]
struct List {
    complete: bool,
    jobs: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    number: u64,
    queued: u64,
    document: String,
}

/// Document of a job. A field that this version does not know may restrict the job, so it is
/// refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    edge: u64,
    set: String,
    name: String,
    number: u64,
}

/// Parses the list.
///
/// # Errors
/// The list is truncated, or has another form.
pub fn parse(text: &[u8]) -> anyhow::Result<Jobs> {
    let list: List = serde_json::from_slice(text)?;
    let listed = list.jobs.len();
    let valid = list.jobs.into_iter().filter(|job| is_job_id(&job.id));
    let pending = valid.take(MAX_JOBS).map(|job| Pending {
        desired: desired(&job.document),
        execution: Execution {
            id: job.id,
            number: job.number,
            queued: job.queued,
        },
    });
    let pending: Vec<_> = pending.collect();
    Ok(Jobs {
        // A job that is left out here has not ended.
        complete: list.complete && pending.len() == listed,
        pending,
    })
}

/// Returns whether AWS accepts a text as a job ID.
fn is_job_id(id: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=64).contains(&id.len()) && id.bytes().all(allowed)
}

/// Parses the document of a job.
fn desired(text: &str) -> Result<Desired, String> {
    if text.len() > MAX_DOCUMENT_BYTES {
        return Err(format!(
            "the document is larger than {MAX_DOCUMENT_BYTES} bytes"
        ));
    }
    let document: Document =
        serde_json::from_str(text).map_err(|error| format!("the document is invalid: {error}"))?;
    if document.edge != DOCUMENT_VERSION {
        return Err(format!(
            "the document has the version {}, not 1",
            document.edge
        ));
    }
    reference::desired(&document.set, &document.name, document.number)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn document() -> Value {
        let set = format!("registry.example/apps@sha256:{}", "a".repeat(64));
        json!({ "edge": 1, "set": set, "name": "barn", "number": 7 })
    }

    fn list(document: &str) -> Value {
        let job = json!({
            "id": "edge-barn-7-1", "number": 1, "queued": 5, "status": "QUEUED", "version": 1,
            "document": document, "later": true,
        });
        json!({ "v": 1, "time": 9, "complete": true, "jobs": [job], "later": {} })
    }

    fn parsed(document: &str) -> Result<Desired, String> {
        let jobs = parse(list(document).to_string().as_bytes()).unwrap();
        assert!(jobs.complete);
        jobs.pending[0].desired.clone()
    }

    #[test]
    fn a_list_is_parsed() {
        let desired = parsed(&document().to_string()).unwrap();
        assert_eq!(desired.set, format!("sha256:{}", "a".repeat(64)));
        assert_eq!(desired.repository, "registry.example/apps");
        assert_eq!((desired.name.as_str(), desired.number), ("barn", 7));
    }

    #[test]
    fn hostile_documents_are_errors() {
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        let doubled = document().to_string().replacen('{', r#"{"number":9,"#, 1);
        let mut texts = vec![
            "".into(),
            "{".into(),
            "[]".into(),
            "null".into(),
            deep,
            doubled,
        ];
        texts.push(format!("{}{}", document(), " ".repeat(40_000)));
        texts.push(format!("{}x", document()));
        for (field, value) in [
            ("edge", json!(2)),
            ("edge", json!("1")),
            ("set", json!("registry.example/apps:tag")),
            (
                "set",
                json!(format!("registry.example/apps@sha256:{}", "A".repeat(64))),
            ),
            (
                "set",
                json!(format!("registry.example/apps@sha256:{}", "a".repeat(63))),
            ),
            ("set", json!(format!("@sha256:{}", "a".repeat(64)))),
            ("set", json!(format!("-x@sha256:{}", "a".repeat(64)))),
            ("set", json!(format!("a b@sha256:{}", "a".repeat(64)))),
            ("name", json!("")),
            ("name", json!("../x")),
            ("name", json!("a".repeat(65))),
            ("number", json!(0)),
            ("number", json!(-1)),
            ("number", json!(1.5)),
            ("number", json!(1_u64 << 53)),
            ("window", json!("Sun")),
            ("later", json!(true)),
        ] {
            let mut changed = document();
            changed[field] = value;
            texts.push(changed.to_string());
        }
        for field in ["edge", "set", "name", "number"] {
            let mut without = document();
            without.as_object_mut().unwrap().remove(field);
            texts.push(without.to_string());
        }
        for text in texts {
            let error = parsed(&text).unwrap_err();
            assert!(
                !error.is_empty() && error.len() < 500,
                "{text:.80}: {error}"
            );
        }
    }

    #[test]
    fn hostile_lists_are_errors_or_incomplete() {
        for text in ["", "{", "[]", "{}", "null", r#"{"complete":1,"jobs":[]}"#] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        let mut many = list(&document().to_string());
        many["jobs"] = vec![many["jobs"][0].clone(); 11].into();
        let jobs = parse(many.to_string().as_bytes()).unwrap();
        assert!(!jobs.complete && jobs.pending.len() == 10);
        for id in ["", "a/b", "$next", "é", &"a".repeat(65)] {
            let mut named = list("");
            named["jobs"][0]["id"] = json!(id);
            let jobs = parse(named.to_string().as_bytes()).unwrap();
            assert!(!jobs.complete && jobs.pending.is_empty(), "{id}");
        }
    }
}
