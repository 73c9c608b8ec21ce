//! Addresses, ranges and keys as they stand in files.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub address: IpAddr,
    /// Bits that all of them share.
    pub prefix: u8,
}

impl Range {
    /// One address alone.
    pub fn host(address: IpAddr) -> Self {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix }
    }

    /// Is all of `other` in here?
    pub fn holds(&self, other: &Self) -> bool {
        self.address.is_ipv4() == other.address.is_ipv4()
            && other.prefix >= self.prefix
            && masked(other.address, self.prefix) == self.address
    }

    /// Is this one address in here?
    pub fn has(&self, address: IpAddr) -> bool {
        self.holds(&Self::host(address))
    }

    /// The address that belongs to `public_key` in an IPv6 range that leaves 64
    /// bits or more; nothing in others, where two keys could meet.
    pub fn address_of(&self, public_key: &str) -> Option<IpAddr> {
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
        let most = Self::host(address).prefix;
        let digits = prefix.len() <= 3 && prefix.chars().all(|c| c.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|p| digits && *p <= most);
        let prefix = prefix.with_context(|| format!("the prefix is not 0..={most}"))?;
        if masked(address, prefix) != address {
            bail!("bits are set behind the prefix");
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

/// A key of WireGuard: 32 bytes in base64, in the one way to write them.
pub fn valid_key(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "+/".contains(c);
    let body = text.strip_suffix('=').filter(|b| b.len() == 43);
    // The last letter holds four bits, so its two lowest are none.
    let last = |b: &str| b.ends_with(|c| "AEIMQUYcgkosw048".contains(c));
    body.is_some_and(|b| b.chars().all(good) && last(b))
}

/// `HOST:PORT` or `[ADDRESS]:PORT`.
pub fn endpoint(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let digits = port.chars().all(|c| c.is_ascii_digit());
    let port = port.parse().ok().filter(|p| digits && *p > 0)?;
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    match inner {
        Some(address) => address.parse::<Ipv6Addr>().ok().map(|_| (address, port)),
        None => valid_name(host).then_some((host, port)),
    }
}

/// A host name: nothing that could be an option or more than a name.
pub fn valid_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    (1..=253).contains(&name.len()) && !name.starts_with(['.', '-']) && name.chars().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        text.parse().unwrap()
    }

    #[test]
    fn ranges() {
        for bad in [
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
            assert!(bad.parse::<Range>().is_err(), "{bad}");
        }
        let net = range("10.77.0.0/16");
        assert!(net.holds(&range("10.77.3.0/24")) && net.holds(&net));
        assert!(!net.holds(&range("10.0.0.0/8")) && !net.holds(&range("0.0.0.0/0")));
        assert!(!net.holds(&range("fd00::/64")) && !net.has("10.78.0.1".parse().unwrap()));
        assert!(range("0.0.0.0/0").holds(&net));
        assert_eq!(range("fd00::/8").to_string(), "fd00::/8");
    }

    #[test]
    fn addresses_follow_from_keys() {
        let net = range("fd12:3456:789a::/64");
        let (one, two) = (net.address_of("a").unwrap(), net.address_of("b").unwrap());
        assert!(one != two && net.has(one) && net.has(two));
        assert_eq!(net.address_of("a"), Some(one));
        assert_eq!(range("10.0.0.0/8").address_of("a"), None);
        assert_eq!(range("fd00::/96").address_of("a"), None);
    }

    #[test]
    fn keys_and_endpoints() {
        assert!(valid_key("xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="));
        for bad in [
            "",
            "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg",
            "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dh=",
            "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8D =",
            "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg==",
        ] {
            assert!(!valid_key(bad), "{bad}");
        }
        assert_eq!(endpoint("hub.example:51820"), Some(("hub.example", 51820)));
        assert_eq!(endpoint("[fd00::1]:1"), Some(("fd00::1", 1)));
        for bad in [
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
            assert_eq!(endpoint(bad), None, "{bad}");
        }
    }
}
