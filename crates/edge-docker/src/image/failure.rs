//! Errors about images, with their exit codes.

use edge_common::contract::exit_code::{REFUSED, UNVERIFIABLE};
use edge_common::exit::Failure;
use edge_docker_policy::refusal::refuse;
use edge_signature::Error;

/// Returns an error of a verification with its exit code. A refusal is final; a registry
/// that does not answer is not, so that a unit or edge-app can try again after code 124.
pub(crate) fn of(error: Error) -> anyhow::Error {
    match error {
        Error::Unverifiable(_) => Failure::error(UNVERIFIABLE, error),
        // Tokens of ECR expire after 12 hours: the image itself may well be signed.
        Error::Unauthorized(_) => {
            Failure::error(UNVERIFIABLE, format_args!("{error}: use edge-docker login"))
        }
        Error::Unsigned(_) => refuse(format_args!("{error}; sign it with edge-app push")),
        _ => refuse(error),
    }
}

/// Adds the damage of a cached signature to the error of the pull that was to replace it:
/// without it, an image that ran before would only seem to need the network.
pub(super) fn after_damage(damage: Option<anyhow::Error>, error: anyhow::Error) -> anyhow::Error {
    match damage {
        None => error,
        Some(damage) => error.context(format!("{damage:#}; pulling the image again")),
    }
}

/// Returns the error for a sandbox image that the engine does not have. It is never
/// pulled: docker would look for `sandbox/APP` at the public hub.
pub(super) fn no_such_image(reference: &str) -> anyhow::Error {
    Failure::error(
        REFUSED,
        format_args!("{reference}: no such image; load or build it first"),
    )
}
