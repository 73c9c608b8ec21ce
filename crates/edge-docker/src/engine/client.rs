//! Client of the engine's API, over its socket.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use edge_common::Root;
use edge_common::contract::path::ENGINE_SOCKET;
use edge_docker_policy::api::key::Key;
use edge_docker_policy::refusal::refuse;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::error::EngineError;
use crate::tickets;

/// Oldest API that has every request of edge-docker: docker 20.10. A newer engine
/// still speaks it.
const API_VERSION: &str = "v1.41";
/// Largest response that is kept in memory, in bytes.
const MAX_RESPONSE_BYTES: usize = 16 * 1024 * 1024;
/// Time until a response has to begin. Its end is not limited: a wait for a container
/// begins at once and ends with the container.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Body of a request, and the part of it that the engine shows to its plugin, for
/// which the ticket is.
pub(super) type BodyAndShown<'a, B> = (B, &'a [u8]);

/// Sends a request and returns the response as JSON, `null` if it is empty.
pub(crate) async fn request(
    root: &Root,
    method: Method,
    path: &str,
    body: Option<&[u8]>,
) -> Result<Value> {
    let content_type = body.map(|_| ("Content-Type", "application/json"));
    let shown = body.unwrap_or_default();
    let body = Full::new(Bytes::copy_from_slice(shown));
    let response = send(root, method, path, (body, shown), content_type.as_slice()).await?;
    read_json(response).await
}

/// Sends a GET; returns `None` if the engine has nothing of that name.
pub(crate) async fn find(root: &Root, path: &str) -> Result<Option<Value>> {
    match request(root, Method::GET, path, None).await {
        Ok(value) => Ok(Some(value)),
        Err(error) if EngineError::is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn read_json(response: Response<Incoming>) -> Result<Value> {
    let mut bytes = Vec::new();
    let mut incoming = response.into_body();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.context("reading the engine's response")?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |d| &d[..]));
        // Checked as it arrives: a chunked response announces no length.
        if bytes.len() > MAX_RESPONSE_BYTES {
            bail!("reading the engine's response: more than {MAX_RESPONSE_BYTES} bytes");
        }
    }
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&bytes).context("parsing the engine's response")
}

/// Sends a request whose response reports progress, and passes each line to `line`.
pub(crate) async fn follow(
    root: &Root,
    path: &str,
    auth: Option<&str>,
    line: impl FnMut(&Value),
) -> Result<()> {
    // For this request alone: docker's client would read credentials from a configuration
    // directory, which also holds plugins that it executes.
    let auth = auth.map(|a| ("X-Registry-Auth", a));
    let response = send(root, Method::POST, path, no_body(), auth.as_slice()).await?;
    read_lines(response, line).await
}

/// Returns an empty body.
pub(super) fn no_body() -> BodyAndShown<'static, Full<Bytes>> {
    (Full::default(), b"")
}

/// Begins to wait for an event such as a container's end. The outer future is ready
/// once the engine waits; the inner one returns the result.
pub(crate) async fn wait(
    root: &Root,
    path: &str,
) -> Result<impl Future<Output = Result<Value>> + use<>> {
    let response = send(root, Method::POST, path, no_body(), &[]).await?;
    Ok(read_json(response))
}

/// Turns a request into a stream of bytes in both directions; returns it with the bytes
/// that arrived behind the response's head.
pub(crate) async fn attach(
    root: &Root,
    path: &str,
) -> Result<(std::os::unix::net::UnixStream, Bytes)> {
    let headers = [("Connection", "Upgrade"), ("Upgrade", "tcp")];
    let response = send(root, Method::POST, path, no_body(), &headers).await?;
    let context = "attaching to the container";
    let upgraded = hyper::upgrade::on(response).await.context(context)?;
    let parts = upgraded.downcast::<TokioIo<UnixStream>>();
    let parts = parts.ok().context(context)?;
    let stream = parts.io.into_inner().into_std().context(context)?;
    // Threads copy from here on, and block; the runtime had made it non-blocking.
    stream.set_nonblocking(false).context(context)?;
    Ok((stream, parts.read_buf))
}

/// Passes the events of a container from now on to `line`, until the engine ends. The
/// outer future is ready once the engine reports; the inner one listens.
pub(crate) async fn events<F: FnMut(&Value)>(
    root: &Root,
    id: &str,
    line: F,
) -> Result<impl Future<Output = Result<()>> + use<F>> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .context("reading the clock")?;
    // JSON, percent-encoded: the plugin refuses a `%` only in the path.
    let filters = format!("%7B%22container%22%3A%5B%22{id}%22%5D%7D");
    // Whole seconds, rounded down: events of the current second are repeated, not missed.
    let path = format!("/events?since={}&filters={filters}", now.as_secs());
    let response = send(root, Method::GET, &path, no_body(), &[]).await?;
    Ok(read_lines(response, line))
}

pub(super) async fn read_lines(
    response: Response<Incoming>,
    mut line: impl FnMut(&Value),
) -> Result<()> {
    let mut incoming = response.into_body();
    let mut waiting = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.context("reading the engine's response")?;
        waiting.extend_from_slice(frame.data_ref().map_or(&[][..], |d| &d[..]));
        if waiting.len() > MAX_RESPONSE_BYTES {
            bail!("reading the engine's response: a line of more than {MAX_RESPONSE_BYTES} bytes");
        }
        while let Some(end) = waiting.iter().position(|b| *b == b'\n') {
            let rest = waiting.split_off(end + 1);
            let value: Value = serde_json::from_slice(&waiting).unwrap_or_default();
            // The status was sent before the work began: failures come in-band.
            if let Some(error) = value["error"].as_str() {
                return Err(EngineError::Reported(error.into()).into());
            }
            line(&value);
            waiting = rest;
        }
    }
    Ok(())
}

/// Sends a request, with a ticket unless it only reads, and returns the response if its
/// status is one of success.
pub(super) async fn send<B>(
    root: &Root,
    method: Method,
    path: &str,
    (body, shown): BodyAndShown<'_, B>,
    headers: &[(&str, &str)],
) -> Result<Response<Incoming>>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let uri = format!("/{API_VERSION}{path}");
    // The plugin takes it before the response begins. What it leaves is withdrawn when
    // this returns, so that nobody else can use it.
    let _ticket = match method {
        Method::GET => None,
        _ => Some(tickets::leave(
            root,
            &Key::request(method.as_str(), &uri, shown),
        )?),
    };
    let stream = connect(root).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .context("starting HTTP with the engine")?;
    // A connection serves one request: an upgrade or an upload that is cut off leaves it
    // in no state for another.
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header("Host", "docker");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let is_whole = body.size_hint().exact().is_some();
    let sent = sender.send_request(request.body(body).context("sending the request")?);
    let response = if is_whole {
        let response = tokio::time::timeout(RESPONSE_TIMEOUT, sent).await;
        response.context("the engine does not answer")?
    } else {
        // The response begins when the upload ends, which may take any time.
        sent.await
    };
    let response = response.context("sending the request to the engine")?;
    let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if upgraded || response.status().is_success() {
        return Ok(response);
    }
    Err(error_of(response).await.into())
}

async fn connect(root: &Root) -> Result<UnixStream, EngineError> {
    let stream = UnixStream::connect(root.path(ENGINE_SOCKET)).await;
    stream.map_err(EngineError::Unreachable)
}

/// Fails unless the engine shares the mount namespace of this process: a unit with one
/// of its own (PrivateTmp= and the like) would clone mounts that the engine never sees.
pub(crate) async fn require_same_mounts(root: &Root) -> Result<()> {
    let context = "comparing mount namespaces with the engine";
    let peer = connect(root).await?.peer_cred().context(context)?;
    let peer = peer.pid().context(context)?;
    // By the socket's peer, not by a name: several programs may be called dockerd.
    let engine = std::fs::read_link(format!("/proc/{peer}/ns/mnt")).context(context)?;
    let own = std::fs::read_link("/proc/self/ns/mnt").context(context)?;
    if engine != own {
        return Err(refuse(
            "mounts are refused: edge-docker runs in a mount namespace of its own; \
             drop PrivateTmp=, ProtectSystem= and the like from its unit",
        ));
    }
    Ok(())
}

async fn error_of(response: Response<Incoming>) -> EngineError {
    let status = response.status().as_u16();
    let body = http_body_util::Limited::new(response.into_body(), MAX_RESPONSE_BYTES)
        .collect()
        .await;
    let body = body
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    let message = value["message"].as_str().unwrap_or("no message").into();
    EngineError::Response { status, message }
}
