//! One line in the journal for every decision: who, what, which image, the
//! verdict and its rule. Written in journald's own protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>), not to standard error,
//! which is the caller's.

use std::os::unix::net::UnixDatagram;

use edge_common::Root;
use edge_common::log::printable;

use edge_docker_policy::identity::Identity;

const SOCKET: &str = "/run/systemd/journal/socket";
/// Longest value of a field, in bytes.
const LONGEST: usize = 1024;

/// What is decided.
pub struct Decision<'a> {
    /// The command.
    pub verb: &'a str,
    /// The image as typed, or empty.
    pub image: &'a str,
    /// Who it is, once that is known.
    pub identity: Option<&'a Identity>,
    /// The container's name, or empty.
    pub container: &'a str,
}

impl Decision<'_> {
    /// It is allowed.
    pub fn allowed(&self, root: &Root) {
        let rule = match self.identity {
            Some(Identity::Signed { app, version, .. }) => format!("signed as {app} {version}"),
            Some(Identity::Sandbox { app }) => format!("sandbox {app}"),
            None => "on the list".into(),
        };
        self.write(root, "allowed", &rule, 6);
    }

    /// It is refused, or cannot be told.
    pub fn refused(&self, root: &Root, why: &str) {
        self.write(root, "refused", why, 4);
    }

    fn write(&self, root: &Root, verdict: &str, rule: &str, priority: u8) {
        let who = caller();
        let digest = match self.identity {
            Some(Identity::Signed { digest, .. }) => digest.as_str(),
            _ => "",
        };
        let mut message = format!("{verdict} {} by {who}", self.verb);
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
            ("PRIORITY", &priority.to_string()),
            ("SYSLOG_IDENTIFIER", "edge-docker-audit"),
            ("EDGE_VERB", self.verb),
            ("EDGE_USER", &who),
            ("EDGE_CONTAINER", self.container),
            ("EDGE_IMAGE", self.image),
            ("EDGE_DIGEST", digest),
            ("EDGE_VERDICT", verdict),
            ("EDGE_RULE", rule),
        ];
        send(root, &fields);
    }
}

/// Without a journal there is nobody to tell; the decision stands.
fn send(root: &Root, fields: &[(&str, &str)]) {
    let mut text = String::new();
    for (name, value) in fields.iter().filter(|(_, v)| !v.is_empty()) {
        let value = printable(value);
        let end = (0..=LONGEST.min(value.len()))
            .rev()
            .find(|i| value.is_char_boundary(*i));
        text.push_str(&format!("{name}={}\n", &value[..end.unwrap_or(0)]));
    }
    if let Ok(socket) = UnixDatagram::unbound() {
        let _ = socket.send_to(text.as_bytes(), root.path(SOCKET));
    }
}

/// The person: whom the kernel saw log in, and whom sudo names.
fn caller() -> String {
    let uid = rustix::process::getuid().as_raw();
    let mut who = match std::env::var("SUDO_USER") {
        Ok(name) if uid == 0 => printable(&name).chars().take(64).collect(),
        _ => format!("uid {uid}"),
    };
    let login = std::fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
    // 4294967295 stands for: nobody logged in, a service.
    match login.trim().parse::<u32>() {
        Ok(login) if login != u32::MAX && login != uid => {
            who.push_str(&format!(" (login uid {login})"));
        }
        _ => {}
    }
    who
}
