//! Upload of a blob whose digest is known only at its end: the bytes are sent while they
//! are produced, and the digest commits them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, LOCATION};
use reqwest::{Body, Method, Url};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::client::Registry;
use super::http::{Http, Request};
use super::token::Access;
use crate::error::Error;
use crate::limits::MAX_MANIFEST_BYTES;
use crate::reference::Digest;

/// Number of pieces that wait for the network. More would only use memory.
const WAITING_PIECES: usize = 4;
/// Time in which the registry must take a piece, or answer after the last one.
const PIECE_LIMIT: Duration = Duration::from_secs(120);
/// Time limit of a whole upload; [`PIECE_LIMIT`] ends one that stands still.
const UPLOAD_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
/// Name of the upload in errors, while its digest is unknown.
const NAME: &str = "the upload of a layer";

/// Upload in progress. Dropping it ends the request; the registry removes what it has.
pub struct BlobUpload {
    http: Arc<Http>,
    pieces: Sender<Bytes>,
    sending: AbortOnDrop,
}

struct AbortOnDrop(JoinHandle<Result<HeaderMap, Error>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Registry {
    /// Returns the size of a blob in bytes; `None` if the repository does not have it.
    ///
    /// # Errors
    /// The registry refuses or does not answer.
    pub async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let path = self.path(&format!("blobs/{digest}"));
        let request = Request {
            method: Method::HEAD,
            any_host: true,
            ..Request::get(path, digest.as_str(), 0)
        };
        let response = match self.http.respond(&request).await {
            Err(Error::NotFound(_)) => return Ok(None),
            response => response?,
        };
        let length = response.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|l| l.to_str().ok()?.parse().ok());
        let why = || Error::Unverifiable(format!("{digest}: the registry states no size"));
        length.map(Some).ok_or_else(why)
    }

    /// Starts the upload of a blob whose digest is not known yet.
    ///
    /// # Errors
    /// The registry refuses or does not answer.
    pub async fn begin_blob(&self) -> Result<BlobUpload, Error> {
        let request = Request {
            method: Method::POST,
            body: Some(("application/octet-stream", b"")),
            access: Access::Push,
            ..Request::get(self.path("blobs/uploads/"), NAME, MAX_MANIFEST_BYTES)
        };
        let headers = self.http.send(&request).await?.headers;
        let url = location(&self.http, &headers)?;
        let (pieces, receiver) = channel(WAITING_PIECES);
        let http = Arc::clone(&self.http);
        let sending = tokio::spawn(async move {
            let body = Body::wrap_stream(stream::unfold(receiver, next_piece));
            let response = http.patch(url, NAME, body, UPLOAD_LIMIT).await?;
            Ok(response.headers().clone())
        });
        Ok(BlobUpload {
            http: Arc::clone(&self.http),
            pieces,
            sending: AbortOnDrop(sending),
        })
    }
}

impl BlobUpload {
    /// Sends the next bytes of the blob.
    ///
    /// # Errors
    /// The registry refuses the upload or takes no bytes for two minutes.
    pub async fn send(&mut self, piece: Bytes) -> Result<(), Error> {
        match timeout(PIECE_LIMIT, self.pieces.send(piece)).await {
            Ok(Ok(())) => Ok(()),
            // The request has ended before the body: its response is the reason.
            Ok(Err(_)) => match (&mut self.sending.0).await {
                Ok(Err(error)) => Err(error),
                _ => Err(Error::Unverifiable(format!("{NAME}: ended early"))),
            },
            Err(_) => Err(stalled()),
        }
    }

    /// Ends the blob, whose bytes have this digest. The registry compares.
    ///
    /// # Errors
    /// The registry refuses, does not answer, or received other bytes.
    pub async fn finish(self, digest: &Digest) -> Result<(), Error> {
        let Self {
            http,
            pieces,
            mut sending,
        } = self;
        drop(pieces);
        let sent = timeout(PIECE_LIMIT, &mut sending.0).await;
        let sent = sent.map_err(|_| stalled())?;
        let headers = sent.map_err(|_| Error::Unverifiable(format!("{NAME}: ended early")))??;
        let mut url = location(&http, &headers)?;
        url.query_pairs_mut().append_pair("digest", digest.as_str());
        let request = Request {
            method: Method::PUT,
            body: Some(("application/octet-stream", b"")),
            access: Access::Push,
            ..Request::get(url.into(), digest.as_str(), MAX_MANIFEST_BYTES)
        };
        http.send(&request).await.map(|_| ())
    }
}

/// Returns the address to which an upload continues. It must be on the registry's own
/// host, since it receives the credentials.
fn location(http: &Http, headers: &HeaderMap) -> Result<Url, Error> {
    let location = headers.get(LOCATION).and_then(|l| l.to_str().ok());
    let absent = || Error::Unverifiable(format!("{NAME}: the registry names no address"));
    http.url(location.ok_or_else(absent)?, NAME)
}

async fn next_piece(
    mut pieces: Receiver<Bytes>,
) -> Option<(Result<Bytes, std::convert::Infallible>, Receiver<Bytes>)> {
    let piece = pieces.recv().await?;
    Some((Ok(piece), pieces))
}

fn stalled() -> Error {
    let seconds = PIECE_LIMIT.as_secs();
    Error::Unverifiable(format!("{NAME}: the registry took nothing for {seconds} s"))
}
