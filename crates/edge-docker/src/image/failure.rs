//! Errors of a signature's verification, with their exit codes.

use edge_common::contract::exit_code::UNVERIFIABLE;
use edge_common::exit::Failure;
use edge_docker_policy::refusal::refuse;
use edge_signature::Error;

/// "Unsigned" and "cannot tell" have different exit codes.
pub fn failure(error: Error) -> anyhow::Error {
    match error {
        Error::CannotTell(_) => Failure::error(UNVERIFIABLE, error),
        Error::Unauthorized(_) => {
            Failure::error(UNVERIFIABLE, format_args!("{error}: use edge-docker login"))
        }
        Error::Unsigned(_) => refuse(format_args!("{error}: refused; sign it with edge-app push")),
        _ => refuse(error),
    }
}

/// What is said where a proof is no good and a fresh pull does not mend it.
pub fn unmended(damage: Option<anyhow::Error>, error: anyhow::Error) -> anyhow::Error {
    match damage {
        None => error,
        Some(damage) => error.context(format!("{damage:#}; pulling it again")),
    }
}
