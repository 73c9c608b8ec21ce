//! Shadows of AWS IoT, classic and named: the requests `get`, `update` and `delete`, with
//! versions, rates and rejections. The classic shadow is stored in `shadows/THING.json`, a
//! named one in `shadows/THING/NAME.json`.

mod state;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use edge_common::file;
use serde_json::{Value, json};

use super::answers::Answers;
use state::{difference, invalid, merge};

/// Size limit of the payload of an update, and of the desired and reported state
/// together, in bytes.
const MAX_DOCUMENT_BYTES: usize = 8 * 1024;
/// Length limits of the name of a shadow and of a client token.
const MAX_NAME_CHARS: usize = 64;
/// Quota of requests per second of one shadow.
const REQUESTS_PER_SECOND: f64 = 20.0;

/// Shadow of a thing, as the topic of a request names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shadow<'a> {
    pub(crate) thing: &'a str,
    /// Name of a named shadow; `None` for the classic one.
    pub(crate) name: Option<&'a str>,
}

impl<'a> Shadow<'a> {
    /// Returns the shadow and the request (`get`, `update` or `delete`) that a topic names.
    pub(crate) fn parse(topic: &'a str) -> Option<(Self, &'a str)> {
        let levels: Vec<_> = topic.split('/').collect();
        let (thing, name, request) = match levels[..] {
            ["$aws", "things", thing, "shadow", request] => (thing, None, request),
            ["$aws", "things", thing, "shadow", "name", name, request] => {
                (thing, Some(name), request)
            }
            _ => return None,
        };
        let known = ["get", "update", "delete"].contains(&request);
        known.then_some((Self { thing, name }, request))
    }

    fn path(self, dir: &Path) -> PathBuf {
        let shadows = dir.join("shadows");
        match self.name {
            None => shadows.join(format!("{}.json", self.thing)),
            Some(name) => shadows.join(self.thing).join(format!("{name}.json")),
        }
    }

    fn load(self, dir: &Path) -> Option<Value> {
        serde_json::from_slice(&file::read(&self.path(dir), 1 << 20).ok()?).ok()
    }

    fn has_valid_name(self) -> bool {
        let valid = |c: char| c.is_ascii_alphanumeric() || "$:_-".contains(c);
        self.name.is_none_or(|name| {
            !name.is_empty() && name.len() <= MAX_NAME_CHARS && name.chars().all(valid)
        })
    }
}

/// Requests of each shadow, for the quota per second.
#[derive(Default)]
pub(crate) struct Rates(HashMap<String, (f64, Instant)>);

impl Rates {
    /// Counts a request on `topic`; returns whether it is within the quota.
    pub(crate) fn take(&mut self, topic: &str) -> bool {
        let shadow = topic.rsplit_once('/').map_or(topic, |(shadow, _)| shadow);
        let now = Instant::now();
        let entry = self.0.entry(shadow.into());
        let (left, seen) = entry.or_insert((REQUESTS_PER_SECOND, now));
        let fresh = now.duration_since(*seen).as_secs_f64() * REQUESTS_PER_SECOND;
        *left = (*left + fresh).min(REQUESTS_PER_SECOND);
        *seen = now;
        let enough = *left >= 1.0;
        *left -= f64::from(u8::from(enough));
        enough
    }
}

/// Answers a request on `topic` with a payload of `size` bytes, as AWS IoT does; an empty
/// list if the topic is not that of a shadow.
pub(crate) fn answer(dir: &Path, topic: &str, size: usize, request: &Value) -> Answers {
    let Some((shadow, kind)) = Shadow::parse(topic) else {
        return Vec::new();
    };
    let token = &request["clientToken"];
    if !shadow.has_valid_name() {
        return rejected(400, "Invalid shadow name", token);
    }
    if !token.is_null() && token.as_str().is_none_or(|t| t.len() > MAX_NAME_CHARS) {
        return rejected(400, "Invalid clientToken", &Value::Null);
    }
    match kind {
        "get" => get(dir, shadow, request),
        "update" => update(dir, shadow, size, request),
        _ => delete(dir, shadow, request),
    }
}

/// Returns a rejection in the form of the shadow API.
pub(crate) fn rejected(code: u16, message: &str, token: &Value) -> Answers {
    let mut answer = json!({ "code": code, "message": message, "timestamp": now() });
    echo(&mut answer, token);
    vec![("rejected", answer)]
}

/// Returns the rejection of a request above the quota.
pub(crate) fn throttled(payload: &[u8]) -> Answers {
    let request: Value = serde_json::from_slice(payload).unwrap_or_default();
    rejected(429, "Too many requests", &request["clientToken"])
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

fn no_shadow(shadow: Shadow, token: &Value) -> Answers {
    let name = match shadow.name {
        None => shadow.thing.to_string(),
        Some(name) => format!("{}~{name}", shadow.thing),
    };
    rejected(404, &format!("No shadow exists with name: '{name}'"), token)
}

/// Handles a request on `…/delete`: removes the stored shadow.
fn delete(dir: &Path, shadow: Shadow, request: &Value) -> Answers {
    let token = &request["clientToken"];
    let Some(stored) = shadow.load(dir) else {
        return no_shadow(shadow, token);
    };
    if file::remove(&shadow.path(dir)).is_err() {
        return rejected(500, "Internal service failure", token);
    }
    let mut answer = json!({ "version": stored["version"], "timestamp": now() });
    echo(&mut answer, token);
    vec![("accepted", answer)]
}

/// Handles a request on `…/get`: returns the stored shadow, or a rejection with code 404.
fn get(dir: &Path, shadow: Shadow, request: &Value) -> Answers {
    let token = &request["clientToken"];
    let Some(mut shadow) = shadow.load(dir) else {
        return no_shadow(shadow, token);
    };
    shadow["timestamp"] = json!(now());
    echo(&mut shadow, token);
    vec![("accepted", shadow)]
}

/// Handles a request on `…/update` with a payload of `size` bytes: merges
/// and stores the state. Returns `accepted`, and also `delta` if the requested
/// `desired` differs from `reported`.
fn update(dir: &Path, name: Shadow, size: usize, request: &Value) -> Answers {
    let token = &request["clientToken"];
    if size > MAX_DOCUMENT_BYTES {
        return rejected(413, "The payload exceeds the maximum size allowed", token);
    }
    if let Some(message) = invalid(&request["state"]) {
        return rejected(400, message, token);
    }
    let state = &request["state"];
    let mut shadow = name
        .load(dir)
        .unwrap_or_else(|| json!({ "state": {}, "version": 0 }));
    let version = shadow["version"].as_u64().unwrap_or(0);
    if !request["version"].is_null() && request["version"] != version {
        return rejected(409, "Version conflict", token);
    }
    merge(&mut shadow["state"], state);
    if shadow["state"].to_string().len() > MAX_DOCUMENT_BYTES {
        return rejected(413, "The payload exceeds the maximum size allowed", token);
    }
    shadow["version"] = json!(version + 1);
    if store(&name.path(dir), &shadow).is_err() {
        return rejected(500, "Internal service failure", token);
    }
    let mut answer = json!({ "state": state, "version": version + 1, "timestamp": now() });
    echo(&mut answer, token);
    let mut answers = vec![("accepted", answer)];
    let delta = difference(&shadow["state"]["desired"], &shadow["state"]["reported"]);
    if let Some(delta) = delta.filter(|_| state.get("desired").is_some()) {
        answers.push((
            "delta",
            json!({ "state": delta, "version": version + 1, "timestamp": now() }),
        ));
    }
    answers
}

fn store(path: &Path, shadow: &Value) -> anyhow::Result<()> {
    let directory = path.parent().unwrap_or(path);
    file::create_directory(directory, 0o700)?;
    file::write(path, shadow.to_string().as_bytes(), 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: &str = "$aws/things/t/shadow";

    fn ask(dir: &Path, topic: &str, request: &Value) -> Answers {
        answer(dir, &format!("{T}/{topic}"), 10, request)
    }

    fn code(answers: &Answers) -> &Value {
        &answers[0].1["code"]
    }

    #[test]
    fn updates_merge_and_null_removes() {
        let dir = tempfile::tempdir().unwrap();
        let send = |request: Value| ask(dir.path(), "update", &request);
        assert_eq!(code(&ask(dir.path(), "get", &json!({}))), 404);
        let first = send(
            json!({ "state": { "reported": { "a": 1, "b": { "c": 2 } } }, "clientToken": "x" }),
        );
        let (kind, accepted) = &first[0];
        assert_eq!(
            (*kind, &accepted["version"], &accepted["clientToken"]),
            ("accepted", &json!(1), &json!("x"))
        );
        send(json!({ "state": { "reported": { "a": null, "b": { "d": 3 } } } }));
        let shadow = ask(dir.path(), "get", &json!({}));
        assert_eq!(
            shadow[0].1["state"]["reported"],
            json!({ "b": { "c": 2, "d": 3 } })
        );
        let delta = send(json!({ "state": { "desired": { "a": 5 } } }));
        assert_eq!(delta[1].1["state"], json!({ "a": 5 }));
        assert_eq!(code(&send(json!({ "state": {}, "version": 1 }))), 409);
        let large = answer(
            dir.path(),
            &format!("{T}/update"),
            9000,
            &json!({ "state": {} }),
        );
        assert_eq!(code(&large), 413);
        // Desired and reported state count together.
        let half = "x".repeat(5000);
        send(json!({ "state": { "desired": { "x": half } } }));
        assert_eq!(
            code(&send(json!({ "state": { "reported": { "x": half } } }))),
            413
        );
    }

    #[test]
    fn named_shadows_are_apart_and_can_be_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let half = "x".repeat(5000);
        for topic in ["update", "name/apps/update", "name/fleet/update"] {
            let answers = ask(
                dir.path(),
                topic,
                &json!({ "state": { "reported": { "x": half } } }),
            );
            assert_eq!(answers[0].1["version"], 1, "{topic}");
        }
        let deleted = ask(dir.path(), "name/apps/delete", &json!({}));
        assert_eq!(
            (deleted[0].0, &deleted[0].1["version"]),
            ("accepted", &json!(1))
        );
        let gone = ask(dir.path(), "name/apps/get", &json!({ "clientToken": "t" }));
        assert_eq!(
            (code(&gone), &gone[0].1["clientToken"]),
            (&json!(404), &json!("t"))
        );
        assert_eq!(code(&ask(dir.path(), "name/apps/delete", &json!({}))), 404);
        assert_eq!(ask(dir.path(), "get", &json!({}))[0].0, "accepted");
        for name in ["", "a.b", "a b", "..", &"n".repeat(65)] {
            let topic = format!("name/{name}/update");
            assert_eq!(
                code(&ask(dir.path(), &topic, &json!({ "state": {} }))),
                400,
                "{name}"
            );
        }
        assert!(ask(dir.path(), "name/apps/other", &json!({})).is_empty());
    }

    #[test]
    fn invalid_updates_are_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let deep = json!({ "a": { "b": { "c": { "d": { "e": { "f": {} } } } } } });
        for request in [
            json!({}),
            json!([]),
            json!({ "state": 7 }),
            json!({ "state": { "reported": [] } }),
            json!({ "state": { "desired": "x" } }),
            json!({ "state": { "other": {} } }),
            json!({ "state": { "reported": { "a": [1, null] } } }),
            json!({ "state": { "reported": deep } }),
            json!({ "state": {}, "clientToken": 7 }),
            json!({ "state": {}, "clientToken": "t".repeat(65) }),
        ] {
            let answers = ask(dir.path(), "update", &request);
            assert_eq!(code(&answers), 400, "{request}");
        }
        let six = json!({ "state": { "reported": deep["a"] } });
        assert_eq!(ask(dir.path(), "update", &six)[0].0, "accepted");
    }

    #[test]
    fn each_shadow_has_a_rate() {
        let mut rates = Rates::default();
        let granted = (0..100).filter(|_| rates.take("a/update")).count();
        assert!((20..=30).contains(&granted), "{granted}");
        assert!(!rates.take("a/get") && rates.take("b/update"));
    }
}
