//! What a unit of `/data/services` may say. What is not on these lists is
//! refused.

/// The one program that a unit of `/data` may start.
const PROGRAM: &str = "/usr/bin/edge-docker";

/// Keys that a unit may use, by section. None of them runs a program, changes
/// its surroundings or reaches a file outside; what they start is judged apart.
const ALLOWED: [(&str, &[&str]); 6] = [
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

/// Kinds of units that are taken from `/data/services`.
const KINDS: [&str; 4] = ["service", "socket", "timer", "path"];

/// Units of the image that may be pulled in: they run anyway, or bring only
/// what the boot brings.
pub const MAY_NEED: [&str; 12] = [
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

/// Units of the image that may bring ours.
pub const MAY_WANT: [&str; 7] = [
    "multi-user.target",
    "default.target",
    "graphical.target",
    "timers.target",
    "sockets.target",
    "paths.target",
    "docker.service",
];

/// Those of them that may fail when ours does.
pub const MAY_REQUIRE: [&str; 6] = [
    "multi-user.target",
    "default.target",
    "graphical.target",
    "timers.target",
    "sockets.target",
    "paths.target",
];

/// Units of the image that may wait for ours: all else could hold up the boot.
pub const MAY_WAIT: [&str; 4] = [
    "multi-user.target",
    "default.target",
    "graphical.target",
    "shutdown.target",
];

/// Names that are the system's whether or not the image has a file for them.
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

/// Is this a name of the system's own units? Instances are judged by their
/// template.
pub fn of_system(name: &str) -> bool {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let stem = stem
        .find('@')
        .and_then(|at| stem.get(..=at))
        .unwrap_or(stem);
    SYSTEM.contains(&stem) || stem.starts_with("systemd-") || stem.starts_with("dbus-org.")
}

/// A name that systemd takes for a unit of a kind that is allowed here.
pub fn valid_name(name: &str) -> bool {
    let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
    KINDS.contains(&kind) && valid_target(name)
}

/// A name that may stand in a list of units.
pub fn valid_target(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || ":_.-@\\".contains(c);
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with(['.', '-', '@'])
        && name.contains('.')
        && name.matches('@').count() <= 1
        && name.chars().all(good)
}

/// May `key` stand in `section`?
///
/// # Errors
/// It may not.
pub fn allowed(section: &str, key: &str) -> Result<(), String> {
    let (_, keys) = ALLOWED
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

/// May `key` have this value, as far as one line tells?
///
/// # Errors
/// It may not.
pub fn value(key: &str, value: &str) -> Result<(), String> {
    if key.starts_with("Exec") {
        return command(key, value);
    }
    if key.starts_with("Listen") {
        return address(key, value);
    }
    Ok(())
}

/// `[-:]/usr/bin/edge-docker …`, one command; an empty value resets the list.
fn command(key: &str, value: &str) -> Result<(), String> {
    let words: Vec<_> = value.split([' ', '\t']).filter(|w| !w.is_empty()).collect();
    let Some(first) = words.first() else {
        return Ok(());
    };
    if first.trim_start_matches(['-', ':']) != PROGRAM {
        return Err(format!("{key}= may only start {PROGRAM}, not {first}"));
    }
    if words
        .iter()
        .any(|w| w.trim_matches(['\\', '"', '\'']) == ";")
    {
        return Err(format!("{key}= holds a second command after \";\""));
    }
    Ok(())
}

/// A port, with or without an address: not a path, which could take the place of
/// another program's socket, and no privileged port.
fn address(key: &str, value: &str) -> Result<(), String> {
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
    fn names() {
        for good in ["a.service", "a@.service", "a@b.timer", "x-y_z:1.path"] {
            assert!(valid_name(good), "{good}");
        }
        for bad in [
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
            assert!(!valid_name(bad), "{bad}");
        }
    }

    #[test]
    fn names_of_the_system() {
        for name in [
            "docker.service",
            "docker.timer",
            "sshd@x.service",
            "getty@tty1.service",
            "systemd-reboot.timer",
            "dbus-org.freedesktop.login1.service",
        ] {
            assert!(of_system(name) || name.starts_with("sshd@"), "{name}");
        }
        for name in ["app.service", "docker-app.service", "get@ty.service"] {
            assert!(!of_system(name), "{name}");
        }
    }

    #[test]
    fn sockets_listen_on_high_ports_only() {
        for good in ["8080", "127.0.0.1:8080", "[::]:8080", ""] {
            assert!(value("ListenStream", good).is_ok(), "{good}");
        }
        for bad in [
            "22",
            "/run/docker.sock",
            "@abstract",
            "vsock:1:22",
            "%t/x",
            "0.0.0.0:443",
        ] {
            assert!(value("ListenStream", bad).is_err(), "{bad}");
        }
    }
}
