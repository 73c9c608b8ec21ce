//! Rules for a single unit of `/data/services`, as lists of allowed settings. Each
//! version of systemd adds settings, so everything that is not listed is refused.

use edge_common::contract::path::EDGE_DOCKER;

/// Allowed keys by section. Except for the keys that [`check_value`] restricts, none of
/// them runs a program, changes a program's environment or accesses the content of a
/// file.
const ALLOWED_KEYS: [(&str, &[&str]); 6] = [
    (
        "Unit",
        &[
            "Description",
            "Documentation",
            "After",
            "Before",
            "Wants",
            "Requires",
            "BindsTo",
            "PartOf",
            "StartLimitIntervalSec",
            "StartLimitBurst",
            "ConditionPathExists",
            "ConditionPathIsDirectory",
        ],
    ),
    (
        "Service",
        &[
            "Type",
            "ExecCondition",
            "ExecStartPre",
            "ExecStart",
            "ExecStartPost",
            "ExecReload",
            "ExecStop",
            "ExecStopPost",
            "Restart",
            "RestartSec",
            "RemainAfterExit",
            "TimeoutSec",
            "TimeoutStartSec",
            "TimeoutStopSec",
            "RuntimeMaxSec",
            "KillMode",
            "KillSignal",
            "SuccessExitStatus",
            "RestartPreventExitStatus",
            "SyslogIdentifier",
        ],
    ),
    (
        "Timer",
        &[
            "OnActiveSec",
            "OnBootSec",
            "OnStartupSec",
            "OnUnitActiveSec",
            "OnUnitInactiveSec",
            "OnCalendar",
            "AccuracySec",
            "RandomizedDelaySec",
            "Persistent",
            "Unit",
        ],
    ),
    (
        "Path",
        &[
            "PathExists",
            "PathExistsGlob",
            "PathChanged",
            "PathModified",
            "DirectoryNotEmpty",
            "Unit",
        ],
    ),
    (
        "Socket",
        &[
            "ListenStream",
            "ListenDatagram",
            "Accept",
            "BindIPv6Only",
            "Service",
        ],
    ),
    (
        "Install",
        &["WantedBy", "RequiredBy", "Alias", "DefaultInstance", "Also"],
    ),
];

/// Unit types, as suffixes of file names, that are accepted in `/data/services`.
const KINDS: [&str; 4] = ["service", "socket", "timer", "path"];

/// Units of the device image that `WantedBy=` may name.
pub(crate) const MAY_WANT: [&str; 7] = [
    "multi-user.target",
    "default.target",
    "graphical.target",
    "timers.target",
    "sockets.target",
    "paths.target",
    "docker.service",
];

/// Units of the device image that `RequiredBy=` may name, so that they fail together
/// with the unit. `docker.service` is not listed: a failing app must not stop the
/// engine.
pub(crate) const MAY_REQUIRE: [&str; 6] = [
    "multi-user.target",
    "default.target",
    "graphical.target",
    "timers.target",
    "sockets.target",
    "paths.target",
];

/// Units of the device image that `Before=` may name. Delaying any other unit could
/// block the boot.
pub(crate) const MAY_WAIT: [&str; 4] = [
    "multi-user.target",
    "default.target",
    "graphical.target",
    "shutdown.target",
];

/// Names of system units without their suffix. They are reserved even if the device
/// image has no such unit, because a package in a later image may install one.
const SYSTEM: [&str; 25] = [
    "NetworkManager",
    "autovt@",
    "chrony",
    "chronyd",
    "console-getty",
    "containerd",
    "dbus",
    "dbus-broker",
    "debug-shell",
    "docker",
    "edge-bootstrap",
    "edge-data",
    "edge-heartbeat",
    "edge-partition-setup",
    "edge-vpn",
    "edge-vpn-client",
    "edge-vpn-ssh",
    "emergency",
    "getty@",
    "initrd-switch-root",
    "rescue",
    "serial-getty@",
    "ssh",
    "sshd",
    "user@",
];

/// Returns whether `name` is reserved for system units: it is in [`SYSTEM`], or begins
/// with `systemd-` or `dbus-org.`. Instances of a reserved template are reserved too.
pub(crate) fn is_system_name(name: &str) -> bool {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let stem = stem
        .find('@')
        .and_then(|at| stem.get(..=at))
        .unwrap_or(stem);
    SYSTEM.contains(&stem) || stem.starts_with("systemd-") || stem.starts_with("dbus-org.")
}

/// Returns whether `name` is a valid file name of a unit in `/data/services`, with an
/// accepted suffix.
pub(crate) fn valid_name(name: &str) -> bool {
    let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
    KINDS.contains(&kind) && valid_target(name)
}

/// Returns whether `name` is a valid unit name with any suffix. It must not contain a
/// slash, because it becomes the file name of a link.
pub(crate) fn valid_target(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":_.-@\\".contains(c);
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with(['.', '-', '@'])
        && name.contains('.')
        && name.matches('@').count() <= 1
        && name.chars().all(allowed)
}

/// Checks that [`ALLOWED_KEYS`] lists `key` for `section`.
pub(crate) fn check_key(section: &str, key: &str) -> Result<(), String> {
    let (_, keys) = ALLOWED_KEYS
        .iter()
        .find(|(name, _)| *name == section)
        .ok_or_else(|| format!("section [{section}] is not allowed in /data/services"))?;
    if keys.contains(&key) {
        return Ok(());
    }
    Err(format!(
        "{key}= is not allowed in [{section}] of a unit in /data/services"
    ))
}

/// Checks the value of a key that runs a program (`Exec…=`) or opens a socket
/// (`Listen…=`).
pub(crate) fn check_value(key: &str, value: &str) -> Result<(), String> {
    if key.starts_with("Exec") {
        return check_command(key, value);
    }
    if key.starts_with("Listen") {
        return check_address(key, value);
    }
    Ok(())
}

/// Checks that a command line starts edge-docker, which applies the container policy, and
/// nothing else. An empty value resets the list and is allowed.
fn check_command(key: &str, value: &str) -> Result<(), String> {
    let args: Vec<_> = value.split([' ', '\t']).filter(|w| !w.is_empty()).collect();
    let Some(program) = args.first() else {
        return Ok(());
    };
    // Of systemd's prefixes only `-` (ignore a failure) and `:` (do not expand
    // variables) are allowed; the others change the program's name or its privileges.
    if program.trim_start_matches(['-', ':']) != EDGE_DOCKER {
        return Err(format!(
            "{key}= may only start {EDGE_DOCKER}, not {program}"
        ));
    }
    // A quoted or escaped `;` is refused as well. No container needs such an argument,
    // and the check does not depend on how a version of systemd unquotes.
    if args
        .iter()
        .any(|arg| arg.trim_matches(['\\', '"', '\'']) == ";")
    {
        return Err(format!("{key}= holds a second command after \";\""));
    }
    Ok(())
}

/// Checks that a socket unit listens on a port from 1024 on. A path is refused, because
/// it could replace the socket of another program.
fn check_address(key: &str, value: &str) -> Result<(), String> {
    let port = value.rsplit_once(':').map_or(value, |(_, port)| port);
    if value.is_empty() || port.parse::<u16>().is_ok_and(|p| p >= 1024) {
        return Ok(());
    }
    Err(format!("{key}= may only name a port from 1024 on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_allowed_kinds() {
        for valid in ["a.service", "a@.service", "a@b.timer", "x-y_z:1.path"] {
            assert!(valid_name(valid), "{valid}");
        }
        for invalid in [
            "",
            ".service",
            "a",
            "a.mount",
            "a/b.service",
            "a b.service",
            "é.service",
            "-a.service",
            "@a.service",
            "a@b@c.service",
            "a.service\n",
            "a%i.service",
        ] {
            assert!(!valid_name(invalid), "{invalid}");
        }
    }

    #[test]
    fn system_names_are_reserved() {
        for name in [
            "docker.service",
            "docker.timer",
            "sshd@x.service",
            "getty@tty1.service",
            "systemd-reboot.timer",
            "dbus-org.freedesktop.login1.service",
        ] {
            assert!(is_system_name(name) || name.starts_with("sshd@"), "{name}");
        }
        for name in ["app.service", "docker-app.service", "get@ty.service"] {
            assert!(!is_system_name(name), "{name}");
        }
    }

    #[test]
    fn sockets_listen_on_high_ports_only() {
        for allowed in ["8080", "127.0.0.1:8080", "[::]:8080", ""] {
            assert!(check_value("ListenStream", allowed).is_ok(), "{allowed}");
        }
        for refused in [
            "22",
            "/run/docker.sock",
            "@abstract",
            "vsock:1:22",
            "%t/x",
            "0.0.0.0:443",
        ] {
            assert!(check_value("ListenStream", refused).is_err(), "{refused}");
        }
    }
}
