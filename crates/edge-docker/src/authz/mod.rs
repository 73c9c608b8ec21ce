//! `authz`: the authorization plugin of the engine.
//!
//! The engine asks it about every request before it acts. Requests pass that need no
//! ticket or have one; while the plugin is away, the engine refuses all. systemd holds
//! the socket and starts the plugin with the first connection, also after a crash.
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

/// Socket at which the engine looks for the plugin.
const SOCKET: &str = "/run/docker/plugins/edge-docker.sock";
/// Most connections at a time. The engine tries again when one is closed unanswered.
const MAX_CONNECTIONS: usize = 512;
/// Timeout for the next request on a connection: the engine keeps connections open.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// Timeout for the first request on a connection.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Stack of a connection's thread, in bytes. The default of 2 MiB would reserve 1 GiB
/// of address space for all connections.
const STACK_BYTES: usize = 512 * 1024;
/// Longest part of a URI that is logged, in characters.
const MAX_LOGGED_URI_CHARS: usize = 200;

/// Request to the engine, as the engine describes it to the plugin. The user is not
/// read: on a Unix socket the engine leaves it empty.
#[derive(Deserialize)]
struct AuthorizationRequest {
    #[serde(rename = "RequestMethod")]
    method: String,
    #[serde(rename = "RequestUri")]
    uri: String,
    /// Base64. Absent where the engine does not show the body: `build`, `load`, and
    /// everything that is not JSON or too long.
    #[serde(rename = "RequestBody", default)]
    body: Option<String>,
}

/// Answers requests of the engine until systemd stops the service.
pub(crate) fn serve(root: &Root) -> Result<()> {
    let listener = listener(root)?;
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let (stream, _) = listener.accept().context("accepting a connection")?;
        // A limit of threads, so that many requests at once cannot use up the memory:
        // without the plugin the engine refuses everything.
        if open.fetch_add(1, Ordering::SeqCst) >= MAX_CONNECTIONS {
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (root, counter) = (root.clone(), Arc::clone(&open));
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let started = thread.spawn(move || {
            let result = connection(&root, &stream);
            counter.fetch_sub(1, Ordering::SeqCst);
            // A timeout, or the engine closing an idle connection.
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

/// Returns the listening socket, which systemd passes as standard input. Only root can
/// have bound it at its path, so a caller cannot pass one of its own.
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

/// Answers the requests of one connection until the engine closes it.
fn connection(root: &Root, stream: &UnixStream) -> std::io::Result<()> {
    // The engine sends its first request at once. A connection without one would hold
    // one of the threads.
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
            // A response needs no second decision: its request was permitted.
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

/// Returns the plugin's answer to a description of a request.
fn verdict(root: &Root, description: &[u8]) -> serde_json::Value {
    match authorize(root, description) {
        Ok(()) => json!({ "Allow": true }),
        // The engine shows the message to the caller.
        Err(refusal) => json!({ "Allow": false, "Msg": refusal }),
    }
}

/// Decides on a request; returns the refusal, with the command to use instead.
fn authorize(root: &Root, description: &[u8]) -> Result<(), String> {
    // A description that cannot be read is refused: a later engine may describe
    // requests in another form.
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
