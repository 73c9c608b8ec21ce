//! Interpretation of the messages of NordVPN's client. The client reports results
//! neither by exit codes nor as JSON, and its texts differ between versions, so a
//! message is recognised by a part that has remained the same.

use crate::cause::Cause;

/// Meaning of a message of the client, as far as edge-vpn reacts to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The client is logged out, so a login is needed first.
    LoggedOut,
    /// Meshnet is disabled in the client and has to be enabled first.
    MeshnetOff,
    /// The client is already in the requested state.
    Already,
    /// The client could not ask for a token, because it has no terminal.
    NoTerminal,
    /// The command failed, with the cause that determines edge-vpn's exit code.
    Failure(Cause),
    /// The output contains no message in [`KNOWN`].
    Unknown,
}

use Meaning::{Already, Failure, LoggedOut, MeshnetOff, NoTerminal};

/// Parts of messages in lower case, and their meanings. The first match decides, so
/// more specific parts come first.
const KNOWN: &[(&str, Meaning)] = &[
    // Before the engine's "is not running".
    ("not running in a terminal", NoTerminal),
    // Messages of the container engine and of edge-docker, which the client did not
    // print.
    ("no such container", Failure(Cause::Daemon)),
    ("is not running", Failure(Cause::Daemon)),
    ("is restarting", Failure(Cause::Daemon)),
    ("is paused", Failure(Cause::Daemon)),
    ("docker.sock", Failure(Cause::Daemon)),
    ("docker daemon", Failure(Cause::Daemon)),
    ("is refused", Failure(Cause::Refused)),
    // Messages that NordVPN's client prints.
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
    // The client tried to register the device. Whether the account is full, a limit is
    // reached or the servers were not reached is only in the daemon's log.
    (
        "reaching our servers. please try again later",
        Failure(Cause::Registration),
    ),
    ("registration failed", Failure(Cause::Registration)),
    ("failed to register", Failure(Cause::Registration)),
    ("not registered", Failure(Cause::Registration)),
    // The client's words for a Meshnet interface that it cannot set up, although they
    // name the internet connection.
    ("couldn't connect you to the vpn", Failure(Cause::Kernel)),
    ("nordlynx technology must be set", Failure(Cause::Kernel)),
    ("configuration utility is missing", Failure(Cause::Kernel)),
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

/// Returns the meaning of the first part in [`KNOWN`] that `output` contains.
pub(super) fn meaning(output: &str) -> Meaning {
    // Some versions of the client print typographic apostrophes, others do not.
    let output = output.replace('\u{2019}', "'").to_lowercase();
    let known = KNOWN.iter().find(|(part, _)| output.contains(part));
    known.map_or(Meaning::Unknown, |(_, meaning)| *meaning)
}

/// Returns whether the client states that it sent no request for want of a connection.
pub(super) fn is_offline(output: &str) -> bool {
    output
        .replace('\u{2019}', "'")
        .to_lowercase()
        .contains("you're offline")
}

/// Returns a description of a cause, which precedes the client's own message in an
/// error.
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
        Cause::Registration => {
            "NordVPN did not register the device: the account has its ten devices, a limit is \
             reached, or its servers were not reached; the client's log has the cause"
        }
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
