//! Apps on the container engine, and whether the engine's authorization plugin refuses
//! what edge-docker did not ask for.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_common::Root;
use edge_common::contract::path::ENGINE_SOCKET;
use edge_common::contract::{label, suffix};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::gate::{App, AppBefore, Check};

/// Size limit of a response of the engine, in bytes.
const MAX_ANSWER_BYTES: usize = 2 * 1024 * 1024;
/// Time limit of a whole request.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// Container that nobody has asked edge-docker for, with an image that cannot exist.
const UNSIGNED: &str = r#"{"Image":"edge-os.invalid/unsigned"}"#;

#[derive(Deserialize)]
struct Container {
    #[serde(rename = "Id")]
    id: String,
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

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Healthcheck {
    interval: i64,
    retries: i64,
    start_period: i64,
}

#[derive(Deserialize)]
struct Inspected {
    #[serde(rename = "Config")]
    config: InspectedConfig,
}

#[derive(Deserialize)]
struct InspectedConfig {
    #[serde(rename = "Healthcheck", default)]
    healthcheck: Option<Healthcheck>,
}

/// Returns the state of each app, by the names of their containers.
///
/// # Errors
/// The engine does not answer.
pub fn apps(root: &Root) -> Result<BTreeMap<String, App>> {
    Ok(containers(root)?
        .into_iter()
        .map(|(name, c)| (name, state(&c)))
        .collect())
}

/// Returns the health of each app for the journal of an update.
///
/// # Errors
/// The engine does not answer.
pub fn apps_before(root: &Root) -> Result<BTreeMap<String, AppBefore>> {
    let before = |(name, container): (String, Container)| {
        let path = format!("/containers/{}/json", container.id);
        let inspected: Option<Inspected> = get(root, &path).ok();
        let check = inspected.and_then(|i| i.config.healthcheck);
        let app = AppBefore {
            healthy: state(&container) == App::Healthy,
            critical: true,
            gives_up_after: check.map_or(0, |c| gives_up_after(&c)),
        };
        (name, app)
    };
    Ok(containers(root)?.into_iter().map(before).collect())
}

/// Returns the seconds after which a health check gives up.
fn gives_up_after(check: &Healthcheck) -> u64 {
    let nanoseconds = check
        .start_period
        .saturating_add(check.interval.saturating_mul(check.retries.max(1)));
    u64::try_from(nanoseconds / 1_000_000_000).unwrap_or(0)
}

fn containers(root: &Root) -> Result<Vec<(String, Container)>> {
    let list: Vec<Container> = get(root, "/containers/json?all=1")?;
    let app = |container: Container| {
        let set = |key| {
            let labels = container.labels.as_ref();
            labels
                .and_then(|l| l.get(key))
                .is_some_and(|v| !v.is_empty())
        };
        // Sandbox apps are an engineer's, for today.
        let signed = set(label::APP) && !set(label::SANDBOX) && !set(label::TICKET);
        let name = container.names.first()?.trim_start_matches('/').to_string();
        let kept = suffix::RESERVED.iter().any(|s| name.ends_with(s));
        (signed && !kept).then_some((name, container))
    };
    Ok(list.into_iter().filter_map(app).collect())
}

fn state(container: &Container) -> App {
    let status = &container.status;
    if container.state != "running" {
        return App::Unhealthy(status.clone());
    }
    match status.rsplit_once(" (").map(|(_, last)| last) {
        Some("unhealthy)") => App::Unhealthy(status.clone()),
        Some("health: starting)") => App::Starting,
        _ => App::Healthy,
    }
}

/// Asks the engine for a container behind edge-docker's back: the authorization plugin has
/// to refuse it.
pub fn policy(root: &Root) -> Check {
    let head = format!(
        "POST /containers/create HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{UNSIGNED}",
        UNSIGNED.len()
    );
    match request(root, &head) {
        Ok((403, _)) => Check::Good,
        Ok((status, _)) => Check::Bad(format!(
            "the engine answers a container without a signature with {status}, not 403: its \
             authorization plugin does not work"
        )),
        Err(error) => Check::Pending(format!("{error:#}")),
    }
}

fn get<T: DeserializeOwned>(root: &Root, path: &str) -> Result<T> {
    let (status, body) = request(
        root,
        &format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n"),
    )?;
    if status != 200 {
        bail!("the engine answers {path} with {status}");
    }
    serde_json::from_str(&body).with_context(|| format!("reading the engine's answer to {path}"))
}

/// Sends a request of HTTP/1.0, whose response ends with the connection and is not chunked.
fn request(root: &Root, text: &str) -> Result<(u16, String)> {
    let end = Instant::now() + REQUEST_LIMIT;
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

/// Connects to the engine. `UnixStream::connect` has no time limit.
fn connected(root: &Root) -> Result<UnixStream> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    set_socket_timeout(&socket, Timeout::Send, Some(REQUEST_LIMIT))?;
    connect(&socket, &SocketAddrUnix::new(root.path(ENGINE_SOCKET))?)?;
    Ok(UnixStream::from(socket))
}

fn read_until(socket: &mut UnixStream, end: Instant) -> Result<String> {
    let mut answer = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || answer.len() > MAX_ANSWER_BYTES {
            bail!("the engine does not answer in time");
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
