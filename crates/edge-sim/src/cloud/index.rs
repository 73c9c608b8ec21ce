//! Index of things: the one query of `SearchIndex` that the product makes, for the members of a
//! thing group. As in the deployed configuration, of the named shadows `fleet` alone is indexed.

use std::path::Path;

use edge_common::file;
use serde_json::{Map, Value, json};

use super::jobs::Response;

/// Largest number of things in an answer.
const MAX_RESULTS: usize = 250;

/// Answers a query; `members` returns the members of a thing group.
pub(super) fn search(
    dir: &Path,
    body: &[u8],
    members: impl Fn(&str) -> Option<Vec<String>>,
) -> Response {
    let refused = |error: &'static str, message: &str| Response {
        status: 400,
        error: Some(error),
        body: json!({ "message": message }),
    };
    let query: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = query["queryString"].as_str().unwrap_or_default();
    let Some(group) = text.strip_prefix("thingGroupNames:") else {
        return refused(
            "InvalidQueryException",
            "the local cloud indexes thing groups",
        );
    };
    let token = query["nextToken"].as_str().map(str::parse::<usize>);
    let results = query["maxResults"].as_u64().unwrap_or(100);
    let results = usize::try_from(results).unwrap_or(0);
    let (Ok(from), 1..=MAX_RESULTS) = (token.unwrap_or(Ok(0)), results) else {
        return refused(
            "InvalidRequestException",
            "nextToken or maxResults is invalid",
        );
    };
    let things = members(group).unwrap_or_default();
    let found = things.iter().skip(from).take(results);
    let found: Vec<_> = found.map(|thing| entry(dir, group, thing)).collect();
    let mut body = json!({ "things": found });
    if from + results < things.len() {
        body["nextToken"] = (from + results).to_string().into();
    }
    Response {
        status: 200,
        error: None,
        body,
    }
}

fn entry(dir: &Path, group: &str, thing: &str) -> Value {
    let read = |name: &str| -> Option<Value> {
        let text = file::read(&dir.join("shadows").join(name), 64 * 1024).ok()?;
        serde_json::from_slice(&text).ok()
    };
    let mut shadow = Map::new();
    if let Some(classic) = read(&format!("{thing}.json")) {
        shadow.insert("reported".into(), classic["state"]["reported"].clone());
    }
    if let Some(fleet) = read(&format!("{thing}/fleet.json")) {
        let fleet = json!({ "fleet": { "reported": fleet["state"]["reported"] } });
        shadow.insert("name".into(), fleet);
    }
    json!({
        "thingName": thing,
        "thingGroupNames": [group],
        "shadow": Value::Object(shadow).to_string(),
    })
}
