//! Parsers for the values of options: each checks docker's spelling and returns a type of
//! the create body.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use anyhow::Result;

use edge_signature::reserved_suffix;

use crate::create_body::{Device, Restart, Ulimit};
use crate::limits::{
    ALL_CAPABILITIES, CAPABILITIES, DEVICE_RIGHTS, MAX_HOSTNAME_BYTES, MAX_PATH_BYTES,
    RESTART_POLICIES, SECURITY_OPTION, ULIMITS, is_device_rights,
};
use crate::mounts::{RequestedMount, has_plain_parts};
use crate::refusal::refuse;

/// Names of signals, without `SIG`.
const SIGNALS: [&str; 33] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "RTMAX", "RTMIN", "SEGV", "STKFLT", "STOP", "SYS",
    "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "WINCH",
];

/// Checks the name of a container, host or network: at most 128 ASCII letters, digits,
/// `_`, `.` and `-`, the first a letter or digit.
pub fn name(option: &str, text: &str) -> Result<String> {
    let permitted = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let first = text
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphanumeric());
    if !first || text.len() > 128 || !text.chars().all(permitted) {
        return Err(bad(option, text, "a name: letters, digits, _ . -"));
    }
    Ok(text.into())
}

/// Checks the name of a new container: a [`name`] that ends in no suffix which is reserved
/// for deployments.
pub(crate) fn container_name(option: &str, text: &str) -> Result<String> {
    match reserved_suffix(text) {
        Some(suffix) => Err(refuse(format_args!(
            "--{option} {text} is refused: names ending in {suffix} are reserved for deployments"
        ))),
        None => name(option, text),
    }
}

/// Parses a decimal integer within `bounds`, which the error names.
pub fn number(option: &str, text: &str, bounds: RangeInclusive<i64>) -> Result<i64> {
    // `parse` alone would accept `+5`, which docker does not.
    let value = text.parse::<i64>().ok();
    let value = value.filter(|v| bounds.contains(v) && !text.starts_with('+'));
    let (least, most) = (bounds.start(), bounds.end());
    value.ok_or_else(|| bad(option, text, &format!("a number from {least} to {most}")))
}

/// Checks an absolute path, in most cases one in the container: not `/`, and without
/// empty parts, `.`, `..` or control characters.
pub(crate) fn inside(option: &str, text: &str) -> Result<String> {
    // A mount at `/` would hide the signed files of the image, and `..` would be resolved
    // by the engine after this check.
    let plain = text.strip_prefix('/').is_some_and(has_plain_parts);
    if !plain || text.len() > MAX_PATH_BYTES {
        return Err(bad(option, text, "an absolute path inside the container"));
    }
    Ok(text.into())
}

/// Checks the target of a mount: an absolute path in the container that is not below
/// `/proc`, where a mount would hide or expose files of the kernel.
pub(crate) fn target(option: &str, text: &str) -> Result<String> {
    let path = inside(option, text)?;
    if is_in(&path, "/proc") {
        return Err(bad(
            option,
            text,
            "an absolute path inside the container, not in /proc",
        ));
    }
    Ok(path)
}

/// Checks a working directory. Directories in `/proc`, `/sys` and `/dev` are refused: the
/// runtime enters the directory while it still has files of the device open, which
/// `/proc/self/fd` leads to (CVE-2024-21626).
pub fn workdir(option: &str, text: &str) -> Result<String> {
    if text == "/" {
        return Ok(text.into());
    }
    let path = inside(option, text.strip_suffix('/').unwrap_or(text))?;
    if ["/proc", "/sys", "/dev"]
        .iter()
        .any(|top| is_in(&path, top))
    {
        let wanted = "an absolute path inside the container, not in /proc, /sys or /dev";
        return Err(bad(option, text, wanted));
    }
    Ok(text.into())
}

fn is_in(path: &str, directory: &str) -> bool {
    let rest = path.strip_prefix(directory);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Checks a host name, which the kernel limits to 64 bytes.
pub(crate) fn hostname(option: &str, text: &str) -> Result<String> {
    if text.len() > MAX_HOSTNAME_BYTES {
        return Err(bad(option, text, "a name of at most 64 characters"));
    }
    name(option, text)
}

/// Checks a signal: its number, or its name with or without `SIG`, for example `SIGINT`
/// or `RTMIN+3`.
pub(crate) fn signal(option: &str, text: &str) -> Result<String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = ["RTMIN+", "RTMAX-"]
        .iter()
        .find_map(|p| name.strip_prefix(p));
    let known = SIGNALS.contains(&name)
        || real_time.is_some_and(|n| number(option, n, 1..=15).is_ok())
        || number(option, name, 1..=64).is_ok();
    if !known {
        return Err(bad(option, text, "a signal like SIGINT"));
    }
    Ok(text.into())
}

/// Parses the value of `--add-host`, `NAME:ADDRESS` or `NAME=ADDRESS`, where
/// `host-gateway` is the device's address in the container's network.
pub(crate) fn extra_host(option: &str, text: &str) -> Result<String> {
    let wanted = "NAME:ADDRESS, with an address outside of 127.0.0.0/8";
    let error = || bad(option, text, wanted);
    let (host, address) = text.split_once([':', '=']).ok_or_else(error)?;
    name(option, host)?;
    if address == "host-gateway" {
        return Ok(format!("{host}:{address}"));
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
    let ip: IpAddr = bare.unwrap_or(address).parse().map_err(|_| error())?;
    let ip = ip.to_canonical();
    // A name of the loopback interface could be taken for one of the device by programs
    // that share its network.
    if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() {
        return Err(error());
    }
    Ok(format!("{host}:{ip}"))
}

/// Parses the value of `--volume`, `SOURCE:TARGET[:ro]` (or `:rw`); the source is judged
/// later by the policy.
pub(crate) fn volume(text: &str) -> Result<RequestedMount> {
    let parts: Vec<_> = text.split(':').collect();
    let (source, target, mode) = match parts[..] {
        [source, target] => (source, target, "rw"),
        [source, target, mode] => (source, target, mode),
        _ => {
            return Err(refuse(format_args!(
                "-v {text:?} is refused: only SOURCE:TARGET[:ro]"
            )));
        }
    };
    // Other modes relabel files of the device (`z`) or change the propagation of mounts
    // (`rshared`).
    if !["rw", "ro"].contains(&mode) {
        return Err(refuse(format_args!(
            "-v {text:?} is refused: the mode is ro or rw"
        )));
    }
    Ok(RequestedMount {
        source: source.into(),
        target: self::target("volume", target)?,
        read_only: mode == "ro",
    })
}

/// Checks an environment variable in the form `KEY=VALUE`. A name alone is refused:
/// docker would pass on the value from the environment of the device.
pub fn environment(text: &str) -> Result<String> {
    let Some((key, _)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
        return Err(refuse(format_args!(
            "-e {text:?} is refused: write KEY=VALUE; values of the device are not passed on"
        )));
    };
    // The runtime sets the variables in its own process before it becomes the container's.
    let plain = key.bytes().all(|b| b.is_ascii_graphic()) && key.len() <= 256;
    if !plain {
        return Err(bad(
            "env",
            key,
            "a name without spaces and control characters",
        ));
    }
    Ok(text.into())
}

/// Checks the value of `--network`, the name of a network; refuses docker's other forms,
/// for example `container:NAME`.
pub(crate) fn network(text: &str) -> Result<String> {
    // `container:NAME` and `ns:PATH` would join a network namespace of another program,
    // and `name=host` is another spelling of `host`.
    if text.contains([':', '=']) {
        return Err(refuse(format_args!(
            "--network {text} is refused: only bridge, none, or a network of your own"
        )));
    }
    name("network", text)
}

/// Parses the value of `--device`, `PATH[:PATH_INSIDE][:rwm]`, with absolute paths.
pub(crate) fn device(text: &str) -> Result<Device> {
    let error = || bad("device", text, "PATH[:PATH_INSIDE][:rwm]");
    let parts: Vec<_> = text.split(':').collect();
    let (outside, within, permissions) = match parts[..] {
        [path] => (path, path, DEVICE_RIGHTS),
        [path, p] if is_device_rights(p) => (path, path, p),
        [path, within] => (path, within, DEVICE_RIGHTS),
        [path, within, p] if is_device_rights(p) => (path, within, p),
        _ => return Err(error()),
    };
    Ok(Device {
        path_on_host: inside("device", outside)?,
        path_in_container: inside("device", within)?,
        cgroup_permissions: permissions.into(),
    })
}

/// Checks the full name of a device of the Container Device Interface,
/// `VENDOR/CLASS=NAME`.
pub(crate) fn cdi(text: &str) -> Result<String> {
    let permitted = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        !part.is_empty() && part.chars().all(plain)
    };
    let parts = text
        .split_once('=')
        .and_then(|(kind, name)| Some((kind.split_once('/')?, name)));
    match parts {
        Some(((vendor, class), name))
            if permitted(vendor) && permitted(class) && permitted(name) =>
        {
            Ok(text.into())
        }
        _ => Err(bad("device", text, "a path, or VENDOR/CLASS=NAME")),
    }
}

/// Checks the name of a capability, or `ALL`; returns it in capital letters and without
/// `CAP_`, for example `NET_ADMIN`.
pub(crate) fn capability(option: &str, text: &str) -> Result<String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if name != ALL_CAPABILITIES && !CAPABILITIES.contains(&name) {
        return Err(bad(option, text, "a capability like NET_ADMIN"));
    }
    Ok(name.into())
}

/// Parses the value of `--sysctl`, `NAME=VALUE` of a kernel parameter.
pub(crate) fn sysctl(text: &str) -> Result<(String, String)> {
    let permitted = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    match text.split_once('=') {
        // A slash is refused, because the name becomes a path below /proc/sys.
        Some((name, value)) if !name.is_empty() && name.chars().all(permitted) => {
            Ok((name.into(), value.into()))
        }
        _ => Err(bad("sysctl", text, "NAME=VALUE")),
    }
}

/// Parses an IPv4 or IPv6 address; returns its canonical text form.
pub(crate) fn address(option: &str, text: &str) -> Result<String> {
    text.parse::<IpAddr>()
        .map(|a| a.to_string())
        .map_err(|_| bad(option, text, "an address"))
}

/// Parses a restart policy, for example `always` or `on-failure:3`.
pub(crate) fn restart(text: &str) -> Result<Restart> {
    let (name, count) = text
        .split_once(':')
        .map_or((text, None), |(n, c)| (n, Some(c)));
    let known = RESTART_POLICIES.contains(&name);
    let maximum_retry_count = match count {
        Some(count) if name == "on-failure" => number("restart", count, 0..=1000)?,
        None if known => 0,
        _ => {
            return Err(bad(
                "restart",
                text,
                "no, always, unless-stopped or on-failure[:N]",
            ));
        }
    };
    Ok(Restart {
        name: name.into(),
        maximum_retry_count,
    })
}

/// Parses the value of `--ulimit`, `NAME=SOFT[:HARD]`; the hard limit is the soft one by
/// default, and -1 is unlimited.
pub(crate) fn ulimit(text: &str) -> Result<Ulimit> {
    let wanted = format!("{} = SOFT[:HARD]", ULIMITS.join(", "));
    let error = || bad("ulimit", text, &wanted);
    let (name, limits) = text.split_once('=').ok_or_else(error)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    if !ULIMITS.contains(&name) {
        return Err(error());
    }
    let number = |t: &str| number("ulimit", t, -1..=i64::MAX).map_err(|_| error());
    let (soft, hard) = (number(soft)?, number(hard)?);
    let unlimited = |limit: i64| if limit == -1 { i64::MAX } else { limit };
    if unlimited(soft) > unlimited(hard) {
        return Err(bad("ulimit", text, "a soft limit up to the hard one"));
    }
    Ok(Ulimit {
        name: name.into(),
        soft,
        hard,
    })
}

/// Returns whether `text` requests `no-new-privileges`, which every container has anyway.
pub(crate) fn is_security_option(text: &str) -> bool {
    let rest = text.strip_prefix(SECURITY_OPTION);
    rest.is_some_and(|rest| ["", ":true", "=true"].contains(&rest))
}

/// Checks that a value consists of 1 to 128 ASCII letters, digits and `_.-:+`, so that it
/// contains no space, quote or slash.
pub(crate) fn plain(option: &str, text: &str) -> Result<String> {
    let permitted = |c: char| c.is_ascii_alphanumeric() || "_.-:+".contains(c);
    if text.is_empty() || text.len() > 128 || !text.chars().all(permitted) {
        return Err(bad(option, text, "letters, digits, _ . - : +"));
    }
    Ok(text.into())
}

/// Returns the refusal of a malformed value of `--option`; `wanted` describes a valid
/// one.
pub fn bad(option: &str, text: &str, wanted: &str) -> anyhow::Error {
    refuse(format_args!("--{option} {text:?}: must be {wanted}"))
}

#[cfg(test)]
mod tests;
