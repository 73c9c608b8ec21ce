//! Classic shadows of AWS IoT: the requests `get` and `update`, with versions and
//! rejections. Each shadow is stored in `shadows/THING.json`.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use edge_common::file;
use serde_json::{Map, Value, json};

use super::answers::Answers;

/// Size limit of the payload of an update, and of the desired and reported state
/// together, in bytes.
const MAX_DOCUMENT_BYTES: usize = 8 * 1024;

/// Returns a rejection in the form of the shadow API.
pub(crate) fn rejected(code: u16, message: &str, token: &Value) -> Answers {
    let mut answer = json!({ "code": code, "message": message, "timestamp": now() });
    echo(&mut answer, token);
    vec![("rejected", answer)]
}

fn echo(answer: &mut Value, token: &Value) {
    if !token.is_null() {
        answer["clientToken"] = token.clone();
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

fn path(dir: &Path, thing: &str) -> PathBuf {
    dir.join("shadows").join(format!("{thing}.json"))
}

fn load(dir: &Path, thing: &str) -> Option<Value> {
    serde_json::from_slice(&file::read(&path(dir, thing), 1 << 20).ok()?).ok()
}

/// Handles a request on `…/shadow/get`: returns the stored shadow, or a rejection
/// with code 404.
pub(crate) fn get(dir: &Path, thing: &str, request: &Value) -> Answers {
    let token = &request["clientToken"];
    let Some(mut shadow) = load(dir, thing) else {
        return rejected(
            404,
            &format!("No shadow exists with name: '{thing}'"),
            token,
        );
    };
    shadow["timestamp"] = json!(now());
    echo(&mut shadow, token);
    vec![("accepted", shadow)]
}

/// Handles a request on `…/shadow/update` with a payload of `size` bytes: merges
/// and stores the state. Returns `accepted`, and also `delta` if the requested
/// `desired` differs from `reported`.
pub(crate) fn update(dir: &Path, thing: &str, size: usize, request: &Value) -> Answers {
    let token = &request["clientToken"];
    if size > MAX_DOCUMENT_BYTES {
        return rejected(413, "The payload exceeds the maximum size allowed", token);
    }
    let Some(state) = request["state"].as_object() else {
        return rejected(400, "Missing required node: state", token);
    };
    let mut shadow = load(dir, thing).unwrap_or_else(|| json!({ "state": {}, "version": 0 }));
    let version = shadow["version"].as_u64().unwrap_or(0);
    if !request["version"].is_null() && request["version"] != version {
        return rejected(409, "Version conflict", token);
    }
    merge(&mut shadow["state"], &Value::Object(state.clone()));
    if shadow["state"].to_string().len() > MAX_DOCUMENT_BYTES {
        return rejected(413, "The payload exceeds the maximum size allowed", token);
    }
    shadow["version"] = json!(version + 1);
    let stored = file::write(&path(dir, thing), shadow.to_string().as_bytes(), 0o600);
    if stored.is_err() {
        return rejected(500, "Internal service failure", token);
    }
    let mut answer = json!({ "state": state, "version": version + 1, "timestamp": now() });
    echo(&mut answer, token);
    let mut answers = vec![("accepted", answer)];
    let delta = difference(&shadow["state"]["desired"], &shadow["state"]["reported"]);
    if let Some(delta) = delta.filter(|_| state.contains_key("desired")) {
        answers.push((
            "delta",
            json!({ "state": delta, "version": version + 1, "timestamp": now() }),
        ));
    }
    answers
}

/// Merges `new` into `old`, objects recursively. null removes a key, any other
/// value replaces the old one.
fn merge(old: &mut Value, new: &Value) {
    let Value::Object(new) = new else {
        *old = new.clone();
        return;
    };
    if !old.is_object() {
        *old = Value::Object(Map::new());
    }
    let Some(old) = old.as_object_mut() else {
        return;
    };
    for (key, value) in new {
        if value.is_null() {
            old.remove(key);
        } else {
            merge(old.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// Returns the parts of `desired` that are absent or different in `reported`;
/// `None` if there are none.
fn difference(desired: &Value, reported: &Value) -> Option<Value> {
    match (desired, reported) {
        (Value::Object(desired), reported) => {
            let parts = desired
                .iter()
                .filter_map(|(k, d)| Some((k.clone(), difference(d, &reported[k])?)));
            let parts: Map<_, _> = parts.collect();
            (!parts.is_empty()).then_some(Value::Object(parts))
        }
        (Value::Null, _) => None,
        (desired, reported) => (desired != reported).then(|| desired.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_merge_and_null_removes() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("shadows")).unwrap();
        let send = |request: Value| update(dir.path(), "t", 10, &request);
        assert_eq!(get(dir.path(), "t", &json!({}))[0].1["code"], 404);
        let first = send(
            json!({ "state": { "reported": { "a": 1, "b": { "c": 2 } } }, "clientToken": "x" }),
        );
        assert_eq!(
            (
                first[0].0,
                &first[0].1["version"],
                &first[0].1["clientToken"]
            ),
            ("accepted", &json!(1), &json!("x"))
        );
        send(json!({ "state": { "reported": { "a": null, "b": { "d": 3 } } } }));
        let shadow = get(dir.path(), "t", &json!({}));
        assert_eq!(
            shadow[0].1["state"]["reported"],
            json!({ "b": { "c": 2, "d": 3 } })
        );
        let delta = send(json!({ "state": { "desired": { "a": 5 } } }));
        assert_eq!(delta[1].1["state"], json!({ "a": 5 }));
        assert_eq!(send(json!({ "state": {}, "version": 1 }))[0].1["code"], 409);
        assert_eq!(send(json!({}))[0].1["code"], 400);
        assert_eq!(
            update(dir.path(), "t", 9000, &json!({ "state": {} }))[0].1["code"],
            413
        );
        // Desired and reported state count together.
        let half = "x".repeat(5000);
        send(json!({ "state": { "desired": { "x": half } } }));
        let answer = send(json!({ "state": { "reported": { "x": half } } }));
        assert_eq!(answer[0].1["code"], 413);
    }
}
