//! Requests.

use std::ops::RangeInclusive;

use super::{Error, ErrorKind};
use crate::identity::valid_endpoint;

/// Headers that the client writes itself.
const OWN: [&str; 8] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "range",
    "transfer-encoding",
    "user-agent",
];

/// HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Sends a body.
    Post,
}

impl Method {
    /// Returns the name of the method.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// Request, and limits of its response.
pub struct Request<'a> {
    /// Method.
    pub method: Method,
    /// `HOST` or `HOST:PORT`, sent as the header `host` in this form.
    pub host: &'a str,
    /// Path and query, beginning with `/`.
    pub target: &'a str,
    /// Names and values of more headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// Body.
    pub body: &'a [u8],
    /// Requested bytes of the object, first and last. A server that ignores the range
    /// answers with the whole object and status 200.
    pub range: Option<RangeInclusive<u64>>,
    /// Size limit of the response's body, in bytes.
    pub limit: usize,
}

impl<'a> Request<'a> {
    /// Creates a `GET` request whose response has at most `limit` bytes.
    pub fn get(host: &'a str, target: &'a str, limit: usize) -> Self {
        Self {
            method: Method::Get,
            host,
            target,
            headers: &[],
            body: &[],
            range: None,
            limit,
        }
    }

    /// Splits the host into name and port.
    pub(super) fn peer(&self) -> Result<(&'a str, Option<u16>), Error> {
        let (host, port) = match self.host.split_once(':') {
            None => (self.host, Some(None)),
            Some((host, port)) => {
                let is_number = port.bytes().all(|b| b.is_ascii_digit());
                let port = port.parse().ok().filter(|port| is_number && *port > 0);
                (host, port.map(Some))
            }
        };
        match port.filter(|_| valid_endpoint(host)) {
            Some(port) => Ok((host, port)),
            None => Err(unusable("the host is not HOST or HOST:PORT")),
        }
    }

    /// Returns the bytes up to the body.
    pub(super) fn head(&self) -> Result<Vec<u8>, Error> {
        let is_target = self.target.starts_with('/') && is_graphic(self.target);
        if !is_target {
            return Err(unusable("the target is not /PATH"));
        }
        let (method, host) = (self.method.as_str(), self.host);
        let mut lines = vec![
            format!("{method} {} HTTP/1.1", self.target),
            format!("host: {host}"),
            concat!("user-agent: edge-ai/", env!("CARGO_PKG_VERSION")).into(),
            "accept-encoding: identity".into(),
            "connection: close".into(),
        ];
        if self.method == Method::Post || !self.body.is_empty() {
            lines.push(format!("content-length: {}", self.body.len()));
        }
        if let Some(range) = &self.range {
            if range.is_empty() {
                return Err(unusable("the range is empty"));
            }
            lines.push(format!("range: bytes={}-{}", range.start(), range.end()));
        }
        for (name, value) in self.headers {
            let is_own = OWN.iter().any(|own| own.eq_ignore_ascii_case(name));
            let is_value = value.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
            if is_own || !is_token(name) || !is_value {
                // The value may be secret.
                return Err(unusable("a header has another name or other characters"));
            }
            lines.push(format!("{name}: {value}"));
        }
        Ok(format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes())
    }
}

/// Returns whether a text is a name of a header.
pub(super) fn is_token(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(allowed)
}

fn is_graphic(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic())
}

fn unusable(message: &str) -> Error {
    Error::new(ErrorKind::Request, message)
}
