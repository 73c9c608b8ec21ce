//! Results of executions, which edge-fleet leaves in a file.

use edge_common::contract::limit::FLEET_FILE_BYTES;
use edge_common::contract::path::FLEET_RESULTS;
use edge_common::{Root, file};
use serde_json::Value;

use super::execution::{Details, Key, MAX_DETAILS, Status, is_detail, is_job_id};
use super::wire::number;

/// Maximum number of results that are read, the last ones of the file.
const MAX_RESULTS: usize = 32;

/// Result of an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub key: Key,
    pub status: Status,
    pub details: Details,
}

/// Returns the results; none if the file is absent. A file that is damaged is an error.
pub(super) fn load(root: &Root) -> Result<Vec<Outcome>, String> {
    let path = root.path(FLEET_RESULTS);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = file::read(&path, FLEET_FILE_BYTES).map_err(|error| format!("{error:#}"))?;
    let invalid = || format!("reading {FLEET_RESULTS}: it has no list of results");
    let value: Value = serde_json::from_slice(&text).map_err(|_| invalid())?;
    let results = value["results"].as_array().ok_or_else(invalid)?;
    let skipped = results.len().saturating_sub(MAX_RESULTS);
    let outcomes = results.iter().skip(skipped).filter_map(outcome);
    Ok(outcomes.collect())
}

/// Returns a result; `None` if its key or status is invalid. Details that AWS does not take
/// are left out, so that the status is said all the same.
fn outcome(value: &Value) -> Option<Outcome> {
    let status = Status::parse(value["status"].as_str()?);
    let details = value["details"].as_object().into_iter().flatten();
    let details = details.filter_map(|(key, value)| {
        let value = value.as_str()?;
        is_detail(key, value).then(|| (key.clone(), value.to_string()))
    });
    Some(Outcome {
        key: Key {
            id: value["id"].as_str().filter(|id| is_job_id(id))?.into(),
            number: number(&value["number"])?,
            queued: number(&value["queued"])?,
        },
        status: Some(status).filter(|status| status.may_be_set())?,
        details: details.take(MAX_DETAILS).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::root_with;
    use serde_json::json;

    fn results(text: &str) -> Result<Vec<Outcome>, String> {
        let (_directory, root) = root_with(&[(FLEET_RESULTS, text)]);
        load(&root)
    }

    #[test]
    fn invalid_results_and_details_are_left_out() {
        let good = json!({ "id": "j1", "number": 1, "queued": 5, "status": "FAILED", "later": {},
            "details": { "reason": "health", "bad key": "x", "lines": "a\nb", "empty": "",
                "long": "x".repeat(1025), "n": 7 } });
        let bad = [
            json!(7),
            json!({ "id": "../x", "number": 1, "queued": 5, "status": "FAILED" }),
            json!({ "id": "j1", "number": 1, "queued": 5, "status": "CANCELED" }),
            json!({ "id": "j1", "number": 1, "queued": 5, "status": "QUEUED" }),
            json!({ "id": "j1", "number": -1, "queued": 5, "status": "FAILED" }),
            json!({ "id": "j1", "number": 1, "status": "FAILED" }),
        ];
        let all: Vec<_> = bad.into_iter().chain([good]).collect();
        let found = results(&json!({ "v": 1, "results": all }).to_string()).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].status, Status::Failed);
        assert_eq!(
            found[0].details,
            Details::from([("reason".into(), "health".into())])
        );
    }

    #[test]
    fn the_last_results_count_and_damage_is_an_error() {
        let result = |n: usize| json!({ "id": format!("j{n}"), "number": 1, "queued": 5, "status": "REJECTED" });
        let all: Vec<_> = (0..100).map(result).collect();
        let text = json!({ "results": all }).to_string();
        let found = results(&text).unwrap();
        assert_eq!((found.len(), found[31].key.id.as_str()), (32, "j99"));
        let large = format!(r#"{{"x":"{}","results":[]}}"#, "x".repeat(600_000));
        for bad in ["", "{", "[]", "{}", &text[..300], &large] {
            assert!(results(bad).is_err(), "{bad:.40}");
        }
        let (_directory, root) = root_with(&[]);
        assert_eq!(load(&root), Ok(Vec::new()));
    }
}
