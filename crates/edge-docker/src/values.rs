//! Values of options: from docker's spelling to checked types.

use anyhow::Result;

use crate::refuse;

/// A name as docker takes it for containers and networks.
pub fn name(option: &str, text: &str) -> Result<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let first = text
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphanumeric());
    if !first || text.len() > 128 || !text.chars().all(good) {
        return Err(bad(option, text, "a name: letters, digits, _ . -"));
    }
    Ok(text.into())
}

/// Bytes: `512m`, `1g`, `65536`.
pub fn bytes(option: &str, text: &str) -> Result<i64> {
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
        .and_then(|v| v.checked_mul(factor));
    value.ok_or_else(|| bad(option, text, "a size like 512m"))
}

/// A whole number within bounds.
pub fn number(option: &str, text: &str, least: i64, most: i64) -> Result<i64> {
    let value = text
        .parse::<i64>()
        .ok()
        .filter(|v| (least..=most).contains(v));
    value.ok_or_else(|| bad(option, text, &format!("a number from {least} to {most}")))
}

/// `1.5` processors as billionths.
pub fn cpus(option: &str, text: &str) -> Result<i64> {
    let value = text
        .parse::<f64>()
        .ok()
        .filter(|v| v.is_finite() && (0.0..=1024.0).contains(v));
    let value = value.ok_or_else(|| bad(option, text, "a number of processors"))?;
    #[expect(clippy::cast_possible_truncation, reason = "at most 1024e9")]
    Ok((value * 1e9) as i64)
}

/// Go's duration, `1m30s`, in nanoseconds.
pub fn duration(option: &str, text: &str) -> Result<i64> {
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

/// An absolute path inside a container, without `..`, other than `/`.
pub fn inside(option: &str, text: &str) -> Result<String> {
    let parts_good = text
        .split('/')
        .skip(1)
        .all(|p| !matches!(p, "" | "." | ".."));
    if !text.starts_with('/') || text == "/" || !parts_good || text.contains(char::is_control) {
        return Err(bad(option, text, "an absolute path inside the container"));
    }
    Ok(text.into())
}

/// `[ADDRESS:][HOST:]CONTAINER[/PROTOCOL]`: (address, host port, port/protocol).
pub fn port(option: &str, text: &str) -> Result<(String, String, String)> {
    let error = || bad(option, text, "a port like 8080:80");
    let (places, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    if !["tcp", "udp", "sctp"].contains(&protocol) {
        return Err(error());
    }
    let (outer, container) = places
        .rsplit_once(':')
        .map_or(("", places), |(o, c)| (o, c));
    let (address, host) = outer.rsplit_once(':').map_or(("", outer), |(a, h)| (a, h));
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    if !bare.is_empty() && bare.parse::<std::net::IpAddr>().is_err() {
        return Err(error());
    }
    let one =
        |p: &str| p.parse::<u16>().is_ok_and(|n| n > 0) && p.chars().all(|c| c.is_ascii_digit());
    if !one(container) || !(host.is_empty() || one(host)) {
        return Err(error());
    }
    Ok((bare.into(), host.into(), format!("{container}/{protocol}")))
}

/// The error for a value of the wrong form.
pub fn bad(option: &str, text: &str, wanted: &str) -> anyhow::Error {
    refuse(format_args!("--{option} {text:?}: must be {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_values() {
        assert_eq!(bytes("m", "512m").unwrap(), 512 << 20);
        assert_eq!(bytes("m", "1GiB").unwrap(), 1 << 30);
        assert_eq!(duration("d", "1m30s").unwrap(), 90_000_000_000);
        assert_eq!(cpus("c", "1.5").unwrap(), 1_500_000_000);
        assert_eq!(
            port("p", "127.0.0.1:8080:80/udp").unwrap(),
            ("127.0.0.1".into(), "8080".into(), "80/udp".into())
        );
        assert_eq!(port("p", "80").unwrap().2, "80/tcp");
        assert_eq!(port("p", "[::1]:1:2").unwrap().0, "::1");
    }

    #[test]
    fn bad_values() {
        for text in ["", "m", "-1", "1x", "9999999999g"] {
            assert!(bytes("m", text).is_err(), "{text}");
        }
        for text in ["/", "", "a", "/a/../b", "/a//b", "/a/.", "/a\n"] {
            assert!(inside("v", text).is_err(), "{text}");
        }
        for text in [
            "",
            "0",
            "1-2:1-2",
            "x:1:2",
            "1:2:3:4",
            "80/icmp",
            "+1:2",
            "host:80:80",
        ] {
            assert!(port("p", text).is_err(), "{text}");
        }
        for text in ["1", "s", "1d", "99999999999h"] {
            assert!(duration("d", text).is_err(), "{text}");
        }
        assert!(cpus("c", "NaN").is_err() && name("n", "-a").is_err() && name("n", "a/b").is_err());
    }
}
