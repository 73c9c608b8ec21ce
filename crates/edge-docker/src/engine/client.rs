//! The engine's API over its socket.

use std::io::{Read, Write};
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use edge_common::Root;
use edge_common::contract::path::ENGINE_SOCKET;
use edge_common::log::printable;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use edge_docker_policy::api::key::Key;
use edge_docker_policy::refusal::refuse;

use crate::tickets;

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
    let kind = body.map(|_| ("Content-Type", "application/json"));
    let shown = body.unwrap_or_default();
    let body = Full::new(Bytes::copy_from_slice(shown));
    let response = send(root, method, path, (body, shown), kind.as_slice()).await?;
    whole(response).await
}

/// The whole answer as JSON.
async fn whole(response: Response<Incoming>) -> Result<Value> {
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
    line: impl FnMut(&Value),
) -> Result<()> {
    let auth = auth.map(|a| ("X-Registry-Auth", a));
    lines(
        send(root, Method::POST, path, nothing(), auth.as_slice()).await?,
        line,
    )
    .await
}

/// No body.
fn nothing() -> (Full<Bytes>, &'static [u8]) {
    (Full::default(), b"")
}

/// Begins to wait for something that takes its time, such as a container's end.
/// The outer future is ready once the engine waits; the inner one gives what it
/// says then.
///
/// # Errors
/// As [`ask`].
pub async fn wait(root: &Root, path: &str) -> Result<impl Future<Output = Result<Value>> + use<>> {
    let response = send(root, Method::POST, path, nothing(), &[]).await?;
    Ok(whole(response))
}

/// Turns a request into a stream of bytes in both directions, and gives what
/// has arrived of it already.
///
/// # Errors
/// As [`ask`].
pub async fn attach(root: &Root, path: &str) -> Result<(std::os::unix::net::UnixStream, Bytes)> {
    let headers = [("Connection", "Upgrade"), ("Upgrade", "tcp")];
    let response = send(root, Method::POST, path, nothing(), &headers).await?;
    let context = "attaching to the container";
    let upgraded = hyper::upgrade::on(response).await.context(context)?;
    let parts = upgraded.downcast::<TokioIo<UnixStream>>();
    let parts = parts.ok().context(context)?;
    let stream = parts.io.into_inner().into_std().context(context)?;
    stream.set_nonblocking(false).context(context)?;
    Ok((stream, parts.read_buf))
}

/// What happens to a container from now on: each event into `line`, until the
/// engine ends it. The inner future listens; the outer one is ready once it does.
///
/// # Errors
/// As [`ask`].
pub async fn events<F: FnMut(&Value)>(
    root: &Root,
    id: &str,
    line: F,
) -> Result<impl Future<Output = Result<()>> + use<F>> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .context("reading the clock")?;
    let filters = format!("%7B%22container%22%3A%5B%22{id}%22%5D%7D");
    let path = format!("/events?since={}&filters={filters}", now.as_secs());
    let response = send(root, Method::GET, &path, nothing(), &[]).await?;
    Ok(lines(response, line))
}

/// Sends what `produce` writes, as it is written, and hands each line of the
/// answer on.
///
/// # Errors
/// As [`follow`], and those of `produce`, which come first.
pub async fn upload(
    root: &Root,
    path: &str,
    produce: impl FnOnce(&mut dyn Write) -> Result<()> + Send + 'static,
    line: impl FnMut(&Value),
) -> Result<()> {
    let (sender, receiver) = mpsc::channel(4);
    let producer = std::thread::spawn(move || {
        let mut writer = Chunks(sender);
        let result = produce(&mut writer);
        if result.is_err() {
            // The engine must not take half a stream for a whole one.
            let broken = std::io::Error::other("interrupted");
            let _ = writer.0.blocking_send(Err(broken));
        }
        result
    });
    let kind = [("Content-Type", "application/x-tar")];
    let sent = send(root, Method::POST, path, (Stream(receiver), b""), &kind).await;
    let answered = match sent {
        Ok(response) => lines(response, line).await,
        Err(error) => Err(error),
    };
    match (producer.join(), answered) {
        // The engine hung up first: it says why.
        (Ok(Err(error)), Err(answer)) if error.is::<HungUp>() => Err(answer),
        (Ok(Err(error)), _) => Err(error),
        (Ok(Ok(())), answered) => answered,
        (Err(_), _) => bail!("reading standard input"),
    }
}

/// Asks for a long answer, which `consume` reads as it comes, and gives what
/// that makes of it.
///
/// # Errors
/// As [`ask`], and those of `consume`.
pub async fn download<T: Send + 'static>(
    root: &Root,
    path: &str,
    consume: impl FnOnce(&mut dyn Read) -> Result<T> + Send + 'static,
) -> Result<T> {
    let mut incoming = send(root, Method::GET, path, nothing(), &[])
        .await?
        .into_body();
    let (sender, receiver) = mpsc::channel(16);
    let consumer = std::thread::spawn(move || {
        let mut arrived = Arrived(receiver, Bytes::new());
        consume(&mut arrived)
    });
    while let Some(frame) = incoming.frame().await {
        let chunk = frame.map_err(std::io::Error::other);
        let chunk = chunk.map(|f| f.into_data().unwrap_or_default());
        if sender.send(chunk).await.is_err() {
            break;
        }
    }
    drop(sender);
    let joined = consumer.join();
    joined.unwrap_or_else(|_| bail!("reading the engine's answer"))
}

/// An answer that arrives in chunks.
struct Arrived(mpsc::Receiver<std::io::Result<Bytes>>, Bytes);

impl Read for Arrived {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.1.is_empty() {
            match self.0.blocking_recv() {
                Some(chunk) => self.1 = chunk?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.1.len());
        buffer[..length].copy_from_slice(&self.1.split_to(length));
        Ok(length)
    }
}

/// The engine no longer listens.
#[derive(Debug)]
struct HungUp;

impl std::fmt::Display for HungUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the engine hung up")
    }
}

impl std::error::Error for HungUp {}

/// Writes into a request that is under way.
struct Chunks(mpsc::Sender<std::io::Result<Bytes>>);

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let chunk = Bytes::copy_from_slice(bytes);
        let sent = self.0.blocking_send(Ok(chunk));
        sent.map(|()| bytes.len())
            .map_err(|_| std::io::Error::other(HungUp))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A request's body that comes in chunks.
struct Stream(mpsc::Receiver<std::io::Result<Bytes>>);

impl Body for Stream {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        let next = self.0.poll_recv(context);
        next.map(|chunk| chunk.map(|c| c.map(Frame::data)))
    }
}

async fn lines(response: Response<Incoming>, mut line: impl FnMut(&Value)) -> Result<()> {
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

/// Sends a body, of which the engine's plugin is shown the second half of the
/// pair: with a ticket, unless it only asks.
async fn send<B>(
    root: &Root,
    method: Method,
    path: &str,
    (body, shown): (B, &[u8]),
    headers: &[(&str, &str)],
) -> Result<Response<Incoming>>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let uri = format!("/{VERSION}{path}");
    // Taken by the plugin before the answer begins.
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
        .context("greeting the engine")?;
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header("Host", "docker");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let whole = body.size_hint().exact().is_some();
    let sent = sender.send_request(request.body(body).context("asking the engine")?);
    let response = if whole {
        let response = tokio::time::timeout(LIMIT, sent).await;
        response.context("the engine does not answer")?
    } else {
        // As long as the upload takes.
        sent.await
    };
    let response = response.context("asking the engine")?;
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switched || response.status().is_success() {
        return Ok(response);
    }
    Err(error(response).await)
}

async fn connect(root: &Root) -> Result<UnixStream> {
    let stream = UnixStream::connect(root.path(ENGINE_SOCKET)).await;
    stream.map_err(|e| {
        refuse(format_args!(
            "the container engine does not answer at {ENGINE_SOCKET}: {e}"
        ))
    })
}

/// Fails unless the engine sees the mounts that we make: a unit with a mount
/// namespace of its own (PrivateTmp= and the like) would pin in vain.
///
/// # Errors
/// It does not, or that cannot be seen.
pub async fn same_mounts(root: &Root) -> Result<()> {
    let context = "looking at the engine's mount namespace";
    let peer = connect(root).await?.peer_cred().context(context)?;
    let peer = peer.pid().context(context)?;
    let engine = std::fs::read_link(format!("/proc/{peer}/ns/mnt")).context(context)?;
    let ours = std::fs::read_link("/proc/self/ns/mnt").context(context)?;
    if engine != ours {
        return Err(refuse(
            "mounts are refused: edge-docker runs in a mount namespace of its own; \
             drop PrivateTmp=, ProtectSystem= and the like from its unit",
        ));
    }
    Ok(())
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
