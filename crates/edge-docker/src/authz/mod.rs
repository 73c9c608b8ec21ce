//! `authz`: the engine's authorization plugin. It is started by systemd with the
//! first connection, sees every request before the engine acts, and lets those
//! pass that need no ticket or have one. The engine refuses all while it is away.
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

/// Where the engine looks for the plugin.
pub const SOCKET: &str = "/run/docker/plugins/edge-docker.sock";
/// Connections at a time; the engine tries again when it is turned away.
const MOST: usize = 512;
/// How long a connection may be silent: the engine keeps one for its next request.
const SILENCE: Duration = Duration::from_secs(600);
/// How long it may take to say its first word.
const FIRST: Duration = Duration::from_secs(5);
/// Stack of a connection's thread, in bytes.
const STACK: usize = 512 * 1024;
/// How much of an address is logged, in characters.
const SHOWN: usize = 200;

/// What the engine says of a request.
#[derive(Deserialize)]
struct Question {
    #[serde(rename = "RequestMethod")]
    method: String,
    #[serde(rename = "RequestUri")]
    uri: String,
    /// Base64; absent when the engine does not show it.
    #[serde(rename = "RequestBody", default)]
    body: Option<String>,
}

/// Answers the engine until systemd ends it.
///
/// # Errors
/// Not started by systemd with the plugin's socket.
pub fn serve(root: &Root) -> Result<()> {
    let listener = listener(root)?;
    let busy = Arc::new(AtomicUsize::new(0));
    loop {
        let (stream, _) = listener.accept().context("waiting for the engine")?;
        if busy.fetch_add(1, Ordering::SeqCst) >= MOST {
            busy.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (root, done) = (root.clone(), Arc::clone(&busy));
        let thread = std::thread::Builder::new().stack_size(STACK);
        let started = thread.spawn(move || {
            let end = connection(&root, &stream);
            done.fetch_sub(1, Ordering::SeqCst);
            let quiet = [
                ErrorKind::WouldBlock,
                ErrorKind::ConnectionReset,
                ErrorKind::BrokenPipe,
            ];
            if let Err(error) = end.map_err(|e| (e.kind(), e)) {
                if !quiet.contains(&error.0) {
                    log::warn(format_args!("authz: a connection: {}", error.1));
                }
            }
        });
        started.context("starting a thread")?;
    }
}

/// The listening socket, which systemd gives as standard input. Its place is
/// root's alone, so that nobody else can have made it.
fn listener(root: &Root) -> Result<UnixListener> {
    let input = std::io::stdin().as_fd().try_clone_to_owned();
    let listener = UnixListener::from(input.context("looking at standard input")?);
    let place = listener.local_addr().ok();
    let place = place.as_ref().and_then(|a| a.as_pathname());
    if place != Some(&root.path(SOCKET)) {
        return Err(refuse(
            "authz is refused: systemd starts it, for the container engine",
        ));
    }
    Ok(listener)
}

fn connection(root: &Root, stream: &UnixStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(FIRST))?;
    stream.set_write_timeout(Some(SILENCE))?;
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
            // What was let in may come out.
            "POST /AuthZPlugin.AuthZRes" => {
                http::skip(&mut reader, head.length)?;
                ("200 OK", json!({ "Allow": true }))
            }
            _ => {
                http::skip(&mut reader, head.length)?;
                ("404 Not Found", json!({ "Err": "no such call" }))
            }
        };
        http::answer(&mut writer, status, &json.to_string())?;
        stream.set_read_timeout(Some(SILENCE))?;
    }
    Ok(())
}

fn verdict(root: &Root, question: &[u8]) -> serde_json::Value {
    let refused = match judge(root, question) {
        Ok(()) => return json!({ "Allow": true }),
        Err(refused) => refused,
    };
    json!({ "Allow": false, "Msg": refused })
}

fn judge(root: &Root, question: &[u8]) -> Result<(), String> {
    let bad = |_| "the engine's question cannot be read".to_string();
    let question: Question = serde_json::from_slice(question).map_err(|e| bad(e.to_string()))?;
    let body = question.body.unwrap_or_default();
    let body = STANDARD.decode(body).map_err(|e| bad(e.to_string()))?;
    let request = ApiRequest {
        method: &question.method,
        uri: &question.uri,
        body: &body,
    };
    decide(&request, |key| tickets::take(root, key)).inspect_err(|why| {
        let uri: String = question.uri.chars().take(SHOWN).collect();
        log::warn(format_args!(
            "refused at the engine: {} {uri}: {why}",
            question.method
        ));
    })
}
