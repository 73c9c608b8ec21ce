//! Failures of an attempt, by what is to be done about them.

use std::fmt;

use edge_common::exit::Failure;
use edge_common::mqtt::{ConnectError, ConnectErrorKind};

use crate::exit_code::{NETWORK, REJECTED, TLS};

/// Failure of an attempt.
#[derive(Debug)]
pub(crate) enum AttemptError {
    /// The cloud rejected a request for good.
    Rejected(String),
    /// The hook of the cloud does not admit this device, or not without a proof of
    /// possession.
    Denied(String),
    /// The ownership token has expired: a new certificate is needed.
    ExpiredToken,
    /// One side does not trust the other.
    Tls(String),
    /// No answer, an unusable answer, or throttling: worth another attempt on the same
    /// connection.
    Transient(String),
    /// There is no connection any more: worth another attempt on a new one.
    Disconnected(String),
    /// The device itself failed: disk, OpenSSL.
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
    /// Whether another attempt would end in the same way. A device that hammers the cloud
    /// with rejected requests uses up the quota of the fleet.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(
            self,
            Self::ExpiredToken | Self::Transient(_) | Self::Disconnected(_)
        )
    }

    /// Converts to an error with the exit code.
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
