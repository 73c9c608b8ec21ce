//! Audit log: journal entries with the caller, the command, the image, the verdict and
//! its rule. Each refused or failed command of a caller is logged, and each permitted one
//! that creates a container, rolls back, or replaces this process by docker's client.
//!
//! The entries are sent in journald's own protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>), not to standard error, which the
//! caller can redirect.

use std::os::unix::net::UnixDatagram;

use edge_common::Root;
use edge_common::log::printable;

use edge_docker_policy::identity::Identity;

/// Path of the datagram socket on which journald receives entries.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Limit of the value of a field in bytes; a longer value is truncated. All fields of an
/// entry must fit into one datagram, because a larger datagram would not be sent.
const MAX_VALUE_BYTES: usize = 1024;

/// Result of a command, as the field `EDGE_VERDICT` reports it.
#[derive(Clone, Copy)]
pub(crate) enum Verdict {
    /// All checks have passed, and the command is about to be carried out.
    Allowed,
    /// The policy refused the request.
    Denied,
    /// The engine, the registry or the disk failed. Separate from `Denied`, so that a
    /// broken network does not look like an attempt to bypass the policy.
    Failed,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }

    /// Returns the syslog priority of the entry: 6 (info) or 4 (warning).
    fn priority(self) -> &'static str {
        match self {
            Self::Allowed => "6",
            Self::Denied | Self::Failed => "4",
        }
    }
}

/// Limit of the user name in an entry, in characters; a longer name is truncated.
const MAX_USER_CHARS: usize = 64;

/// Command that was decided on, with the values that its audit entry contains.
#[derive(Default)]
pub(crate) struct Decision<'a> {
    /// Name of the command, for example `run` or `system df`.
    pub(crate) verb: &'a str,
    /// Image reference as typed; empty if it is not known.
    pub(crate) image: &'a str,
    /// Verified identity of the image; `None` if the command does not verify one.
    pub(crate) identity: Option<&'a Identity>,
    /// Name of the container, or the first argument of a command of docker's client;
    /// empty if there is none.
    pub(crate) container: &'a str,
}

impl Decision<'_> {
    /// Logs the verdict `allowed`. The rule is the identity of the image, or `on the
    /// list` for a command that verifies no image.
    pub(crate) fn log_allowed(&self, root: &Root) {
        let rule = match self.identity {
            Some(Identity::Signed { app, version, .. }) => format!("signed as {app} {version}"),
            Some(Identity::Sandbox { app }) => format!("sandbox {app}"),
            None => "on the list".into(),
        };
        self.log(root, Verdict::Allowed, &rule);
    }

    /// Sends an audit entry with the given verdict and rule, and with the caller of this
    /// process, to the journal.
    pub(crate) fn log(&self, root: &Root, verdict: Verdict, rule: &str) {
        let caller = caller();
        let digest = match self.identity {
            Some(Identity::Signed { digest, .. }) => digest.as_str(),
            _ => "",
        };
        let mut message = format!("{} {} by {caller}", verdict.name(), self.verb);
        for (name, value) in [
            ("container", self.container),
            ("image", self.image),
            ("digest", digest),
        ] {
            if !value.is_empty() {
                message.push_str(&format!(", {name} {value}"));
            }
        }
        message.push_str(&format!(": {rule}"));
        let fields = [
            ("MESSAGE", message.as_str()),
            ("PRIORITY", verdict.priority()),
            // Differs from the name of the program, so that `journalctl -t
            // edge-docker-audit` shows only decisions.
            ("SYSLOG_IDENTIFIER", "edge-docker-audit"),
            ("EDGE_VERB", self.verb),
            ("EDGE_USER", &caller),
            ("EDGE_CONTAINER", self.container),
            ("EDGE_IMAGE", self.image),
            ("EDGE_DIGEST", digest),
            ("EDGE_VERDICT", verdict.name()),
            ("EDGE_RULE", rule),
        ];
        send(root, &fields);
    }
}

/// Sends an entry to journald and ignores errors: early in the boot there is no journal
/// yet, but containers have to start.
fn send(root: &Root, fields: &[(&str, &str)]) {
    let mut text = String::new();
    for (name, value) in fields.iter().filter(|(_, v)| !v.is_empty()) {
        // Removes line feeds: in this protocol, a line feed in a value would begin
        // another field, which the caller could choose.
        let value = printable(value);
        let end = (0..=MAX_VALUE_BYTES.min(value.len()))
            .rev()
            .find(|i| value.is_char_boundary(*i));
        text.push_str(&format!("{name}={}\n", &value[..end.unwrap_or(0)]));
    }
    if let Ok(socket) = UnixDatagram::unbound() {
        let _ = socket.send_to(text.as_bytes(), root.path(SOCKET));
    }
}

/// Returns the name of the caller: the user that sudo names, or the uid, followed by the
/// login uid if it differs. The kernel recorded the login uid at the login, and sudo and
/// su do not change it.
fn caller() -> String {
    let uid = rustix::process::getuid().as_raw();
    let mut name = match std::env::var("SUDO_USER") {
        // sudo sets `SUDO_USER` and runs this process as root. In a process with another
        // uid, the caller may have set the variable.
        Ok(name) if uid == 0 => printable(&name).chars().take(MAX_USER_CHARS).collect(),
        _ => format!("uid {uid}"),
    };
    let login = std::fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
    // The kernel reports u32::MAX for a process without a login, for example a service.
    match login.trim().parse::<u32>() {
        Ok(login) if login != u32::MAX && login != uid => {
            name.push_str(&format!(" (login uid {login})"));
        }
        _ => {}
    }
    name
}
