//! Rules for the names of units in `/data/services`, and for the units of the device
//! image that they may name.

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
}
