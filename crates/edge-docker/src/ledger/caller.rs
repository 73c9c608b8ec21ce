//! Caller of this process: the user that sudo names and the SSH key of the session, or
//! the unit.

use edge_common::Root;
use edge_common::log::printable;
use serde::{Deserialize, Serialize};

use super::processes::control_group;
use super::sessions::{self, Key};
use crate::break_glass;

/// Limit of the name of a user or unit, in bytes.
const MAX_NAME_BYTES: usize = 128;
/// Maximum number of keys that a detached process may have come from.
const MAX_KEYS: usize = 8;

/// Caller of a command, as a record names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Caller {
    /// User that called sudo, or `uid N`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) user: String,
    /// Login uid, if the kernel knows one that is not the user's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) login_uid: Option<u32>,
    /// Keys that may have opened the session: one, unless the process was detached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) keys: Vec<Key>,
    /// systemd unit of the process.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) unit: String,
    /// ID of the break-glass ticket that the command needs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) ticket: String,
}

impl Caller {
    /// Returns the caller of this process.
    pub(super) fn of_this_process(root: &Root) -> Self {
        let uid = rustix::process::getuid().as_raw();
        // sudo sets `SUDO_USER` and runs this process as root. In a process with another
        // uid, the caller may have set the variable.
        let sudo = std::env::var("SUDO_USER").ok().filter(|_| uid == 0);
        let unit = control_group(root, "self");
        let unit = unit.rsplit('/').next().unwrap_or_default();
        let mut keys = sessions::keys(root);
        // A unit shares its control group with no session.
        if sudo.is_none() && keys.len() > 1 {
            keys.clear();
        }
        keys.truncate(MAX_KEYS);
        Self {
            user: super::shortened(
                &printable(&sudo.unwrap_or_else(|| format!("uid {uid}"))),
                MAX_NAME_BYTES,
            ),
            login_uid: login_uid(root).filter(|login| *login != uid),
            keys,
            unit: super::shortened(&printable(unit), MAX_NAME_BYTES),
            ticket: break_glass::in_use().map_or(String::new(), |ticket| ticket.id),
        }
    }

    /// Returns whether the process belongs to a unit of the boot: no user and no
    /// session is behind it.
    pub(super) fn is_unit(&self) -> bool {
        self.user == "uid 0"
            && self.keys.is_empty()
            && self.login_uid.is_none()
            && self.unit.ends_with(".service")
    }

    /// Returns user, key and unit in one line.
    pub(super) fn line(&self) -> String {
        let mut line = self.user.clone();
        if let Some(login) = self.login_uid {
            line += &format!(" (login uid {login})");
        }
        let keys: Vec<_> = self
            .keys
            .iter()
            .map(|key| match key.certificate.as_str() {
                "" => key.key.clone(),
                certificate => format!("certificate {certificate}"),
            })
            .collect();
        if !keys.is_empty() {
            line += &format!(" with {}", keys.join(" or "));
        } else if !self.unit.is_empty() {
            line += &format!(" in {}", self.unit);
        }
        if !self.ticket.is_empty() {
            line += &format!(" under the ticket {}", self.ticket);
        }
        line
    }
}

/// Returns the uid that the kernel recorded at the login, which sudo and su do not
/// change.
fn login_uid(root: &Root) -> Option<u32> {
    let text = std::fs::read_to_string(root.path("/proc/self/loginuid")).ok()?;
    // The kernel reports u32::MAX for a process without a login, for example a service.
    text.trim().parse().ok().filter(|login| *login != u32::MAX)
}
