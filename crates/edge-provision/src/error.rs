//! Errors of an attempt, classified by the reaction: retry on the same or a new
//! connection, request a new certificate, or end with an exit code.

use std::fmt;

use edge_common::exit::Failure;
use edge_common::mqtt::{ConnectError, ConnectErrorKind};

use crate::exit_code::{NETWORK, REJECTED, TLS};

/// Error of an attempt to obtain an identity.
#[derive(Debug)]
pub(crate) enum AttemptError {
    /// The cloud rejected the connection or a request, and would reject it again soon.
    Rejected(String),
    /// The pre-provisioning hook of the cloud does not admit this device, or only with
    /// a proof of possession.
    Denied(String),
    /// The ownership token of the certificate has expired: a new certificate is needed.
    ExpiredToken,
    /// The TLS handshake failed, because one side does not trust the other.
    Tls(String),
    /// No answer, an unusable answer, or throttling; the next attempt uses the same
    /// connection.
    Transient(String),
    /// The connection failed or was lost; the next attempt opens a new one.
    Disconnected(String),
    /// An operation on the device failed, for example of the disk or of OpenSSL.
    Local(anyhow::Error),
}

impl From<anyhow::Error> for AttemptError {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast_ref::<ConnectError>().map(|e| e.kind) {
            Some(ConnectErrorKind::Rejected) => Self::Rejected(format!("{error:#}")),
            Some(ConnectErrorKind::Tls) => Self::Tls(format!("{error:#}")),
            Some(ConnectErrorKind::Network) => Self::Disconnected(format!("{error:#}")),
            None => Self::Local(error),
        }
    }
}

impl fmt::Display for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(message)
            | Self::Denied(message)
            | Self::Tls(message)
            | Self::Transient(message)
            | Self::Disconnected(message) => f.write_str(message),
            Self::ExpiredToken => f.write_str("the ownership token has expired"),
            Self::Local(error) => write!(f, "{error:#}"),
        }
    }
}

impl AttemptError {
    /// Returns whether another attempt within this run would fail in the same way. Such
    /// an attempt is avoided, because rejected requests use up the quota of the whole
    /// fleet; [`crate::schedule`] says when the next run attempts again.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(
            self,
            Self::ExpiredToken | Self::Transient(_) | Self::Disconnected(_)
        )
    }

    /// Converts to an error with the exit code that `--help` documents.
    pub(crate) fn into_failure(self) -> anyhow::Error {
        match self {
            Self::Rejected(_) | Self::Denied(_) => Failure::error(REJECTED, self),
            Self::Tls(_) => Failure::error(TLS, self),
            Self::ExpiredToken | Self::Transient(_) | Self::Disconnected(_) => {
                Failure::error(NETWORK, self)
            }
            Self::Local(error) => error,
        }
    }
}
