//! Parsing and validation of address ranges, WireGuard keys, endpoints and host names
//! in configuration files.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

/// Range of IP addresses in CIDR notation, for example `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    /// First address of the range, with all host bits 0.
    pub address: IpAddr,
    /// Prefix length: the number of leading bits that all addresses of the range share.
    pub prefix: u8,
}

impl Range {
    /// Returns the range of a single address.
    pub(crate) fn host(address: IpAddr) -> Self {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix }
    }

    /// Returns whether all addresses of `other` are in this range.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        self.address.is_ipv4() == other.address.is_ipv4()
            && other.prefix >= self.prefix
            && masked(other.address, self.prefix) == self.address
    }

    /// Returns whether an address is in both ranges.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.contains(other) || other.contains(self)
    }

    /// Returns whether `address` is in this range. An IPv4 address is never in an IPv6
    /// range.
    pub(crate) fn contains_address(&self, address: IpAddr) -> bool {
        self.contains(&Self::host(address))
    }

    /// Returns an address that is derived from the hash of `public_key`, so that device
    /// and hub calculate the same address without a registry. Returns `None` unless
    /// this is an IPv6 range with at least 64 host bits: in a smaller range two keys
    /// could have the same address.
    pub(crate) fn address_of(&self, public_key: &str) -> Option<IpAddr> {
        let IpAddr::V6(first) = self.address else {
            return None;
        };
        let hash = Sha256::digest(public_key);
        let low = hash
            .iter()
            .take(8)
            .fold(0u64, |n, b| n << 8 | u64::from(*b));
        let address = Ipv6Addr::from(u128::from(first) | u128::from(low));
        (self.prefix <= 64).then_some(IpAddr::V6(address))
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(a) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((u32::from(a) & mask).into())
        }
        IpAddr::V6(a) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((u128::from(a) & mask).into())
        }
    }
}

impl FromStr for Range {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (address, prefix) = text.split_once('/').context("no /PREFIX")?;
        let address: IpAddr = address.parse().context("not an address")?;
        let longest = Self::host(address).prefix;
        let digits = prefix.len() <= 3 && prefix.chars().all(|c| c.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|p| digits && *p <= longest);
        let prefix = prefix.with_context(|| format!("the prefix is not 0..={longest}"))?;
        // `10.0.0.1/8` is probably a mistake: either `10.0.0.0/8` or `10.0.0.1/32` was
        // meant.
        if masked(address, prefix) != address {
            bail!("host bits are set");
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let parsed = text.parse();
        parsed.map_err(|e: Error| serde::de::Error::custom(format!("{text:?}: {e:#}")))
    }
}

/// Reads the address of this device, as `ADDRESS` or, as in a `.conf` of wg-quick,
/// `ADDRESS/PREFIX`. What is routed into the VPN is [`crate::config::Wireguard::range`].
pub(crate) fn own_address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<IpAddr>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else {
        return Ok(None);
    };
    let (address, prefix) = text.split_once('/').unwrap_or((&text, "0"));
    let parsed = address.parse().ok().filter(|address: &IpAddr| {
        let digits = prefix.len() <= 3 && prefix.chars().all(|c| c.is_ascii_digit());
        let longest = Range::host(*address).prefix;
        digits && prefix.parse::<u8>().is_ok_and(|p| p <= longest)
    });
    let invalid = || format!("{text:?} is not ADDRESS or ADDRESS/PREFIX, one of them");
    parsed
        .map(Some)
        .ok_or_else(|| serde::de::Error::custom(invalid()))
}

/// Returns whether `text` is a WireGuard key: 32 bytes in canonical Base64, so that
/// equal keys are equal strings.
pub(crate) fn valid_key(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+/".contains(c);
    let body = text.strip_suffix('=').filter(|b| b.len() == 43);
    // Of the six bits of the last character only four belong to the key; the others
    // must be 0.
    let last = |b: &str| b.ends_with(|c| "AEIMQUYcgkosw048".contains(c));
    body.is_some_and(|b| b.chars().all(allowed) && last(b))
}

/// Parses an endpoint, `HOST:PORT` or `[IPV6-ADDRESS]:PORT`, into host and port.
pub(crate) fn endpoint(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let digits = port.chars().all(|c| c.is_ascii_digit());
    let port = port.parse().ok().filter(|p| digits && *p > 0)?;
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    match inner {
        Some(address) => address.parse::<Ipv6Addr>().ok().map(|_| (address, port)),
        None => valid_name(host).then_some((host, port)),
    }
}

/// Returns whether `name` is a host name or an IPv4 address. A leading `-` is rejected,
/// so that the name is never read as an option of a command.
pub(crate) fn valid_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    (1..=253).contains(&name.len()) && !name.starts_with(['.', '-']) && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_are_parsed_strictly_and_contain_others() {
        for invalid in [
            "",
            "10.0.0.0",
            "10.0.0.1/24",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "fd00::/129",
            "x/8",
            "10.0.0.0/8/8",
            "10.0.0.0/0008",
        ] {
            assert!(invalid.parse::<Range>().is_err(), "{invalid}");
        }
        let net = range("10.77.0.0/16");
        assert!(net.contains(&range("10.77.3.0/24")) && net.contains(&net));
        assert!(!net.contains(&range("10.0.0.0/8")) && !net.contains(&range("0.0.0.0/0")));
        assert!(
            !net.contains(&range("fd00::/64"))
                && !net.contains_address("10.78.0.1".parse().unwrap())
        );
        assert!(range("0.0.0.0/0").contains(&net));
        let part = range("10.77.3.0/24");
        assert!(net.overlaps(&part) && part.overlaps(&net) && net.overlaps(&net));
        assert!(!part.overlaps(&range("10.77.4.0/24")) && !net.overlaps(&range("::/0")));
        assert_eq!(range("fd00::/8").to_string(), "fd00::/8");
    }

    #[test]
    fn addresses_are_derived_from_keys() {
        let net = range("fd12:3456:789a::/64");
        let (one, two) = (net.address_of("a").unwrap(), net.address_of("b").unwrap());
        assert!(one != two && net.contains_address(one) && net.contains_address(two));
        assert_eq!(net.address_of("a"), Some(one));
        assert_eq!(range("10.0.0.0/8").address_of("a"), None);
        assert_eq!(range("fd00::/96").address_of("a"), None);
    }

    #[test]
    fn keys_and_endpoints_are_validated() {
        assert!(valid_key("xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="));
        for invalid in [
            "",
            "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg",
            "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dh=",
            "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8D =",
            "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg==",
        ] {
            assert!(!valid_key(invalid), "{invalid}");
        }
        assert_eq!(endpoint("hub.example:51820"), Some(("hub.example", 51820)));
        assert_eq!(endpoint("[fd00::1]:1"), Some(("fd00::1", 1)));
        for invalid in [
            "hub",
            "hub:0",
            "hub:65536",
            "-x:1",
            "a b:1",
            "[x]:1",
            "fd00::1:1",
            ":1",
            "a:+1",
        ] {
            assert_eq!(endpoint(invalid), None, "{invalid}");
        }
    }
}
