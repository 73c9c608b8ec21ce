//! Exit codes of `edge-app`, and the codes of a registry's errors.

use edge_common::exit::Failure;

/// Exit code: `edge-app.yaml` or `app.yaml` is absent or malformed.
pub(crate) const CONFIGURATION: u8 = 3;
/// Exit code: the registry, or AWS, refused or does not answer.
pub(crate) const REGISTRY: u8 = 4;
/// Exit code: ssh does not reach the device.
pub(crate) const UNREACHABLE: u8 = 5;
/// Exit code: the device refused.
pub(crate) const REFUSED: u8 = 6;
/// Exit code: a signature that cannot be made or does not verify.
pub(crate) const SIGNATURE: u8 = 7;
/// Exit code: the new version does not work; the old one is back.
pub(crate) const SWITCHED_BACK: u8 = 8;
/// Exit code: the new version does not work and nothing is in its place.
pub(crate) const NOT_RUNNING: u8 = 9;
/// Exit code: of several devices some failed.
pub(crate) const PARTIAL: u8 = 10;
/// Exit code: interrupted by Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

/// Gives a registry's error its exit code.
pub(crate) fn registry_error(error: edge_signature::Error) -> anyhow::Error {
    use edge_signature::Error as E;
    let code = match error {
        E::Unsigned(_) | E::Untrusted(_) => SIGNATURE,
        _ => REGISTRY,
    };
    match error {
        E::Unauthorized(_) => Failure::error(
            code,
            format_args!("{error}: check credentials in edge-app.yaml, or docker login"),
        ),
        _ => Failure::error(code, error),
    }
}
