//! Exit codes of edge-app, and their assignment to errors of the registry. `--help`
//! documents the codes, and scripts rely on them.

use edge_common::exit::Failure;

/// Exit code for an absent or malformed `edge-app.yaml` or `app.yaml`.
pub(crate) const CONFIGURATION: u8 = 3;
/// Exit code if the registry or AWS rejects a request or does not answer.
pub(crate) const REGISTRY: u8 = 4;
/// Exit code if ssh cannot connect to the device.
pub(crate) const UNREACHABLE: u8 = 5;
/// Exit code if the policy of devices refuses the request: edge-docker on a device, or
/// the same rules on the laptop.
pub(crate) const REFUSED: u8 = 6;
/// Exit code if a signature cannot be created or does not verify.
pub(crate) const SIGNATURE: u8 = 7;
/// Exit code if the new version failed and the device rolled back to the old one.
pub(crate) const ROLLED_BACK: u8 = 8;
/// Exit code if the new version failed and no other version runs in its place.
pub(crate) const NOT_RUNNING: u8 = 9;
/// Exit code if a deployment fails on some of several devices, or on all with different
/// exit codes, or if `status` cannot query some of them.
pub(crate) const PARTIAL: u8 = 10;
/// Exit code after Ctrl-C: 128 plus the number of SIGINT, the convention of shells.
pub(crate) const INTERRUPTED: u8 = 130;

/// Converts an error of the registry: adds the exit code and, after rejected credentials,
/// the next step.
pub(crate) fn registry_error(error: edge_signature::Error) -> anyhow::Error {
    use edge_signature::Error as E;
    // An unsigned image has a different exit code than an unreachable registry, because
    // scripts may retry only after the latter.
    let code = match error {
        E::Unsigned(_) | E::Untrusted(_) | E::NotSelected(_) | E::Ambiguous(_) => SIGNATURE,
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
