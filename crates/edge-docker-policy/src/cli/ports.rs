//! Parser for ports of `--publish` and `--expose`, alone or as a range.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use anyhow::Result;

use crate::cli::values::bad;
use crate::limits::MAX_PORTS;

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

/// Parses the value of `--publish`, `[[ADDRESS:][HOST_PORT]:]PORT[/PROTOCOL]`, where each
/// port may be a range of as many ports, for example `5000-5010:6000-6010`.
pub(crate) fn ports(option: &str, text: &str) -> Result<Vec<Port>> {
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
    let container = range(container).ok_or_else(error)?;
    let host = match host_port {
        "" => None,
        text => Some(range(text).ok_or_else(error)?),
    };
    if container.len() > MAX_PORTS {
        return Err(bad(option, text, &format!("at most {MAX_PORTS} ports")));
    }
    // Docker lets the engine choose one of several ports of the device for one port of
    // the container; what an app publishes would not be known.
    if host
        .as_ref()
        .is_some_and(|host| host.len() != container.len())
    {
        return Err(bad(
            option,
            text,
            "as many ports on the device as in the container",
        ));
    }
    let first = host.map(|host| *host.start());
    let port = |(number, container): (usize, u16)| Port {
        host_ip: address.into(),
        host_port: first.map_or_else(String::new, |first| {
            (usize::from(first) + number).to_string()
        }),
        container: format!("{container}/{protocol}"),
    };
    Ok(container.enumerate().map(port).collect())
}

/// Parses `PORT` or `FIRST-LAST`.
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    // `parse` alone would accept `+80`, which docker does not.
    let port = |text: &str| {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u16>().ok().filter(|n| digits && *n > 0)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_ranges() {
        let udp = Port {
            host_ip: "127.0.0.1".into(),
            host_port: "8080".into(),
            container: "80/udp".into(),
        };
        assert_eq!(ports("p", "127.0.0.1:8080:80/udp").unwrap(), [udp]);
        assert_eq!(ports("p", "80").unwrap()[0].container, "80/tcp");
        assert_eq!(ports("p", "[::1]:1:2").unwrap()[0].host_ip, "::1");
        let range = ports("p", "50000-50100:60000-60100/udp").unwrap();
        assert_eq!(range.len(), 101);
        assert_eq!(range[100].host_port, "50100");
        assert_eq!(range[100].container, "60100/udp");
        assert_eq!(ports("expose", "65534-65535").unwrap().len(), 2);
        for text in [
            "",
            "0",
            "1-2:1-3",
            "8000-8010:80",
            "x:1:2",
            "1:2:3:4",
            "80/icmp",
            "+1:2",
            "host:80:80",
            "2-1",
            "1-",
            "-1",
            "1-2-3",
            "1-65535:1-65535",
            "65535-65536",
            "0-1",
            "1- 2",
        ] {
            assert!(ports("p", text).is_err(), "{text}");
        }
    }
}
