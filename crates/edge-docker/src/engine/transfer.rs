//! Requests that are too large for memory, and so are sent in chunks.

use std::io::Write;
use std::pin::Pin;
use std::task::{self, Poll};

use anyhow::{Result, bail};
use bytes::Bytes;
use edge_common::Root;
use hyper::Method;
use hyper::body::{Body, Frame};
use serde_json::Value;
use tokio::sync::mpsc;

use super::client::{read_lines, send};

/// Sends what `produce` writes as the body of a POST request while it is written, and
/// calls `line` for each line of the response. If both fail, the error of `produce` is
/// returned, unless the engine closed the connection first.
pub(crate) async fn upload(
    root: &Root,
    path: &str,
    produce: impl FnOnce(&mut dyn Write) -> Result<()> + Send + 'static,
    line: impl FnMut(&Value),
) -> Result<()> {
    // Only a few chunks, so that a slow engine slows the producer down instead of filling
    // the memory.
    let (sender, receiver) = mpsc::channel(4);
    let producer = std::thread::spawn(move || {
        let mut writer = Chunks(sender);
        let result = produce(&mut writer);
        if result.is_err() {
            // Aborts the upload, because the engine must not accept a part of the stream
            // as the whole.
            let broken = std::io::Error::other("interrupted");
            let _ = writer.0.blocking_send(Err(broken));
        }
        result
    });
    let content_type = [("Content-Type", "application/x-tar")];
    // For a body of this type the engine shows nothing to its plugin.
    let body = (ChunkBody(receiver), &b""[..]);
    let response = match send(root, Method::POST, path, body, &content_type).await {
        Ok(response) => read_lines(response, line).await,
        Err(error) => Err(error),
    };
    match (producer.join(), response) {
        // The engine closed the connection first, and its response contains the reason.
        (Ok(Err(error)), Err(response)) if is_hang_up(&error) => Err(response),
        (Ok(Err(error)), _) => Err(error),
        (Ok(Ok(())), response) => response,
        (Err(_), _) => bail!("the worker that writes the upload panicked"),
    }
}

/// Error of [`Chunks`] after the engine has stopped reading the request.
#[derive(Debug)]
struct HungUp;

impl std::fmt::Display for HungUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the engine hung up")
    }
}

impl std::error::Error for HungUp {}

/// Returns whether [`HungUp`] is a cause of `error`, even if other errors wrap it.
fn is_hang_up(error: &anyhow::Error) -> bool {
    let mut causes = error
        .chain()
        .filter_map(|c| c.downcast_ref::<std::io::Error>());
    causes.any(|cause| cause.get_ref().is_some_and(|inner| inner.is::<HungUp>()))
}

/// Writer that sends each write as a chunk of a request body.
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

/// Body of a request whose chunks arrive on a channel from [`Chunks`].
struct ChunkBody(mpsc::Receiver<std::io::Result<Bytes>>);

impl Body for ChunkBody {
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

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_hang_up_is_found_behind_contexts_and_archives() {
        let (sender, receiver) = mpsc::channel(1);
        drop(receiver);
        let mut builder = tar::Builder::new(Chunks(sender));
        let mut header = tar::Header::new_gnu();
        let sent = builder.append_data(&mut header, "name", &b""[..]);
        let error = sent.context("sending the archive").unwrap_err();
        assert!(is_hang_up(&error), "{error:?}");
        assert!(!is_hang_up(&anyhow::anyhow!("the engine hung up")));
    }
}
