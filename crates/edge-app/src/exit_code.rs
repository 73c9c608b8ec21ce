//! Exit codes of edge-app, and the code that belongs to an error of the registry.
//! `--help` documents them, scripts rely on them.

use edge_common::exit::Failure;

/// `edge-app.yaml` or `app.yaml` is absent or malformed.
pub(crate) const CONFIGURATION: u8 = 3;
/// The registry or AWS rejected the request or does not answer.
pub(crate) const REGISTRY: u8 = 4;
/// ssh does not reach the device.
pub(crate) const UNREACHABLE: u8 = 5;
/// The device refused.
pub(crate) const REFUSED: u8 = 6;
/// A signature could not be made, or does not verify.
pub(crate) const SIGNATURE: u8 = 7;
/// The new version failed and the old one runs again.
pub(crate) const ROLLED_BACK: u8 = 8;
/// The new version failed and nothing runs in its place.
pub(crate) const NOT_RUNNING: u8 = 9;
/// Some of several devices failed.
pub(crate) const PARTIAL: u8 = 10;
/// Ctrl-C: 128 and the number of SIGINT, as a shell reports it.
pub(crate) const INTERRUPTED: u8 = 130;

/// Adds the exit code, and the next step where the registry wants credentials.
pub(crate) fn registry_error(error: edge_signature::Error) -> anyhow::Error {
    use edge_signature::Error as E;
    // "Unsigned" is a statement about the image and must not look like a registry
    // that is down: a script may retry the one and must not retry the other.
    let code = match error {
        E::Unsigned(_) | E::Untrusted(_) => SIGNATURE,
        _ => REGISTRY,
    };
    match error {
        E::Unauthorized(_) => Failure::error(
            code,
            format_args!("{error}: check credentials in edge-app.yaml, or run docker login"),
        ),
        _ => Failure::error(code, error),
    }
}
