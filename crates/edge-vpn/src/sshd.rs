//! Where SSH is let in, as `policy.json` of the image says.
//!
//! sshd's configuration includes a file below `/run`. With `"ssh": "vpn"` that file
//! holds addresses to listen on: before sshd starts only the loopback, and the
//! VPN's address once that is there. So whatever fails, SSH stays closed for
//! other interfaces; the console needs no sshd.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use edge_common::{Root, file, log};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::cause::Cause;
use crate::net::Range;
use crate::{RUN, ready, tool};

/// The policy, in the image.
const POLICY: &str = "/etc/edge-ai/container-config/policy.json";
/// What sshd's configuration includes.
const FILE: &str = "/run/edge-vpn/sshd.conf";
/// Largest of them, in bytes.
const LARGEST: u64 = 64 * 1024;
/// sshd's unit, by the names that distributions give it.
const UNITS: [&str; 2] = ["sshd.service", "ssh.service"];
/// Limit of `systemctl`.
const LIMIT: Duration = Duration::from_secs(20);

/// Who may come in by SSH.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Whoever has a key, over any interface.
    #[default]
    Any,
    /// Only over the VPN.
    Vpn,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// edge-docker's.
    #[serde(default, rename = "sandbox")]
    _sandbox: Option<IgnoredAny>,
    #[serde(default)]
    ssh: Policy,
}

impl Policy {
    /// Reads the policy.
    ///
    /// # Errors
    /// Absent, oversized or malformed: exit code 3.
    pub fn load(root: &Root) -> Result<Self> {
        let read = file::read(&root.path(POLICY), LARGEST);
        let written = read.and_then(|text| {
            serde_json::from_slice::<Written>(&text).with_context(|| format!("parsing {POLICY}"))
        });
        Ok(written.map_err(|e| Cause::Config.wrap(e))?.ssh)
    }
}

/// Before sshd starts: nothing but the loopback, if SSH is for the VPN.
///
/// # Errors
/// The policy or `/run`: sshd must not start then.
pub fn close(root: &Root) -> Result<()> {
    put(root, &text(Policy::load(root)?, None)).map(drop)
}

/// Lets sshd listen on `address`, whose peers are all in `range`, and waits until
/// it answers there.
///
/// # Errors
/// It does not: exit code 12.
pub fn open(root: &Root, policy: Policy, address: IpAddr, range: Range) -> Result<()> {
    let changed = put(root, &text(policy, Some((address, range))))?;
    // An image that lets everyone in has an sshd that listens everywhere already.
    if policy == Policy::Vpn && (changed || ready::look(address).is_err()) {
        reload(root)?;
    }
    ready::wait(address)
}

fn put(root: &Root, text: &str) -> Result<bool> {
    file::create_directory(&root.path(RUN), 0o755)?;
    file::ensure(&root.path(FILE), text.as_bytes(), 0o644)
}

/// Listening on an address does not say which interface a packet came by: a
/// neighbour could send one for the VPN's address. So who does not come from the
/// VPN is nobody who may log in.
fn text(policy: Policy, vpn: Option<(IpAddr, Range)>) -> String {
    let (address, range) = match (policy, vpn) {
        (Policy::Any, _) => return "# policy.json: over any interface\n".into(),
        (Policy::Vpn, None) => (String::new(), String::new()),
        (Policy::Vpn, Some((address, range))) => {
            (format!("ListenAddress {address}\n"), format!(",!{range}"))
        }
    };
    format!(
        "# policy.json: over the VPN only\nListenAddress 127.0.0.1\n{address}\
         Match Address *,!127.0.0.1{range}\n\tDenyUsers *\n"
    )
}

fn reload(root: &Root) -> Result<()> {
    let mut said = String::new();
    for unit in UNITS {
        let mut command = tool::program(root, "systemctl");
        command.args(["reload-or-restart", unit]);
        let answer = tool::ask(&mut command, "", LIMIT)?;
        if answer.good() {
            log::info("sshd listens anew");
            return Ok(());
        }
        said = answer.last();
    }
    Err(Cause::Ssh.error(format_args!("reloading sshd: {said}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_policy_opens() {
        assert!(!text(Policy::Any, None).contains("ListenAddress"));
        let closed = text(Policy::Vpn, None);
        assert_eq!(closed.matches("ListenAddress").count(), 1);
        assert!(closed.contains("Match Address *,!127.0.0.1\n\tDenyUsers *\n"));
        let open = text(
            Policy::Vpn,
            Some((
                "10.77.0.2".parse().unwrap(),
                "10.77.0.0/16".parse().unwrap(),
            )),
        );
        assert!(open.contains("\nListenAddress 10.77.0.2\n"));
        assert!(open.contains("*,!127.0.0.1,!10.77.0.0/16\n"));
    }
}
