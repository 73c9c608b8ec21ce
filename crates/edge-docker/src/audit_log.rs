//! Audit log: an entry in the journal for every decision, with the caller, the command,
//! the image, the verdict and its rule.
//!
//! Written in journald's own protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>):
//! standard error belongs to the caller, who can redirect it.

use std::os::unix::net::UnixDatagram;

use edge_common::Root;
use edge_common::log::printable;

use edge_docker_policy::identity::Identity;

/// Socket of journald.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Longest value of a field, in bytes. All fields have to fit into one datagram; an entry
/// that did not would be missing.
const MAX_VALUE_BYTES: usize = 1024;

/// Verdict of a decision, and of carrying it out.
#[derive(Clone, Copy)]
pub(crate) enum Verdict {
    /// Nothing that can refuse the request is left.
    Allowed,
    /// The policy refused the request.
    Denied,
    /// The engine, the registry or the disk failed. Apart from `Denied`, so that a broken
    /// network does not look like an attempt to get around the policy.
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

    /// Priority in the journal: info, or warning.
    fn priority(self) -> &'static str {
        match self {
            Self::Allowed => "6",
            Self::Denied | Self::Failed => "4",
        }
    }
}

/// Longest user name that is logged, in characters.
const MAX_USER_CHARS: usize = 64;

/// Request that is decided on.
#[derive(Default)]
pub(crate) struct Decision<'a> {
    /// Command.
    pub(crate) verb: &'a str,
    /// Image reference as typed, or empty.
    pub(crate) image: &'a str,
    /// Identity of the image, once it is known.
    pub(crate) identity: Option<&'a Identity>,
    /// Name of the container, or empty.
    pub(crate) container: &'a str,
}

impl Decision<'_> {
    /// Logs that the request is allowed, with the identity of the image as the rule.
    pub(crate) fn log_allowed(&self, root: &Root) {
        let rule = match self.identity {
            Some(Identity::Signed { app, version, .. }) => format!("signed as {app} {version}"),
            Some(Identity::Sandbox { app }) => format!("sandbox {app}"),
            None => "on the list".into(),
        };
        self.log(root, Verdict::Allowed, &rule);
    }

    /// Logs the verdict and its rule.
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
            // Not the program's name, so that `journalctl -t` shows decisions alone.
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

/// Sends an entry to journald. An error changes no decision: without a journal, early in
/// the boot, containers have to start all the same.
fn send(root: &Root, fields: &[(&str, &str)]) {
    let mut text = String::new();
    for (name, value) in fields.iter().filter(|(_, v)| !v.is_empty()) {
        // A line feed in a value would begin a field of the caller's choice.
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

/// Returns the caller: the user that sudo names, and the one that the kernel recorded at
/// the login, which sudo and su leave alone.
fn caller() -> String {
    let uid = rustix::process::getuid().as_raw();
    let mut name = match std::env::var("SUDO_USER") {
        // Only root can have been reached through sudo; others may set the variable.
        Ok(name) if uid == 0 => printable(&name).chars().take(MAX_USER_CHARS).collect(),
        _ => format!("uid {uid}"),
    };
    let login = std::fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
    // The kernel shows u32::MAX for a process without a login, such as a service.
    match login.trim().parse::<u32>() {
        Ok(login) if login != u32::MAX && login != uid => {
            name.push_str(&format!(" (login uid {login})"));
        }
        _ => {}
    }
    name
}
