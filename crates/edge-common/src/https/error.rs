//! Errors of a request.

use std::fmt;
use std::io;

use super::Request;
use crate::connect::{ConnectError, ConnectErrorKind, not_accepted};

/// Cause of a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Name look-up, TCP or proxy failed, or the response was not complete in time. Another
    /// attempt may succeed.
    Network,
    /// The TLS handshake failed, usually because one side does not trust the other.
    Tls,
    /// The response breaks the rules of HTTP, or a limit.
    Response,
    /// The request cannot be sent as it is, or a file that it needs cannot be used.
    Request,
}

/// Error of [`super::Client::send`]. It quotes no header and no body, which may be secret.
#[derive(Debug)]
pub struct Error {
    /// Cause.
    pub kind: ErrorKind,
    message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl Error {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message }
    }

    /// Creates the error of a response that breaks a rule.
    pub(super) fn response(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Response, message)
    }

    /// Converts the error of a read or write on the connection.
    pub(super) fn of_io(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::WouldBlock {
            return Self::new(ErrorKind::Network, "the server does not answer in time");
        }
        let alert = |error| Some(not_accepted(&error)).filter(|e| e.kind == ConnectErrorKind::Tls);
        match error.downcast::<openssl::ssl::Error>().map(alert) {
            Ok(Some(alert)) => alert.into(),
            Ok(None) => Self::closed(),
            Err(error) => Self::new(ErrorKind::Network, format!("connection lost: {error}")),
        }
    }

    /// Creates the error of a connection that ended too early.
    pub(super) fn closed() -> Self {
        let message = "the server closed the connection before the end of its response";
        Self::new(ErrorKind::Network, message)
    }

    /// Prepends the method and the host. The target may contain a signature.
    pub(super) fn of(mut self, request: &Request) -> Self {
        let (method, host) = (request.method.as_str(), request.host);
        self.message = format!("{method} https://{host}: {}", self.message);
        self
    }
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        let kind = match error.kind {
            ConnectErrorKind::Network => ErrorKind::Network,
            ConnectErrorKind::Tls | ConnectErrorKind::Rejected => ErrorKind::Tls,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<ConnectError>() {
            Ok(error) => error.into(),
            Err(error) => Self::new(ErrorKind::Request, format!("{error:#}")),
        }
    }
}
