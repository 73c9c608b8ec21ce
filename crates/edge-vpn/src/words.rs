//! From the words of the NordVPN client to what they mean. The client's words
//! change with its versions: each meaning is known by a part that stays.

use crate::cause::Cause;

/// What an answer of the client means, as far as something is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// It has to log in first.
    LoggedOut,
    /// Meshnet has to be switched on first.
    MeshnetOff,
    /// Nothing to do: it is as asked.
    Already,
    /// It cannot be done, and why.
    Trouble(Cause),
    /// Words that nobody knows.
    Unknown,
}

use Meaning::{Already, LoggedOut, MeshnetOff, Trouble};

/// Parts of messages, in lower case. The first that fits counts, so narrower
/// ones come first.
const KNOWN: &[(&str, Meaning)] = &[
    // Of the engine and of edge-docker, before the client is reached.
    ("no such container", Trouble(Cause::Daemon)),
    ("is not running", Trouble(Cause::Daemon)),
    ("is restarting", Trouble(Cause::Daemon)),
    ("is paused", Trouble(Cause::Daemon)),
    ("docker.sock", Trouble(Cause::Daemon)),
    ("docker daemon", Trouble(Cause::Daemon)),
    ("is refused", Trouble(Cause::Refused)),
    // Of the client.
    ("reach system daemon", Trouble(Cause::Daemon)),
    ("nordvpnd.sock", Trouble(Cause::Daemon)),
    ("daemon is not running", Trouble(Cause::Daemon)),
    ("connection refused", Trouble(Cause::Daemon)),
    ("already logged in", Already),
    ("not logged in", LoggedOut),
    ("log in again", LoggedOut),
    ("please log in", LoggedOut),
    ("out and back in", LoggedOut),
    ("token is not valid", Trouble(Cause::Token)),
    ("token has expired", Trouble(Cause::Token)),
    ("expired or been revoked", Trouble(Cause::Token)),
    ("token parameter value is missing", Trouble(Cause::Token)),
    ("couldn't log you in", Trouble(Cause::Token)),
    ("password is not correct", Trouble(Cause::Token)),
    ("maximum device count", Trouble(Cause::Full)),
    ("device limit", Trouble(Cause::Full)),
    ("limit for nickname changes", Trouble(Cause::Limit)),
    ("too many requests", Trouble(Cause::Limit)),
    ("too many attempts", Trouble(Cause::Limit)),
    ("nf_tables", Trouble(Cause::Kernel)),
    ("nftables", Trouble(Cause::Kernel)),
    ("netlink", Trouble(Cause::Kernel)),
    ("/dev/net/tun", Trouble(Cause::Kernel)),
    ("kernel module", Trouble(Cause::Kernel)),
    ("does not support the meshnet feature", Trouble(Cause::Off)),
    ("command 'meshnet'", Trouble(Cause::Off)),
    ("meshnet is unavailable", Trouble(Cause::Off)),
    ("meshnet is not available", Trouble(Cause::Off)),
    ("meshnet' doesn't exist", Trouble(Cause::Off)),
    ("meshnet is already enabled", Already),
    ("meshnet is not enabled", MeshnetOff),
    ("is already set for this device", Already),
    ("is already disabled", Already),
    ("is already allowed", Already),
    ("is already denied", Already),
    ("you're offline", Trouble(Cause::Network)),
    ("internet connection", Trouble(Cause::Network)),
    ("trouble reaching our servers", Trouble(Cause::Network)),
    ("trouble with our servers", Trouble(Cause::Network)),
    ("no such host", Trouble(Cause::Network)),
    ("network is unreachable", Trouble(Cause::Network)),
    ("timed out", Trouble(Cause::Network)),
    ("deadline exceeded", Trouble(Cause::Network)),
];

/// The meaning of what the client said.
pub fn meaning(said: &str) -> Meaning {
    // Typographic apostrophes come and go between versions.
    let said = said.replace('\u{2019}', "'").to_lowercase();
    let known = KNOWN.iter().find(|(part, _)| said.contains(part));
    known.map_or(Meaning::Unknown, |(_, meaning)| *meaning)
}

/// What to say of a cause, before the client's own words.
pub fn about(cause: Cause) -> &'static str {
    match cause {
        Cause::Network => "no network, or NordVPN does not answer",
        Cause::Token => "the token is refused or has expired: make another",
        Cause::Full => "the account has its ten devices: remove one, or use WireGuard",
        Cause::Limit => "the vendor's limit of changes is reached",
        Cause::Kernel => "the kernel lacks nf_tables, TUN or WireGuard",
        Cause::Off => "the vendor has switched Meshnet off, or this client has none",
        Cause::Daemon => "the client's container or its daemon is down",
        Cause::Refused => "edge-docker refuses it",
        Cause::Config => "the configuration is not right",
        Cause::Ssh => "SSH does not answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_has_its_meaning() {
        for (said, expected) in [
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
                Trouble(Cause::Token),
            ),
            (
                "Your current access token has expired or been revoked.",
                Trouble(Cause::Token),
            ),
            ("Maximum device count reached.", Trouble(Cause::Full)),
            (
                "You've reached the weekly limit for nickname changes.",
                Trouble(Cause::Limit),
            ),
            ("We couldn't reach System Daemon.", Trouble(Cause::Daemon)),
            (
                "Couldn't find /run/nordvpn/nordvpnd.sock.",
                Trouble(Cause::Daemon),
            ),
            ("Error: No such container: nordvpn", Trouble(Cause::Daemon)),
            ("Command 'meshnet' doesn't exist.", Trouble(Cause::Off)),
            (
                "You’re offline.\nWe can’t run this action without an internet connection.",
                Trouble(Cause::Network),
            ),
            (
                "It's not you, it's us. We're having trouble reaching our servers.",
                Trouble(Cause::Network),
            ),
            (
                "creating nf_tables chain: protocol not supported",
                Trouble(Cause::Kernel),
            ),
            (
                "exec nordvpn is refused: edge-docker did not make it",
                Trouble(Cause::Refused),
            ),
            ("Good morning.", Meaning::Unknown),
            ("", Meaning::Unknown),
        ] {
            assert_eq!(meaning(said), expected, "{said}");
        }
    }
}
