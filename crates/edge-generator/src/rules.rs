//! Rules for a single unit of `/data/services`: lists of what is allowed. systemd gets
//! new keys with each version, so everything that is not listed is refused.

use edge_common::contract::path::EDGE_DOCKER;

/// Allowed keys by section. None of them runs a program, changes the environment of one
/// or reaches a file elsewhere, except for those that [`check_value`] restricts.
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

/// Kinds of units that `/data/services` may have.
const KINDS: [&str; 4] = ["service", "socket", "timer", "path"];

/// Units of the image that a unit may pull in: every boot starts them anyway.
pub(crate) const MAY_NEED: [&str; 12] = [
    "data.mount",
    "docker.service",
    "docker.socket",
    "edge-bootstrap.service",
    "edge-data.service",
    "edge-heartbeat.service",
    "local-fs.target",
    "multi-user.target",
    "network-online.target",
    "network.target",
    "sysinit.target",
    "time-sync.target",
];

/// Units of the image that may want a unit of `/data/services`.
pub(crate) const MAY_WANT: [&str; 7] = [
    "multi-user.target",
    "default.target",
    "graphical.target",
    "timers.target",
    "sockets.target",
    "paths.target",
    "docker.service",
];

/// Units of the image that may require one, and so fail with it. Not `docker.service`:
/// an app that fails must not stop the engine.
pub(crate) const MAY_REQUIRE: [&str; 6] = [
    "multi-user.target",
    "default.target",
    "graphical.target",
    "timers.target",
    "sockets.target",
    "paths.target",
];

/// Units of the image that may wait for one. Any other could hold up the boot.
pub(crate) const MAY_WAIT: [&str; 4] = [
    "multi-user.target",
    "default.target",
    "graphical.target",
    "shutdown.target",
];

/// Names of the system's own units, reserved whether or not the image has a file for
/// them: a package of a later image may bring it.
const SYSTEM: [&str; 24] = [
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

/// Whether `name` is reserved for the system's own units. An instance is reserved if its
/// template is.
pub(crate) fn is_system_name(name: &str) -> bool {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let stem = stem
        .find('@')
        .and_then(|at| stem.get(..=at))
        .unwrap_or(stem);
    SYSTEM.contains(&stem) || stem.starts_with("systemd-") || stem.starts_with("dbus-org.")
}

/// Whether `name` is valid for a unit of `/data/services`.
pub(crate) fn valid_name(name: &str) -> bool {
    let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
    KINDS.contains(&kind) && valid_target(name)
}

/// Whether `name` is valid in a list of units of any kind. No slash is among the
/// characters: the name becomes the name of a link.
pub(crate) fn valid_target(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":_.-@\\".contains(c);
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with(['.', '-', '@'])
        && name.contains('.')
        && name.matches('@').count() <= 1
        && name.chars().all(allowed)
}

/// Checks that `key` is allowed in `section`.
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

/// Checks the value of a key that runs a program or opens a socket.
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
    // Of systemd's prefixes `-` ignores a failure and `:` expands no variables; the
    // others change the program's name or its privileges.
    if program.trim_start_matches(['-', ':']) != EDGE_DOCKER {
        return Err(format!(
            "{key}= may only start {EDGE_DOCKER}, not {program}"
        ));
    }
    // Refused quoted and escaped as well: no container needs such an argument, and then
    // nothing depends on how a version of systemd unquotes.
    if args
        .iter()
        .any(|arg| arg.trim_matches(['\\', '"', '\'']) == ";")
    {
        return Err(format!("{key}= holds a second command after \";\""));
    }
    Ok(())
}

/// Checks that a socket listens on an unprivileged port. A path could take the place of
/// the socket of another program.
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
