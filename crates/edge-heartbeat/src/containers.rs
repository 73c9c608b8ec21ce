//! How many containers are in which state, asked at the engine's socket.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use edge_common::Root;
use serde::Deserialize;
use serde_json::{Value, json};

/// Largest answer that is read, in bytes.
const LARGEST: u64 = 4 * 1024 * 1024;

#[derive(Deserialize)]
struct Container {
    #[serde(rename = "State")]
    state: String,
}

/// Counts by state; nothing when no engine answers.
pub fn by_state(root: &Root) -> Option<Value> {
    let mut socket = UnixStream::connect(root.path("/run/docker.sock")).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    // HTTP/1.0: the answer ends with the connection and is not chunked.
    socket
        .write_all(b"GET /containers/json?all=1 HTTP/1.0\r\nHost: docker\r\n\r\n")
        .ok()?;
    let mut answer = String::new();
    socket.take(LARGEST).read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.lines().next()?.contains(" 200 ").then_some(())?;
    let containers: Vec<Container> = serde_json::from_str(body).ok()?;
    let mut counts = BTreeMap::new();
    for container in containers {
        *counts.entry(container.state).or_insert(0_u32) += 1;
    }
    Some(json!(counts))
}
