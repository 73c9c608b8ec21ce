//! Parsers for the values of options: each checks docker's spelling and returns a type of
//! the create body.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use anyhow::Result;

use crate::create_body::{Device, Restart, Ulimit};
use crate::limits::{DEVICE_RIGHTS, RESTART_POLICIES, SECURITY_OPTION, ULIMITS, is_device_rights};
use crate::mounts::{Owner, RequestedMount, has_plain_parts};
use crate::refusal::refuse;

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

/// Parses a size, for example `512m`, `1g` or `65536`, into bytes.
pub(crate) fn bytes(option: &str, text: &str) -> Result<i64> {
    let lower = text.to_ascii_lowercase();
    let number = lower.trim_end_matches("ib").trim_end_matches('b');
    let (digits, factor) = match number.chars().last() {
        Some('k') => (&number[..number.len() - 1], 1 << 10),
        Some('m') => (&number[..number.len() - 1], 1 << 20),
        Some('g') => (&number[..number.len() - 1], 1 << 30),
        _ => (number, 1),
    };
    let value = digits
        .parse::<i64>()
        .ok()
        .filter(|v| *v >= 0)
        // An overflow is an error: a wrapped value would be another limit than the typed
        // one.
        .and_then(|v| v.checked_mul(factor));
    value.ok_or_else(|| bad(option, text, "a size like 512m"))
}

/// Parses a decimal integer within `bounds`, which the error names.
pub fn number(option: &str, text: &str, bounds: RangeInclusive<i64>) -> Result<i64> {
    let value = text.parse::<i64>().ok().filter(|v| bounds.contains(v));
    let (least, most) = (bounds.start(), bounds.end());
    value.ok_or_else(|| bad(option, text, &format!("a number from {least} to {most}")))
}

/// Parses a number of processors, for example `1.5`, into billionths of a processor, the
/// unit of `NanoCpus`.
pub(crate) fn cpus(option: &str, text: &str) -> Result<i64> {
    let value = text
        .parse::<f64>()
        .ok()
        .filter(|v| v.is_finite() && (0.0..=1024.0).contains(v));
    let value = value.ok_or_else(|| bad(option, text, "a number of processors"))?;
    #[expect(clippy::cast_possible_truncation, reason = "at most 1024e9")]
    Ok((value * 1e9) as i64)
}

/// Parses a duration in Go's format, for example `1m30s`, into nanoseconds; units are
/// `ms`, `s`, `m` and `h`.
pub(crate) fn duration(option: &str, text: &str) -> Result<i64> {
    let error = || bad(option, text, "a duration like 1m30s");
    let mut total: i64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
        let amount: i64 = rest[..digits].parse().map_err(|_| error())?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let factor = match &rest[..unit] {
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(error()),
        };
        let part = amount.checked_mul(factor).ok_or_else(error)?;
        total = total.checked_add(part).ok_or_else(error)?;
        rest = &rest[unit..];
    }
    Ok(total)
}

/// Checks an absolute path, in most cases one in the container: not `/`, and without
/// empty parts, `.`, `..` or control characters.
pub(crate) fn inside(option: &str, text: &str) -> Result<String> {
    // A mount at `/` would hide the signed files of the image, and `..` would be resolved
    // by the engine after this check.
    if !text.strip_prefix('/').is_some_and(has_plain_parts) {
        return Err(bad(option, text, "an absolute path inside the container"));
    }
    Ok(text.into())
}

/// Port of a container, and the port of the device that is forwarded to it (`--publish`).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// IP address on the device, or empty for all addresses.
    pub(crate) host_ip: String,
    /// Port on the device, or empty for a port that the engine chooses.
    pub(crate) host_port: String,
    /// Port in the container in the form `PORT/PROTOCOL`, for example `80/tcp`.
    pub(crate) container: String,
}

/// Parses the value of `--publish`, `[[ADDRESS:][HOST_PORT]:]PORT[/PROTOCOL]`.
pub(crate) fn port(option: &str, text: &str) -> Result<Port> {
    let error = || bad(option, text, "a port like 8080:80");
    let (ports, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    if !["tcp", "udp", "sctp"].contains(&protocol) {
        return Err(error());
    }
    let (host, container) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (address, host_port) = host.rsplit_once(':').unwrap_or(("", host));
    let address = address.trim_start_matches('[').trim_end_matches(']');
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        return Err(error());
    }
    // Ranges are refused, so that each port that an app publishes is named. `parse` alone
    // would accept `+80`, which docker does not.
    let digits = |p: &str| p.chars().all(|c| c.is_ascii_digit());
    let is_port = |p: &str| p.parse::<u16>().is_ok_and(|n| n > 0) && digits(p);
    if !is_port(container) || !(host_port.is_empty() || is_port(host_port)) {
        return Err(error());
    }
    Ok(Port {
        host_ip: address.into(),
        host_port: host_port.into(),
        container: format!("{container}/{protocol}"),
    })
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
        target: inside("volume", target)?,
        read_only: mode == "ro",
    })
}

/// Checks an environment variable in the form `KEY=VALUE`. A name alone is refused:
/// docker would pass on the value from the environment of the device.
pub fn environment(text: &str) -> Result<String> {
    match text.split_once('=') {
        Some((key, _)) if !key.is_empty() => Ok(text.into()),
        _ => Err(refuse(format_args!(
            "-e {text:?} is refused: write KEY=VALUE; values of the device are not passed on"
        ))),
    }
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

/// Checks the form of a capability; returns the name in capital letters and without
/// `CAP_`, for example `NET_ADMIN`.
pub(crate) fn capability(text: &str) -> Result<String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let permitted = |c: char| c.is_ascii_uppercase() || c == '_';
    if name.is_empty() || name.len() > 32 || !name.chars().all(permitted) {
        return Err(bad("cap-add", text, "a capability like NET_ADMIN"));
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
    let error = || bad("ulimit", text, "nofile, nproc, core or stack = SOFT[:HARD]");
    let (name, limits) = text.split_once('=').ok_or_else(error)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    if !ULIMITS.contains(&name) {
        return Err(error());
    }
    let number = |t: &str| number("ulimit", t, -1..=i64::MAX);
    Ok(Ulimit {
        name: name.into(),
        soft: number(soft)?,
        hard: number(hard)?,
    })
}

/// Returns whether `text` requests `no-new-privileges`, which every container has anyway.
pub(crate) fn is_security_option(text: &str) -> bool {
    let rest = text.strip_prefix(SECURITY_OPTION);
    rest.is_some_and(|rest| ["", ":true", "=true"].contains(&rest))
}

/// Checks the mount options of a tmpfs, for example `size=64m,noexec`.
pub(crate) fn tmpfs(options: &str) -> Result<String> {
    for option in options.split(',').filter(|o| !o.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let permitted = match key {
            // `suid` and `dev` are refused: by default, docker mounts a tmpfs with
            // `nosuid` and `nodev`.
            "rw" | "ro" | "noexec" | "exec" | "nosuid" | "nodev" => value.is_empty(),
            "size" => bytes("tmpfs", value).is_ok(),
            "mode" | "uid" | "gid" => {
                !value.is_empty() && value.chars().all(|c| c.is_ascii_digit())
            }
            _ => false,
        };
        if !permitted {
            return Err(refuse(format_args!("--tmpfs option {option:?} is refused")));
        }
    }
    Ok(options.into())
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

/// Checks that a list of processors, for example `0-2,4`, has only digits, `,` and `-`.
pub(crate) fn list(option: &str, text: &str) -> Result<String> {
    let permitted = |c: char| c.is_ascii_digit() || ",-".contains(c);
    if text.is_empty() || !text.chars().all(permitted) {
        return Err(bad(option, text, "a list like 0-2,4"));
    }
    Ok(text.into())
}

/// Parses a numeric `USER[:GROUP]`; the group ID is the user ID by default. Returns
/// `None` for names.
pub fn owner(text: &str) -> Option<Owner> {
    // A name would have to be looked up in `/etc/passwd` of the container image.
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    Some(Owner {
        user: user.parse().ok()?,
        group: group.parse().ok()?,
    })
}

/// Returns the refusal of a malformed value of `--option`; `wanted` describes a valid
/// one.
pub fn bad(option: &str, text: &str, wanted: &str) -> anyhow::Error {
    refuse(format_args!("--{option} {text:?}: must be {wanted}"))
}

#[cfg(test)]
mod tests;
