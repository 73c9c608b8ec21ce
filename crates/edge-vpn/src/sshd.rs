//! Restriction of sshd to the VPN, if `policy.json` of the device image requires it.
//!
//! The configuration of sshd includes `/run/edge-vpn/sshd.conf`. With `"ssh": "vpn"` in
//! `policy.json`, this file restricts sshd to the loopback interface before sshd
//! starts, and adds the address in the VPN once the device has one. So SSH stays closed
//! on all other interfaces if any step fails; the console does not need sshd.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use edge_common::policy::{Policy, SshAccess};
use edge_common::{Root, file, log};

use crate::cause::Cause;
use crate::files::RUNTIME_DIRECTORY;
use crate::net::Range;
use crate::{programs, ssh_probe};

/// File with the `ListenAddress` lines, which the configuration of sshd includes.
const CONFIG: &str = "/run/edge-vpn/sshd.conf";
/// Names that distributions use for the unit of sshd.
const UNITS: [&str; 2] = ["sshd.service", "ssh.service"];
/// Time limit of one call of `systemctl`.
const SYSTEMCTL_LIMIT: Duration = Duration::from_secs(20);

/// Returns the SSH access that `policy.json` permits.
pub(crate) fn access(root: &Root) -> Result<SshAccess> {
    let policy = Policy::load(root).map_err(|e| Cause::Config.wrap(e))?;
    Ok(policy.ssh)
}

/// Writes [`CONFIG`] before sshd starts: only the loopback interface, if SSH is
/// reserved for the VPN. After an error sshd must not start.
pub(crate) fn close(root: &Root) -> Result<()> {
    write(root, &config(access(root)?, None)).map(drop)
}

/// Permits SSH on `address` for peers in `range`, and waits until sshd answers there.
pub(crate) fn open(root: &Root, access: SshAccess, address: IpAddr, range: Range) -> Result<()> {
    let changed = write(root, &config(access, Some((address, range))))?;
    // With `any` sshd already listens on all addresses, and an unnecessary reload could
    // disturb a session.
    if access == SshAccess::Vpn && (changed || ssh_probe::probe(address).is_err()) {
        reload(root)?;
    }
    ssh_probe::wait(address)
}

fn write(root: &Root, text: &str) -> Result<bool> {
    file::create_directory(&root.path(RUNTIME_DIRECTORY), 0o755)?;
    file::ensure(&root.path(CONFIG), text.as_bytes(), 0o644)
}

fn config(access: SshAccess, vpn: Option<(IpAddr, Range)>) -> String {
    let (address, range) = match (access, vpn) {
        (SshAccess::Any, _) => return "# policy.json: over any interface\n".into(),
        (SshAccess::Vpn, None) => (String::new(), String::new()),
        (SshAccess::Vpn, Some((address, range))) => {
            (format!("ListenAddress {address}\n"), format!(",!{range}"))
        }
    };
    // Linux accepts packets for any of its addresses on every interface, so a host in
    // the local network could connect to the address in the VPN. Therefore logins from
    // source addresses outside of the VPN are denied.
    format!(
        "# policy.json: over the VPN only\nListenAddress 127.0.0.1\n{address}\
         Match Address *,!127.0.0.1{range}\n\tDenyUsers *\n"
    )
}

fn reload(root: &Root) -> Result<()> {
    let mut failure = String::new();
    for unit in UNITS {
        let mut command = programs::find(root, "systemctl");
        command.args(["reload-or-restart", unit]);
        let completed = programs::run(&mut command, "", SYSTEMCTL_LIMIT)?;
        if completed.success() {
            log::info("reloaded sshd");
            return Ok(());
        }
        failure = completed.summary();
    }
    Err(Cause::Ssh.error(format_args!("reloading sshd: {failure}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_policy_opens_ssh() {
        assert!(!config(SshAccess::Any, None).contains("ListenAddress"));
        let closed = config(SshAccess::Vpn, None);
        assert_eq!(closed.matches("ListenAddress").count(), 1);
        assert!(closed.contains("Match Address *,!127.0.0.1\n\tDenyUsers *\n"));
        let open = config(
            SshAccess::Vpn,
            Some((
                "10.77.0.2".parse().unwrap(),
                "10.77.0.0/16".parse().unwrap(),
            )),
        );
        assert!(open.contains("\nListenAddress 10.77.0.2\n"));
        assert!(open.contains("*,!127.0.0.1,!10.77.0.0/16\n"));
    }
}
