//! Number of containers in each state, and the apps that they run, from the socket of
//! the container engine.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use edge_common::Root;
use edge_common::contract::label;
use edge_common::contract::path::ENGINE_SOCKET;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Size limit of the engine's response, in bytes. A longer one counts as no answer.
const MAX_ANSWER_BYTES: usize = 2 * 1024 * 1024;
/// Length limit of a value in a report, in characters.
const MAX_VALUE_CHARS: usize = 128;
/// Time limit of the whole request on the engine's socket.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// All container states of the engine. A state without containers is reported as null,
/// which removes the count of an earlier report from the shadow.
const STATES: [&str; 7] = [
    "created",
    "running",
    "paused",
    "restarting",
    "removing",
    "exited",
    "dead",
];

#[derive(Deserialize)]
struct Container {
    #[serde(rename = "State")]
    state: String,
    /// State in words, for example `Up 5 minutes (healthy)`.
    #[serde(rename = "Status", default)]
    status: String,
    #[serde(rename = "Names", default)]
    names: Vec<String>,
    #[serde(rename = "Labels", default)]
    labels: Option<BTreeMap<String, String>>,
}

/// Returns the number of containers in each state, and the apps by the name of their
/// container; `None` for both if the engine does not answer.
pub(crate) fn report(root: &Root) -> (Option<Value>, Option<Value>) {
    let Some(containers) = list(root) else {
        return (None, None);
    };
    (Some(counts(&containers)), Some(apps(&containers)))
}

fn list(root: &Root) -> Option<Vec<Container>> {
    let end = Instant::now() + REQUEST_LIMIT;
    let mut socket = connected(root)?;
    // With HTTP/1.0 the response ends with the connection and is not chunked, so this
    // request needs no HTTP library.
    socket
        .write_all(b"GET /containers/json?all=1 HTTP/1.0\r\nHost: docker\r\n\r\n")
        .ok()?;
    let answer = read_until(&mut socket, end)?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.lines().next()?.contains(" 200 ").then_some(())?;
    serde_json::from_str(body).ok()
}

/// Connects to the engine. `UnixStream::connect` has no time limit, and waits for ever if
/// an engine that hangs has as many connections as it allows to wait.
fn connected(root: &Root) -> Option<UnixStream> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
    set_socket_timeout(&socket, Timeout::Send, Some(REQUEST_LIMIT)).ok()?;
    let address = SocketAddrUnix::new(root.path(ENGINE_SOCKET)).ok()?;
    connect(&socket, &address).ok()?;
    Some(UnixStream::from(socket))
}

/// Reads until the end of the stream; `None` if it does not end until `end`, or is too
/// long.
fn read_until(socket: &mut UnixStream, end: Instant) -> Option<String> {
    let mut answer = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || answer.len() > MAX_ANSWER_BYTES {
            return None;
        }
        socket.set_read_timeout(Some(left)).ok()?;
        match socket.read(&mut buffer) {
            Ok(0) => return String::from_utf8(answer).ok(),
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

fn counts(containers: &[Container]) -> Value {
    let count = |state: &str| containers.iter().filter(|c| c.state == state).count();
    let count = |state: &&str| match count(state) {
        0 => Value::Null,
        number => json!(number),
    };
    let all: Map<_, _> = STATES.iter().map(|s| (s.to_string(), count(s))).collect();
    Value::Object(all)
}

/// Returns the apps of all containers, as named by the labels that edge-docker sets.
fn apps(containers: &[Container]) -> Value {
    let app = |container: &Container| {
        let labels = container.labels.as_ref()?;
        // Labels that do not apply are empty. With the label of a sandbox, those of a
        // signature are not edge-docker's: in containers of earlier versions, labels of
        // the image could stand for them.
        let set = |key: &str| {
            labels
                .get(key)
                .filter(|v| !v.is_empty())
                .map(|v| shorten(v))
        };
        let sandbox = set(label::SANDBOX);
        let signed = |key: &str| set(key).filter(|_| sandbox.is_none());
        let name = sandbox.clone().or_else(|| signed(label::APP))?;
        let container_name = container.names.first().map(|n| n.trim_start_matches('/'));
        let container_name = container_name.map_or_else(|| name.clone(), shorten);
        let facts = [
            ("app", Some(name).filter(|name| *name != container_name)),
            ("state", Some(shorten(&container.state))),
            ("health", health(&container.status).map(String::from)),
            ("version", signed(label::VERSION)),
            ("image", set(label::IMAGE)),
            ("signer", signed(label::SIGNER)),
            ("sandbox", sandbox.as_ref().map(|_| "yes".into())),
        ];
        let facts = facts.into_iter().filter_map(|(k, v)| Some((k, v?)));
        Some((container_name, facts.collect::<BTreeMap<_, _>>()))
    };
    json!(
        containers
            .iter()
            .filter_map(app)
            .collect::<BTreeMap<_, _>>()
    )
}

/// Returns the result of the health check in the status of a container: the engine's list
/// has it in no field of its own. `None` without a health check.
fn health(status: &str) -> Option<&'static str> {
    let (_, last) = status.rsplit_once(" (")?;
    match last {
        "healthy)" => Some("healthy"),
        "unhealthy)" => Some("unhealthy"),
        "health: starting)" => Some("starting"),
        // For example `Exited (1) 2 hours ago` or `Up 2 hours (Paused)`.
        _ => None,
    }
}

/// Returns the last [`MAX_VALUE_CHARS`] characters of a value: an image reference ends
/// with its digest or tag.
fn shorten(text: &str) -> String {
    let skip = text.chars().count().saturating_sub(MAX_VALUE_CHARS);
    text.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_counted_and_apps_listed() {
        let signed = json!({ label::APP: "b", label::VERSION: "v2", label::SIGNER: "k1",
            label::IMAGE: "host/x@sha256:1" });
        let containers = json!([
            { "State": "running", "Names": ["/b"], "Image": "x", "Labels": signed },
            { "State": "exited", "Names": ["/one"], "Labels": { label::SANDBOX: "a" } },
            // Labels of an image beside the one of a sandbox, as earlier versions of
            // edge-docker let them through.
            { "State": "running", "Names": ["/c"], "Labels": { label::SANDBOX: "c",
                label::APP: "b", label::VERSION: "v9", label::SIGNER: "k1" } },
            { "State": "running", "Status": "Up 5 minutes (unhealthy)", "Names": ["/d"], "Labels": { label::SANDBOX: "", label::APP: "d",
                label::VERSION: "v1", label::SIGNER: "", label::IMAGE: "" } },
            { "State": "running", "Names": ["/foreign"], "Labels": {} },
            { "State": "running", "Names": [], "Labels": null },
        ]);
        let containers: Vec<Container> = serde_json::from_value(containers).unwrap();
        let counts = counts(&containers);
        assert_eq!(
            (&counts["running"], &counts["exited"]),
            (&json!(5), &json!(1))
        );
        assert!(counts["dead"].is_null() && counts.get("dead").is_some());
        let expected = json!({
            "one": { "app": "a", "state": "exited", "sandbox": "yes" },
            "c": { "state": "running", "sandbox": "yes" },
            "d": { "state": "running", "health": "unhealthy", "version": "v1" },
            "b": { "state": "running", "version": "v2", "image": "host/x@sha256:1", "signer": "k1" },
        });
        assert_eq!(apps(&containers), expected);
    }

    #[test]
    fn health_is_the_last_word_of_the_status() {
        for (status, expected) in [
            ("Up 5 minutes (healthy)", Some("healthy")),
            ("Up 5 minutes (unhealthy)", Some("unhealthy")),
            ("Up 1 second (health: starting)", Some("starting")),
            ("Up 2 hours (Paused)", None),
            ("Exited (1) 2 hours ago", None),
            ("Up 2 hours", None),
            ("", None),
        ] {
            assert_eq!(health(status), expected, "{status}");
        }
    }

    #[test]
    fn long_values_keep_their_end() {
        let long = format!("{}@sha256:1", "é".repeat(500));
        let short = shorten(&long);
        assert!(short.ends_with("@sha256:1") && short.chars().count() == MAX_VALUE_CHARS);
    }
}
