//! The engine's API over its socket.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use edge_common::Root;
use edge_common::log::printable;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::refuse;

/// Where root finds the engine.
pub const SOCKET: &str = "/run/docker.sock";
/// Oldest API that has all that is asked here: docker 20.10.
const VERSION: &str = "v1.41";
/// Largest answer that is read whole, in bytes.
const LARGEST: usize = 16 * 1024 * 1024;
/// Limit for an answer to begin.
const LIMIT: Duration = Duration::from_secs(60);

/// Asks and gives the whole answer as JSON (`null` when it is empty).
///
/// # Errors
/// No engine, or its error, with its words and exit code 125.
pub async fn ask(root: &Root, method: Method, path: &str, body: Option<&[u8]>) -> Result<Value> {
    let response = send(root, method, path, body, None).await?;
    let mut bytes = Vec::new();
    let mut incoming = response.into_body();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.context("reading the engine's answer")?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |d| &d[..]));
        if bytes.len() > LARGEST {
            bail!("reading the engine's answer: more than {LARGEST} bytes");
        }
    }
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&bytes).context("parsing the engine's answer")
}

/// Asks for something that reports its progress, and hands each line of it on.
///
/// # Errors
/// As [`ask`], and an `error` among the lines.
pub async fn follow(
    root: &Root,
    path: &str,
    auth: Option<&str>,
    mut line: impl FnMut(&Value),
) -> Result<()> {
    let response = send(root, Method::POST, path, None, auth).await?;
    let mut incoming = response.into_body();
    let mut waiting = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.context("reading the engine's answer")?;
        waiting.extend_from_slice(frame.data_ref().map_or(&[][..], |d| &d[..]));
        if waiting.len() > LARGEST {
            bail!("reading the engine's answer: a line of more than {LARGEST} bytes");
        }
        while let Some(end) = waiting.iter().position(|b| *b == b'\n') {
            let rest = waiting.split_off(end + 1);
            let value: Value = serde_json::from_slice(&waiting).unwrap_or_default();
            if let Some(error) = value["error"].as_str() {
                return Err(refuse(format_args!(
                    "the engine says: {}",
                    printable(error)
                )));
            }
            line(&value);
            waiting = rest;
        }
    }
    Ok(())
}

async fn send(
    root: &Root,
    method: Method,
    path: &str,
    body: Option<&[u8]>,
    auth: Option<&str>,
) -> Result<Response<Incoming>> {
    let socket = root.path(SOCKET);
    let stream = UnixStream::connect(&socket).await;
    let stream = stream.map_err(|e| {
        refuse(format_args!(
            "the container engine does not answer at {SOCKET}: {e}"
        ))
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .context("greeting the engine")?;
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/{VERSION}{path}"))
        .header("Host", "docker");
    if body.is_some() {
        request = request.header("Content-Type", "application/json");
    }
    if let Some(auth) = auth {
        request = request.header("X-Registry-Auth", auth);
    }
    let body = Full::new(Bytes::copy_from_slice(body.unwrap_or_default()));
    let sent = sender.send_request(request.body(body).context("asking the engine")?);
    let response = tokio::time::timeout(LIMIT, sent)
        .await
        .context("the engine does not answer")?;
    let response = response.context("asking the engine")?;
    if response.status().is_success() {
        return Ok(response);
    }
    Err(error(response).await)
}

async fn error(response: Response<Incoming>) -> anyhow::Error {
    let status: StatusCode = response.status();
    let body = http_body_util::Limited::new(response.into_body(), LARGEST)
        .collect()
        .await;
    let body = body
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    let words = value["message"].as_str().unwrap_or("no words").to_string();
    refuse(format_args!(
        "the engine says: {} ({})",
        printable(&words),
        status.as_u16()
    ))
}
