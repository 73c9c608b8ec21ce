//! Errors about images, with their exit codes.

use edge_common::contract::exit_code::{REFUSED, UNVERIFIABLE};
use edge_common::exit::Failure;
use edge_docker_policy::refusal::refuse;
use edge_signature::Error;

/// Returns an error of a verification. An image that is not signed is refused; one whose
/// signature cannot be verified now has another exit code, since a later attempt helps.
pub(crate) fn of(error: Error) -> anyhow::Error {
    match error {
        Error::CannotTell(_) => Failure::error(UNVERIFIABLE, error),
        Error::Unauthorized(_) => {
            Failure::error(UNVERIFIABLE, format_args!("{error}: use edge-docker login"))
        }
        Error::Unsigned(_) => refuse(format_args!("{error}: refused; sign it with edge-app push")),
        _ => refuse(error),
    }
}

/// Returns the error of a pull that had to replace a damaged cached signature.
pub(super) fn after_damage(damage: Option<anyhow::Error>, error: anyhow::Error) -> anyhow::Error {
    match damage {
        None => error,
        Some(damage) => error.context(format!("{damage:#}; pulling it again")),
    }
}

/// Returns the error for a sandbox image that the engine does not have.
pub(super) fn no_such_image(reference: &str) -> anyhow::Error {
    Failure::error(
        REFUSED,
        format_args!("{reference}: no such image; load or build it first"),
    )
}
