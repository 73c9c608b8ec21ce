//! Errors of the container engine, by their kind.

use std::fmt;
use std::io;

use edge_common::contract::path::ENGINE_SOCKET;
use edge_common::log::printable;

/// Error of the engine. Callers branch on the kind and the status, never on the text,
/// which differs between versions of docker.
#[derive(Debug)]
pub(crate) enum EngineError {
    /// Nothing answers at the engine's socket.
    Unreachable(io::Error),
    /// Response with an error status.
    Response {
        /// HTTP status.
        status: u16,
        /// Message of the engine.
        message: String,
    },
    /// Error that a stream reported after its successful status: a pull, a build, or a
    /// container that could not be waited for.
    Reported(String),
}

impl EngineError {
    /// Tells whether `error` is the engine's 404: no such container or image.
    pub(crate) fn is_not_found(error: &anyhow::Error) -> bool {
        matches!(
            error.downcast_ref(),
            Some(Self::Response { status: 404, .. })
        )
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => {
                write!(
                    f,
                    "the container engine does not answer at {ENGINE_SOCKET}: {error}"
                )
            }
            Self::Response { status, message } => {
                write!(f, "the engine reports: {} ({status})", printable(message))
            }
            Self::Reported(message) => write!(f, "the engine reports: {}", printable(message)),
        }
    }
}

impl std::error::Error for EngineError {}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn only_the_status_means_absent() {
        let response = |status, message: &str| {
            let message = message.into();
            let error = anyhow::Error::new(EngineError::Response { status, message });
            Err::<(), _>(error).context("sending").unwrap_err()
        };
        assert!(EngineError::is_not_found(&response(404, "")));
        assert!(!EngineError::is_not_found(&response(
            500,
            "not found (404)"
        )));
        let reported = EngineError::Reported("(404)".into());
        assert!(!EngineError::is_not_found(&anyhow::Error::new(reported)));
    }
}
