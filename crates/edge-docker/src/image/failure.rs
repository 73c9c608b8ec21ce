//! Conversion of errors about container images into errors with an exit code.

use edge_common::contract::exit_code::{REFUSED, UNVERIFIABLE};
use edge_common::exit::Failure;
use edge_docker_policy::refusal::refuse;
use edge_signature::Error;

/// Converts an error of the signature verification. A refusal is final. If the registry
/// does not answer or rejects the credentials, the exit code is 124, so that a unit or
/// edge-app can try again.
pub(crate) fn of(error: Error) -> anyhow::Error {
    match error {
        Error::Unverifiable(_) => Failure::error(UNVERIFIABLE, error),
        // Tokens of ECR expire after 12 hours, so the image may well be signed.
        Error::Unauthorized(_) => {
            Failure::error(UNVERIFIABLE, format_args!("{error}: use edge-docker login"))
        }
        Error::Unsigned(_) => refuse(format_args!("{error}; sign it with edge-app push")),
        _ => refuse(error),
    }
}

/// Adds the damage of a cached signature to the error of the pull that was to replace it.
/// Without the damage, the error would blame only the network for an image that ran
/// before.
pub(super) fn after_damage(damage: Option<anyhow::Error>, error: anyhow::Error) -> anyhow::Error {
    match damage {
        None => error,
        Some(damage) => error.context(format!("{damage:#}; pulling the image again")),
    }
}

/// Returns the error for a sandbox image that the engine does not have. Sandbox images
/// are never pulled: docker would request `sandbox/APP` from Docker Hub.
pub(super) fn no_such_image(reference: &str) -> anyhow::Error {
    Failure::error(
        REFUSED,
        format_args!("{reference}: no such image; load or build it first"),
    )
}
