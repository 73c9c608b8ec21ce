//! Paths of the device that containers may mount without being root on it.

use std::borrow::Cow;

use super::devices;

/// Harmless paths, also writable. `*` stands for a part of a path or for the rest of one,
/// `**` at the end for one part or more.
///
/// Of sockets, these are the ones whose service neither starts programs nor opens files
/// for its clients. Of `/sys`, they are attributes of simple devices; what is below
/// `device` is a link to a bus, where drivers are exchanged.
const WRITABLE: [&str; 30] = [
    // Directory for filtered buses, one for an app: see `docs/security.md`.
    "/run/edge-bus/**",
    "/run/avahi-daemon/socket",
    "/run/gpsd.sock",
    "/run/pcscd/pcscd.comm",
    "/run/pulse/native",
    "/run/user/*/pulse/native",
    "/run/user/*/pipewire-*",
    "/run/user/*/wayland-*",
    "/tmp/.X11-unix",
    "/tmp/.X11-unix/*",
    "/tmp/argus_socket",
    "/tmp/camsock",
    "/tmp/nvscsock",
    "/run/media/**",
    "/media/**",
    "/mnt/**",
    "/srv/**",
    "/sys/class/backlight",
    "/sys/class/backlight/*",
    "/sys/class/gpio",
    "/sys/class/gpio/*",
    "/sys/class/hwmon",
    "/sys/class/hwmon/*",
    "/sys/class/leds",
    "/sys/class/leds/*",
    "/sys/class/leds/*/brightness",
    "/sys/class/pwm",
    "/sys/class/pwm/*",
    "/sys/class/thermal",
    "/sys/class/thermal/*",
];
/// Paths that are harmless if they are mounted read-only: public files of the device image
/// and descriptions of the hardware.
const READ_ONLY: [&str; 27] = [
    "/etc/asound.conf",
    "/etc/ca-certificates",
    "/etc/edge-ai/ca",
    "/etc/enctune.conf",
    "/etc/hostname",
    "/etc/localtime",
    "/etc/machine-id",
    "/etc/nv_tegra_release",
    "/etc/os-release",
    "/etc/ssl/certs",
    "/etc/timezone",
    "/opt/**",
    "/proc/device-tree",
    "/proc/device-tree/**",
    "/run/udev/data",
    "/sys/bus",
    "/sys/bus/**",
    "/sys/class",
    "/sys/class/**",
    "/sys/devices",
    "/sys/devices/**",
    "/sys/firmware/devicetree/**",
    "/tmp/nv_jetson_model",
    "/usr/lib/**",
    "/usr/local/cuda",
    "/usr/local/cuda**",
    "/usr/share/**",
];
/// Reasons for the other paths, by directory; the first that fits holds.
const REASONS: [(&str, &str); 11] = [
    (
        "/proc",
        "which shows and changes processes and settings of the kernel",
    ),
    (
        "/sys",
        "which changes settings of the kernel and its drivers",
    ),
    (
        "/run",
        "where services of the device take commands: a socket works in a read-only mount, too",
    ),
    (
        "/data",
        "where the engine and all apps keep their data, and where apps can put links",
    ),
    (
        "/etc",
        "which holds accounts, keys and settings of the device",
    ),
    ("/usr", "which holds the programs of the device"),
    ("/boot", "from which the device starts"),
    ("/root", "which is the home of root"),
    ("/home", "which holds the keys of engineers"),
    ("/var", "which holds the state of the device's services"),
    ("/tmp", "which programs of root use"),
];

/// Returns why a mount of `source` amounts to root, `None` for a harmless path.
pub(super) fn reason(source: &str, read_only: bool) -> Option<&'static str> {
    let path = real(source);
    if path == "/dev" {
        return Some("which holds every device");
    }
    if path.starts_with("/dev/") {
        return devices::reason(&path);
    }
    let fits = |patterns: &[&str]| patterns.iter().any(|pattern| is_match(&path, pattern));
    if fits(&WRITABLE) || (read_only && fits(&READ_ONLY)) {
        return None;
    }
    let inside = |directory: &str| {
        let rest = path.strip_prefix(directory);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let found = REASONS.iter().find(|(directory, _)| inside(directory));
    Some(found.map_or("which is not on the list of harmless paths", |(_, why)| why))
}

/// Returns the path with links of a usual Linux system resolved in its first directories.
pub(super) fn real(path: &str) -> Cow<'_, str> {
    for (link, directory) in [
        ("/var/run", "/run"),
        ("/var/lock", "/run/lock"),
        ("/lib64", "/usr/lib64"),
        ("/lib", "/usr/lib"),
        ("/bin", "/usr/bin"),
        ("/sbin", "/usr/sbin"),
    ] {
        let rest = path.strip_prefix(link);
        if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Cow::Owned(format!("{directory}{rest}"));
        }
    }
    Cow::Borrowed(path)
}

/// Returns whether a path fits a pattern of [`WRITABLE`].
fn is_match(path: &str, pattern: &str) -> bool {
    if let Some(stem) = pattern.strip_suffix("**") {
        return path.len() > stem.len() && path.starts_with(stem);
    }
    let (path, pattern) = (path.split('/'), pattern.split('/'));
    path.clone().count() == pattern.clone().count()
        && path
            .zip(pattern)
            .all(|(part, pattern)| match pattern.strip_suffix('*') {
                Some(stem) => part.starts_with(stem) && !is_link_name(part),
                None => part == pattern,
            })
}

/// Returns whether the files of a device in `/sys` have a link of this name to others.
fn is_link_name(part: &str) -> bool {
    ["device", "driver", "subsystem"].contains(&part)
}
