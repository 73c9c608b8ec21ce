//! Errors of the container engine: not reachable, error status, or failure within a
//! response.

use std::fmt;
use std::io;

use edge_common::contract::path::ENGINE_SOCKET;
use edge_common::log::printable;

/// Error of the engine. Callers decide by the variant and the status. The message differs
/// between versions of docker and never decides what is permitted.
#[derive(Debug)]
pub(crate) enum EngineError {
    /// No connection to the engine's socket is possible.
    Unreachable(io::Error),
    /// The engine responded with an error status.
    Response {
        /// HTTP status, for example 404 for an unknown container.
        status: u16,
        /// Text from the field `message` of the response, or `no message`.
        message: String,
    },
    /// The response had a successful status but reported an error in its body: of a pull,
    /// a load or a build, or of a container that could not be waited for.
    Reported(String),
}

impl EngineError {
    /// Returns whether the engine responded with status 404: no such container or image.
    pub(crate) fn is_not_found(error: &anyhow::Error) -> bool {
        Self::has_status(error, 404)
    }

    /// Returns whether the engine responded with status 409: the object is in use.
    pub(crate) fn is_conflict(error: &anyhow::Error) -> bool {
        Self::has_status(error, 409)
    }

    fn has_status(error: &anyhow::Error, wanted: u16) -> bool {
        matches!(error.downcast_ref(), Some(Self::Response { status, .. }) if *status == wanted)
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
