//! Bodies and failures of responses.

use reqwest::Response;
use serde::Deserialize;

use crate::error::{Error, causes};

/// Size of an error's body that is read for its message.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// Length of the registry's own words in an error, in characters.
const MAX_REASON_CHARS: usize = 200;

/// Reads a body of at most `limit` bytes; `name` is for messages.
pub(super) async fn read_body(
    name: &str,
    mut response: Response,
    limit: usize,
) -> Result<Vec<u8>, Error> {
    let too_large =
        || Error::Malformed(format!("{name}: the response is larger than {limit} bytes"));
    // The announced length spares the download; a server can announce none, or lie.
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

/// Returns the error for a request without a complete response.
pub(super) fn unreachable(name: &str, error: reqwest::Error) -> Error {
    // The URL of a redirected blob holds a signature that opens the blob to whoever reads the
    // log.
    let error = error.without_url();
    Error::Unverifiable(format!("{name}: {}", causes(&error)))
}

/// Returns the error for a response with another status than 2xx. Only 404 says that there is no
/// such thing; every other one leaves that open.
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

/// Returns the first reason in the body of an error, with a colon before it.
fn reason(body: &[u8]) -> String {
    let document = serde_json::from_slice::<Errors>(body).ok();
    let first = document.and_then(|d| d.errors.into_iter().next());
    first.map_or(String::new(), |r| {
        let text: String = r.message.chars().take(MAX_REASON_CHARS).collect();
        format!(": {text}")
    })
}
