//! Copy of the ledger in the journal, for `journalctl --namespace edge-audit`.
//!
//! The entries are sent in journald's own protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>), not to standard error, which the
//! caller can redirect.

use std::os::unix::net::UnixDatagram;

use edge_common::Root;
use edge_common::log::printable;

use super::record::Entry;

/// Sockets on which journald receives entries: of the namespace with a size of its own,
/// and of the journal of the system where the namespace does not exist.
const SOCKETS: [&str; 2] = [
    "/run/systemd/journal.edge-audit/socket",
    "/run/systemd/journal/socket",
];
/// Limit of the value of a field in bytes; a longer value is truncated. All fields of an
/// entry must fit into one datagram, because a larger datagram would not be sent.
const MAX_VALUE_BYTES: usize = 1024;

/// Sends a record to journald and ignores errors: early in the boot there is no journal
/// yet, and the ledger holds the record.
pub(super) fn copy(root: &Root, entry: &Entry) {
    let who = entry.who.as_ref().map(super::caller::Caller::line);
    let who = who.unwrap_or_default();
    let priority = if entry.verdict == "allowed" { "6" } else { "4" };
    let message = super::line(entry);
    let fields = [
        ("MESSAGE", message.as_str()),
        ("PRIORITY", priority),
        // Differs from the name of the program, so that `journalctl -t
        // edge-docker-audit` shows only decisions.
        ("SYSLOG_IDENTIFIER", "edge-docker-audit"),
        ("EDGE_VERB", &entry.verb),
        ("EDGE_USER", &who),
        ("EDGE_CONTAINER", &entry.container),
        ("EDGE_IMAGE", &entry.image),
        ("EDGE_DIGEST", &entry.digest),
        ("EDGE_VERDICT", &entry.verdict),
        ("EDGE_RULE", &entry.rule),
    ];
    let mut text = String::new();
    for (name, value) in fields.iter().filter(|(_, v)| !v.is_empty()) {
        // Removes line feeds: in this protocol, a line feed in a value would begin
        // another field, which the caller could choose.
        let value = super::shortened(&printable(value), MAX_VALUE_BYTES);
        text.push_str(&format!("{name}={value}\n"));
    }
    let Ok(socket) = UnixDatagram::unbound() else {
        return;
    };
    // A journal that does not read must not hold up a command.
    let _ = socket.set_nonblocking(true);
    for path in SOCKETS {
        if socket.send_to(text.as_bytes(), root.path(path)).is_ok() {
            return;
        }
    }
}
