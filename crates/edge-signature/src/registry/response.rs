//! Reading of response bodies, and errors of failed requests.

use reqwest::Response;
use serde::Deserialize;

use crate::error::{Error, causes};

/// Size limit of the body of an error response, in bytes, which may contain a reason.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// Length limit of the registry's reason in an error message, in characters.
const MAX_REASON_CHARS: usize = 200;

/// Reads a body of at most `limit` bytes; `name` is the requested object in error
/// messages.
pub(super) async fn read_body(
    name: &str,
    mut response: Response,
    limit: usize,
) -> Result<Vec<u8>, Error> {
    let too_large =
        || Error::Malformed(format!("{name}: the response is larger than {limit} bytes"));
    // The announced length saves the download. It can be absent or wrong, so the received
    // bytes are counted, too.
    if response.content_length().is_some_and(|l| l > limit as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| unreachable(name, e))? {
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Returns the error for a request that received no complete response.
pub(super) fn unreachable(name: &str, error: reqwest::Error) -> Error {
    // The URL of a redirected blob contains a signature with which anyone who reads the
    // log could download the blob.
    let error = error.without_url();
    Error::Unverifiable(format!("{name}: {}", causes(&error)))
}

/// Returns the error for a response with a status other than 2xx. Only 404 means that the
/// requested object does not exist; every other status leaves that open.
pub(super) async fn status_error(name: &str, response: Response) -> Error {
    let status = response.status();
    let body = read_body(name, response, MAX_ERROR_BYTES).await;
    match status.as_u16() {
        404 => Error::NotFound(name.into()),
        401 | 403 => Error::Unauthorized(name.into()),
        _ => {
            let reason = reason(&body.unwrap_or_default());
            Error::Unverifiable(format!("{name}: {status}{reason}"))
        }
    }
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    message: String,
}

/// Returns the first reason in the body of an error response as `: REASON`, or an empty
/// text.
fn reason(body: &[u8]) -> String {
    let document = serde_json::from_slice::<Errors>(body).ok();
    let first = document.and_then(|d| d.errors.into_iter().next());
    first.map_or(String::new(), |r| {
        let text: String = r.message.chars().take(MAX_REASON_CHARS).collect();
        format!(": {text}")
    })
}
