//! HTTP client of the engine's API, over the Unix socket of the engine.

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

/// API version of requests: that of docker 20.10, the oldest with all requests that
/// edge-docker sends. [`super::create`] has the only exception.
const API_VERSION: &str = "v1.41";
/// Size limit of a response in memory, or of one line of a streamed response, in bytes.
const MAX_RESPONSE_BYTES: usize = 16 * 1024 * 1024;
/// Timeout until a response begins. Reading the rest has no timeout: the response to a
/// wait request begins at once and ends with the container.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Body of a request, and the part of the body that the engine shows to its plugin and
/// for which the ticket is written.
pub(super) type BodyAndShown<'a, B> = (B, &'a [u8]);

/// Sends a request and returns the JSON of the response, or `null` if it is empty. A
/// `body` is sent as `application/json`.
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

/// Sends a GET request; returns `None` if the engine responds with status 404.
pub(crate) async fn find(root: &Root, path: &str) -> Result<Option<Value>> {
    match request(root, Method::GET, path, None).await {
        Ok(value) => Ok(Some(value)),
        Err(error) if EngineError::is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends a GET request for bytes; returns `None` if the engine responds with status 404.
///
/// # Errors
/// If the response has more than `limit` bytes.
pub(crate) async fn download(root: &Root, path: &str, limit: usize) -> Result<Option<Vec<u8>>> {
    match send(root, Method::GET, path, no_body(), &[]).await {
        Ok(response) => read_bytes(response, limit).await.map(Some),
        Err(error) if EngineError::is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn read_json(response: Response<Incoming>) -> Result<Value> {
    let bytes = read_bytes(response, MAX_RESPONSE_BYTES).await?;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&bytes).context("parsing the engine's response")
}

async fn read_bytes(response: Response<Incoming>, limit: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut incoming = response.into_body();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.context("reading the engine's response")?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |d| &d[..]));
        // Checked for each frame, because a chunked response announces no length.
        if bytes.len() > limit {
            bail!("reading the engine's response: more than {limit} bytes");
        }
    }
    Ok(bytes)
}

/// Sends a POST request whose response reports progress as lines of JSON, and calls
/// `line` for each. `auth` is the value of `X-Registry-Auth`.
pub(crate) async fn follow(
    root: &Root,
    path: &str,
    auth: Option<&str>,
    line: impl FnMut(&Value),
) -> Result<()> {
    // The credentials are sent with this request only. Docker's client would read them
    // from a configuration directory, which also contains plugins that it executes.
    let auth = auth.map(|a| ("X-Registry-Auth", a));
    let response = send(root, Method::POST, path, no_body(), auth.as_slice()).await?;
    read_lines(response, line).await
}

/// Returns the empty body of a request whose parameters are only in its URI.
pub(super) fn no_body() -> BodyAndShown<'static, Full<Bytes>> {
    (Full::default(), b"")
}

/// Sends a request to wait for an event, for example the end of a container. The outer
/// future is ready when the engine waits, the inner one when the event has happened; it
/// returns the JSON of the response.
pub(crate) async fn wait(
    root: &Root,
    path: &str,
) -> Result<impl Future<Output = Result<Value>> + use<>> {
    let response = send(root, Method::POST, path, no_body(), &[]).await?;
    Ok(read_json(response))
}

/// Sends a request that turns the connection into a stream in both directions. Returns
/// the stream, and bytes that arrived directly after the head of the response.
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
    // Threads copy from the stream and have to block; tokio had set it to non-blocking.
    stream.set_nonblocking(false).context(context)?;
    Ok((stream, parts.read_buf))
}

/// Subscribes to the events of a container and calls `line` for each one until the engine
/// ends. The outer future is ready when the subscription is active; the inner one reads.
pub(crate) async fn events<F: FnMut(&Value)>(
    root: &Root,
    id: &str,
    line: F,
) -> Result<impl Future<Output = Result<()>> + use<F>> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .context("reading the clock")?;
    // JSON in percent-encoding, which the plugin refuses only in the path of a URI.
    let filters = format!("%7B%22container%22%3A%5B%22{id}%22%5D%7D");
    // `since` has whole seconds, rounded down: events of the current second may be
    // repeated, but none is missed.
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
            // The status was sent before the work began, so a failure is reported in the
            // body.
            if let Some(error) = value["error"].as_str() {
                return Err(EngineError::Reported(error.into()).into());
            }
            line(&value);
            waiting = rest;
        }
    }
    Ok(())
}

/// Sends a request and returns the response if its status is a success. Every method but
/// GET gets a ticket for the authorization plugin.
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
    // Only a request that needs another version names one.
    let uri = match path.starts_with("/v1.") {
        true => path.to_string(),
        false => format!("/{API_VERSION}{path}"),
    };
    // The plugin uses up the ticket before the response begins. An unused ticket is
    // withdrawn when this function returns, so that nobody else can use it.
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
    // One connection per request: after an upgrade or an interrupted upload, no other
    // request can be sent on it.
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
        // The response begins after the upload, which may take any time.
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

/// Refuses unless the engine has the mount namespace of this process. In a unit with a
/// namespace of its own (`PrivateTmp=` and similar settings) the mount clones would be
/// invisible to the engine.
pub(crate) async fn require_same_mounts(root: &Root) -> Result<()> {
    let context = "comparing mount namespaces with the engine";
    let peer = connect(root).await?.peer_cred().context(context)?;
    let peer = peer.pid().context(context)?;
    // The engine is the peer of the socket. A search by name could find another dockerd.
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
