//! Options of `ssh`: values that edge-app passes, and settings of the user's configuration
//! that it overrides.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::Result;
use edge_common::Root;
use edge_common::exit::Failure;

/// Settings of the user's ssh configuration that are meant for a terminal session and
/// would break or hang a command, with the values that `scp` and `sftp` give them.
const OVERRIDES: [&str; 4] = [
    "RemoteCommand=none",
    "PermitLocalCommand=no",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
];
/// More of these settings, for commands. Older versions of ssh reject them, but then the
/// user's configuration cannot contain them either.
const OVERRIDES_8_7: [&str; 3] = [
    "StdinNull=no",
    "ForkAfterAuthentication=no",
    "SessionType=default",
];
/// Adds the overrides that every call of `ssh` needs.
pub(super) fn override_session(command: &mut Command) {
    for option in OVERRIDES {
        command.args(["-o", option]);
    }
}

/// Adds the overrides for a command on the device, with a remote terminal if `terminal` is
/// true.
pub(super) fn override_command(command: &mut Command, ssh: &Path, terminal: bool) {
    if has_options_of_8_7(ssh) {
        for option in OVERRIDES_8_7 {
            command.args(["-o", option]);
        }
    }
    let request = if terminal { "force" } else { "no" };
    command.args(["-o", &format!("RequestTTY={request}")]);
}

/// Returns whether `ssh` knows the options that OpenSSH 8.7 added.
fn has_options_of_8_7(ssh: &Path) -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let output = Root::system().command(ssh).arg("-V").output();
        // The version is printed to standard error.
        output.is_ok_and(|o| is_at_least_8_7(&String::from_utf8_lossy(&o.stderr)))
    })
}

/// Returns whether the output of `ssh -V`, for example `OpenSSH_9.2p1 Debian-2`, states
/// version 8.7 or higher.
fn is_at_least_8_7(output: &str) -> bool {
    let number = |text: &str| {
        let digits = text.split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|d| d.parse::<u32>().ok())
    };
    let version = output.split_once("OpenSSH_").map(|(_, rest)| rest);
    let parts = version.and_then(|v| v.split_once('.'));
    let parts = parts.and_then(|(major, rest)| Some((number(major)?, number(rest)?)));
    parts.is_some_and(|parts| parts >= (8, 7))
}

/// Quotes a path as the value of an ssh option: ssh splits values at blanks and expands
/// `%` sequences.
pub(super) fn value(path: &Path) -> String {
    let path = path.display().to_string();
    let path = path.replace('\\', r"\\").replace('"', "\\\"");
    format!("\"{}\"", path.replace('%', "%%"))
}

/// Checks that ssh can interpret `text` only as a host or a user. A leading `-` would
/// begin an option, and `-oProxyCommand=` runs a program on the laptop. Characters of
/// shell syntax are rejected too, since `ProxyCommand` and `Match exec` in the user's
/// configuration can pass host and user to a shell.
pub(super) fn check_destination(text: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-@:[]%".contains(c);
    if text.is_empty() || text.starts_with('-') || !text.chars().all(allowed) {
        return Err(Failure::error(
            2,
            format_args!("{text:?} is not the name of a device"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_ssh() {
        for (output, expected) in [
            ("OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19", true),
            ("OpenSSH_8.7p1", true),
            ("OpenSSH_10.0p2, LibreSSL 3.3.6", true),
            ("OpenSSH_8.6p1, LibreSSL 2.8.3", false),
            ("OpenSSH_for_Windows_9.5p1", false),
            ("Dropbear v2022.83", false),
            ("", false),
        ] {
            assert_eq!(is_at_least_8_7(output), expected, "{output}");
        }
    }

    #[test]
    fn destinations() {
        for valid in ["jetson", "edge@10.0.0.1", "fe80::1%eth0", "a-b.c_d"] {
            assert!(check_destination(valid).is_ok(), "{valid}");
        }
        for invalid in [
            "",
            "-oProxyCommand=id",
            "a b",
            "a;b",
            "$(id)",
            "a\nb",
            "a/b",
            "'a'",
        ] {
            assert!(check_destination(invalid).is_err(), "{invalid}");
        }
    }
}
