//! Client of the container engine's socket for requests that need no HTTP library, and the
//! list of its containers. Each request has one deadline: an engine that hangs must not
//! hang its callers.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Root;
use crate::contract::path::ENGINE_SOCKET;

/// Size limit of a response of the engine, in bytes.
const MAX_ANSWER_BYTES: usize = 2 * 1024 * 1024;
/// Time limit of a whole request.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// Container in the engine's list.
#[derive(Debug, Deserialize)]
pub struct Container {
    /// Identifier.
    #[serde(rename = "Id", default)]
    pub id: String,
    /// State, for example `running`.
    #[serde(rename = "State")]
    pub state: String,
    /// State in words, for example `Up 5 minutes (healthy)`.
    #[serde(rename = "Status", default)]
    pub status: String,
    #[serde(rename = "Names", default)]
    names: Vec<String>,
    #[serde(rename = "Labels", default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Container {
    /// Returns the first name, without the slash that the engine prepends.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.names.first().map(|name| name.trim_start_matches('/'))
    }

    /// Returns the value of a label. Labels that do not apply are empty, which counts as
    /// none.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        let value = self.labels.as_ref()?.get(key)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// Returns the result of the health check, the last word of the status: the list has it
    /// in no field of its own. `None` without a health check.
    #[must_use]
    pub fn health(&self) -> Option<Health> {
        let (_, last) = self.status.rsplit_once(" (")?;
        match last {
            "healthy)" => Some(Health::Healthy),
            "unhealthy)" => Some(Health::Unhealthy),
            "health: starting)" => Some(Health::Starting),
            // For example `Exited (1) 2 hours ago` or `Up 2 hours (Paused)`.
            _ => None,
        }
    }
}

/// Result of a health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// The last check passed.
    Healthy,
    /// The last checks failed.
    Unhealthy,
    /// No check has passed yet, within the start period.
    Starting,
}

impl Health {
    /// Returns the engine's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Starting => "starting",
        }
    }
}

/// Returns all containers.
///
/// # Errors
/// The engine does not answer within the limit, or not with a list.
pub fn containers(root: &Root) -> Result<Vec<Container>> {
    get(root, "/containers/json?all=1")
}

/// Returns the JSON value at `path`.
///
/// # Errors
/// The engine does not answer within the limit, or not with such a value.
pub fn get<T: DeserializeOwned>(root: &Root, path: &str) -> Result<T> {
    let (status, body) = request(root, "GET", path, None)?;
    if status != 200 {
        bail!("the engine answers {path} with {status}");
    }
    serde_json::from_str(&body).with_context(|| format!("reading the engine's answer to {path}"))
}

/// Posts a JSON value to `path` and returns the status of the answer.
///
/// # Errors
/// The engine does not answer within the limit.
pub fn post(root: &Root, path: &str, body: &str) -> Result<u16> {
    request(root, "POST", path, Some(body)).map(|(status, _)| status)
}

/// Sends a request of HTTP/1.0, whose response ends with the connection and is not chunked.
fn request(root: &Root, method: &str, path: &str, body: Option<&str>) -> Result<(u16, String)> {
    let end = Instant::now() + REQUEST_LIMIT;
    let mut text = format!("{method} {path} HTTP/1.0\r\nHost: docker\r\n");
    if let Some(body) = body {
        text += &format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
    }
    text += &format!("\r\n{}", body.unwrap_or_default());
    let mut socket = connected(root).context("the engine cannot be reached")?;
    socket
        .write_all(text.as_bytes())
        .context("the engine does not answer")?;
    let answer = read_until(&mut socket, end)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the engine's answer has no end")?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
    Ok((
        status.context("the engine's answer has no status")?,
        body.to_string(),
    ))
}

/// Connects to the engine. `UnixStream::connect` has no time limit, and waits for ever if
/// an engine that hangs has as many connections as it allows to wait.
fn connected(root: &Root) -> Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Of writing, too.
    set_socket_timeout(&socket, Timeout::Send, Some(REQUEST_LIMIT))?;
    connect(&socket, &SocketAddrUnix::new(root.path(ENGINE_SOCKET))?)?;
    Ok(UnixStream::from(socket))
}

/// Reads until the end of the stream.
fn read_until(socket: &mut UnixStream, end: Instant) -> Result<String> {
    let mut answer = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("the engine does not answer in time");
        }
        if answer.len() > MAX_ANSWER_BYTES {
            bail!("the engine's answer is larger than {MAX_ANSWER_BYTES} bytes");
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(&mut buffer) {
            Ok(0) => return String::from_utf8(answer).context("the engine's answer is not UTF-8"),
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("the engine does not answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Returns the result of a request to an engine that answers so, and the request.
    fn answered(answer: &'static [u8]) -> (Result<Vec<Container>>, String) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        std::fs::create_dir_all(root.path("/run")).unwrap();
        let engine = UnixListener::bind(root.path(ENGINE_SOCKET)).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = engine.accept().unwrap();
            let mut request = [0; 1000];
            let count = stream.read(&mut request).unwrap();
            // The client may have stopped to read.
            let _ = stream.write_all(answer);
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        let containers = containers(&root);
        (containers, thread.join().unwrap())
    }

    #[test]
    fn containers_have_names_labels_and_health() {
        let (containers, request) = answered(
            b"HTTP/1.0 200 OK\r\n\r\n[{\"Id\":\"1\",\"State\":\"running\",\"Names\":[\"/a\"],\
              \"Status\":\"Up 5 minutes (unhealthy)\",\"Labels\":{\"b\":\"c\",\"d\":\"\"}},\
              {\"State\":\"exited\",\"Labels\":null}]",
        );
        assert!(request.starts_with("GET /containers/json?all=1 HTTP/1.0\r\n"));
        let containers = containers.unwrap();
        let first = &containers[0];
        assert_eq!((first.name(), first.label("b")), (Some("a"), Some("c")));
        assert_eq!((first.label("d"), first.label("e")), (None, None));
        assert_eq!(first.health(), Some(Health::Unhealthy));
        assert_eq!((containers[1].name(), containers[1].health()), (None, None));
    }

    #[test]
    fn bad_answers_are_errors() {
        for (answer, error) in [
            (&b""[..], "has no end"),
            (b"HTTP/1.0 200 OK\r\n", "has no end"),
            (b"HTTP/1.0\r\n\r\n", "has no status"),
            (b"HTTP/1.0 503 200 \r\n\r\n[]", "with 503"),
            (b"HTTP/1.0 200 OK\r\n\r\n[{", "reading the engine's answer"),
            (b"HTTP/1.0 200 OK\r\n\r\n\xff", "not UTF-8"),
            (&[b'x'; MAX_ANSWER_BYTES + 100_000], "larger than"),
        ] {
            let found = format!("{:#}", answered(answer).0.unwrap_err());
            assert!(found.contains(error), "{found}");
        }
        let absent = containers(&Root::at("/nonexistent")).unwrap_err();
        assert!(format!("{absent:#}").contains("cannot be reached"));
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
            let json = serde_json::json!({ "State": "x", "Status": status });
            let container: Container = serde_json::from_value(json).unwrap();
            assert_eq!(container.health().map(Health::as_str), expected, "{status}");
        }
    }
}
