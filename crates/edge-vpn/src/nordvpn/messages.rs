//! Meanings of the messages of NordVPN's client. The client has neither exit codes nor
//! JSON for them, and its texts change with its versions: a meaning is recognised by a
//! part that stays.

use crate::cause::Cause;

/// Meaning of a message, as far as edge-vpn acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A login is needed first.
    LoggedOut,
    /// Meshnet has to be switched on first.
    MeshnetOff,
    /// Nothing is to be done: the requested state is there.
    Already,
    /// The command failed for this cause.
    Failure(Cause),
    /// No known message.
    Unknown,
}

use Meaning::{Already, Failure, LoggedOut, MeshnetOff};

/// Parts of messages, in lower case. The first that matches decides, so narrower parts
/// come first.
const KNOWN: &[(&str, Meaning)] = &[
    // Messages of the engine and of edge-docker, before the client is reached.
    ("no such container", Failure(Cause::Daemon)),
    ("is not running", Failure(Cause::Daemon)),
    ("is restarting", Failure(Cause::Daemon)),
    ("is paused", Failure(Cause::Daemon)),
    ("docker.sock", Failure(Cause::Daemon)),
    ("docker daemon", Failure(Cause::Daemon)),
    ("is refused", Failure(Cause::Refused)),
    // Messages of the client.
    ("reach system daemon", Failure(Cause::Daemon)),
    ("nordvpnd.sock", Failure(Cause::Daemon)),
    ("daemon is not running", Failure(Cause::Daemon)),
    ("connection refused", Failure(Cause::Daemon)),
    ("already logged in", Already),
    ("not logged in", LoggedOut),
    ("log in again", LoggedOut),
    ("please log in", LoggedOut),
    ("out and back in", LoggedOut),
    ("token is not valid", Failure(Cause::Token)),
    ("token has expired", Failure(Cause::Token)),
    ("expired or been revoked", Failure(Cause::Token)),
    ("token parameter value is missing", Failure(Cause::Token)),
    ("couldn't log you in", Failure(Cause::Token)),
    ("password is not correct", Failure(Cause::Token)),
    ("maximum device count", Failure(Cause::AccountFull)),
    ("device limit", Failure(Cause::AccountFull)),
    ("limit for nickname changes", Failure(Cause::RateLimit)),
    ("too many requests", Failure(Cause::RateLimit)),
    ("too many attempts", Failure(Cause::RateLimit)),
    ("nf_tables", Failure(Cause::Kernel)),
    ("nftables", Failure(Cause::Kernel)),
    ("netlink", Failure(Cause::Kernel)),
    ("/dev/net/tun", Failure(Cause::Kernel)),
    ("kernel module", Failure(Cause::Kernel)),
    (
        "does not support the meshnet feature",
        Failure(Cause::SwitchedOff),
    ),
    ("command 'meshnet'", Failure(Cause::SwitchedOff)),
    ("meshnet is unavailable", Failure(Cause::SwitchedOff)),
    ("meshnet is not available", Failure(Cause::SwitchedOff)),
    ("meshnet' doesn't exist", Failure(Cause::SwitchedOff)),
    ("meshnet is already enabled", Already),
    ("meshnet is not enabled", MeshnetOff),
    ("is already set for this device", Already),
    ("is already disabled", Already),
    ("is already allowed", Already),
    ("is already denied", Already),
    ("you're offline", Failure(Cause::Network)),
    ("internet connection", Failure(Cause::Network)),
    ("trouble reaching our servers", Failure(Cause::Network)),
    ("trouble with our servers", Failure(Cause::Network)),
    ("no such host", Failure(Cause::Network)),
    ("network is unreachable", Failure(Cause::Network)),
    ("timed out", Failure(Cause::Network)),
    ("deadline exceeded", Failure(Cause::Network)),
];

/// Returns the meaning of the client's output.
pub(super) fn meaning(output: &str) -> Meaning {
    // Typographic apostrophes come and go between versions.
    let output = output.replace('\u{2019}', "'").to_lowercase();
    let known = KNOWN.iter().find(|(part, _)| output.contains(part));
    known.map_or(Meaning::Unknown, |(_, meaning)| *meaning)
}

/// Returns a description of a cause, which stands before the client's own message.
pub(super) fn describe(cause: Cause) -> &'static str {
    match cause {
        Cause::Network => "no network, or NordVPN does not answer",
        Cause::Token => "the token was rejected or has expired: create another",
        Cause::AccountFull => "the account has its ten devices: remove one, or use WireGuard",
        Cause::RateLimit => "the vendor's limit of changes is reached",
        Cause::Kernel => "the kernel lacks nf_tables, TUN or WireGuard",
        Cause::SwitchedOff => "the vendor has switched Meshnet off, or this client has none",
        Cause::Daemon => "the client's container or its daemon is down",
        Cause::Refused => "edge-docker refuses the container",
        Cause::Config => "the configuration is invalid",
        Cause::Ssh => "SSH does not answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_has_its_meaning() {
        for (output, expected) in [
            ("You're not logged in.", LoggedOut),
            ("You’re not logged in.", LoggedOut),
            ("For security purposes, please log in again.", LoggedOut),
            ("You're already logged in.", Already),
            ("Meshnet is already enabled.", Already),
            (
                "Meshnet is not enabled. Use the \"nordvpn set meshnet on\" command to enable it.",
                MeshnetOff,
            ),
            (
                "We couldn't log you in - the access token is not valid.",
                Failure(Cause::Token),
            ),
            (
                "Your current access token has expired or been revoked.",
                Failure(Cause::Token),
            ),
            ("Maximum device count reached.", Failure(Cause::AccountFull)),
            (
                "You've reached the weekly limit for nickname changes.",
                Failure(Cause::RateLimit),
            ),
            ("We couldn't reach System Daemon.", Failure(Cause::Daemon)),
            (
                "Couldn't find /run/nordvpn/nordvpnd.sock.",
                Failure(Cause::Daemon),
            ),
            ("Error: No such container: nordvpn", Failure(Cause::Daemon)),
            (
                "Command 'meshnet' doesn't exist.",
                Failure(Cause::SwitchedOff),
            ),
            (
                "You’re offline.\nWe can’t run this action without an internet connection.",
                Failure(Cause::Network),
            ),
            (
                "It's not you, it's us. We're having trouble reaching our servers.",
                Failure(Cause::Network),
            ),
            (
                "creating nf_tables chain: protocol not supported",
                Failure(Cause::Kernel),
            ),
            (
                "exec nordvpn is refused: edge-docker did not create it",
                Failure(Cause::Refused),
            ),
            ("Good morning.", Meaning::Unknown),
            ("", Meaning::Unknown),
        ] {
            assert_eq!(meaning(output), expected, "{output}");
        }
    }
}
