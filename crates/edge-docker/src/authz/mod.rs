//! `authz`: authorization plugin of the engine.
//!
//! The engine sends each API request to the plugin before carrying it out. The plugin
//! permits requests that need no ticket, and requests for which edge-docker has left a
//! ticket. While the plugin does not answer, the engine refuses all requests. systemd
//! owns the socket and starts the plugin at the first connection, also after a crash.
//! Protocol: <https://docs.docker.com/engine/extend/plugins_authorization/>.

mod http;

use std::io::{BufReader, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edge_common::{Root, log};
use serde::Deserialize;
use serde_json::json;

use edge_docker_policy::api::rules::{ApiRequest, decide};
use edge_docker_policy::refusal::refuse;

use crate::tickets;

/// Path of the plugin's socket: systemd listens on it, the engine connects to it.
const SOCKET: &str = "/run/docker/plugins/edge-docker.sock";
/// Maximum number of open connections, each with its own thread. The engine repeats a
/// request if the connection is closed without a response.
const MAX_CONNECTIONS: usize = 512;
/// Timeout for each further request on a connection, and for writing a response. Long,
/// because the engine keeps idle connections open.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// Timeout for the first request on a connection, which the engine sends at once.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Stack size of the thread of a connection, in bytes. With Rust's default of 2 MiB,
/// [`MAX_CONNECTIONS`] threads would reserve 1 GiB of address space.
const STACK_BYTES: usize = 512 * 1024;
/// Limit of the request URI in a log message, in characters; a longer URI is truncated.
const MAX_LOGGED_URI_CHARS: usize = 200;

/// JSON object with which the engine describes an API request to the plugin. The field
/// `User` is not read, because the engine leaves it empty for requests on a Unix socket.
#[derive(Deserialize)]
struct AuthorizationRequest {
    #[serde(rename = "RequestMethod")]
    method: String,
    #[serde(rename = "RequestUri")]
    uri: String,
    /// Body of the API request in base64. Absent if the engine does not forward the body:
    /// for `build` and `load`, and for bodies that are not JSON or too long.
    #[serde(rename = "RequestBody", default)]
    body: Option<String>,
}

/// Accepts connections of the engine and answers each in its own thread, until systemd
/// stops the service.
pub(crate) fn serve(root: &Root) -> Result<()> {
    let listener = listener(root)?;
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let (stream, _) = listener.accept().context("accepting a connection")?;
        // The number of threads is limited, so that many connections at once cannot
        // exhaust the memory and end the plugin: without the plugin, the engine refuses
        // everything.
        if open.fetch_add(1, Ordering::SeqCst) >= MAX_CONNECTIONS {
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (root, counter) = (root.clone(), Arc::clone(&open));
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let started = thread.spawn(move || {
            let result = connection(&root, &stream);
            counter.fetch_sub(1, Ordering::SeqCst);
            // Normal ends of a connection: a timeout, or the engine closed an idle
            // connection.
            let expected = [
                ErrorKind::WouldBlock,
                ErrorKind::ConnectionReset,
                ErrorKind::BrokenPipe,
            ];
            match result {
                Err(error) if !expected.contains(&error.kind()) => {
                    log::warn(format_args!("authz: connection of the engine: {error}"));
                }
                _ => {}
            }
        });
        started.context("starting a thread")?;
    }
}

/// Returns the listening socket that systemd passes as standard input. A socket that is
/// not bound to [`SOCKET`] is refused: only root can bind that path, so a caller cannot
/// pass another socket.
fn listener(root: &Root) -> Result<UnixListener> {
    let input = std::io::stdin().as_fd().try_clone_to_owned();
    let listener = UnixListener::from(input.context("duplicating standard input")?);
    let address = listener.local_addr().ok();
    let path = address.as_ref().and_then(|a| a.as_pathname());
    if path != Some(&root.path(SOCKET)) {
        return Err(refuse(
            "authz is refused: systemd starts it, for the container engine",
        ));
    }
    Ok(listener)
}

/// Reads the plugin calls on one connection and responds to each, until the engine closes
/// the connection.
fn connection(root: &Root, stream: &UnixStream) -> std::io::Result<()> {
    // Short, because the engine sends its first request at once, and a connection without
    // a request would occupy one of the limited threads.
    stream.set_read_timeout(Some(FIRST_REQUEST_TIMEOUT))?;
    stream.set_write_timeout(Some(IDLE_TIMEOUT))?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    while let Some(head) = http::head(&mut reader)? {
        let (status, json) = match head.target.as_str() {
            "POST /Plugin.Activate" => {
                http::skip(&mut reader, head.length)?;
                ("200 OK", json!({ "Implements": ["authz"] }))
            }
            "POST /AuthZPlugin.AuthZReq" => {
                let body = http::body(&mut reader, head.length)?;
                ("200 OK", verdict(root, &body))
            }
            // The call after a response is always allowed: the plugin has already
            // permitted the request.
            "POST /AuthZPlugin.AuthZRes" => {
                http::skip(&mut reader, head.length)?;
                ("200 OK", json!({ "Allow": true }))
            }
            _ => {
                http::skip(&mut reader, head.length)?;
                ("404 Not Found", json!({ "Err": "unknown plugin call" }))
            }
        };
        http::respond(&mut writer, status, &json.to_string())?;
        stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
    }
    Ok(())
}

/// Returns the response to `AuthZReq`: `Allow`, and after a refusal its text in `Msg`.
fn verdict(root: &Root, description: &[u8]) -> serde_json::Value {
    match authorize(root, description) {
        Ok(()) => json!({ "Allow": true }),
        // The engine returns `Msg` to its client as the error message.
        Err(refusal) => json!({ "Allow": false, "Msg": refusal }),
    }
}

/// Decides on the API request that `description` describes, and logs a refusal. The error
/// is the text for the caller, with the edge-docker command to use instead.
fn authorize(root: &Root, description: &[u8]) -> Result<(), String> {
    // A description that cannot be parsed is refused: a newer engine may describe
    // requests in another format.
    let malformed = || "malformed authorization request of the engine".to_string();
    let described: AuthorizationRequest =
        serde_json::from_slice(description).map_err(|_| malformed())?;
    let body = described.body.unwrap_or_default();
    let body = STANDARD.decode(body).map_err(|_| malformed())?;
    let request = ApiRequest {
        method: &described.method,
        uri: &described.uri,
        body: &body,
    };
    decide(&request, |key| tickets::take(root, key)).inspect_err(|refusal| {
        let uri = described.uri.chars().take(MAX_LOGGED_URI_CHARS);
        let uri: String = uri.collect();
        log::warn(format_args!(
            "refused request to the engine: {} {uri}: {refusal}",
            described.method
        ));
    })
}
