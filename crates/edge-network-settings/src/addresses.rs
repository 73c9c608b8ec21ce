//! Address with a prefix length.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Address with the length of its prefix, for example `192.168.1.5/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Address, which may have host bits.
    pub address: IpAddr,
    /// Length of the prefix in bits.
    pub prefix: u8,
}

impl Subnet {
    /// Returns the number of bits of an address of this family.
    fn bits(address: IpAddr) -> u8 {
        if address.is_ipv4() { 32 } else { 128 }
    }

    fn number(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        }
    }

    fn host_mask(self) -> u128 {
        let host_bits = u32::from(Self::bits(self.address) - self.prefix);
        1_u128
            .checked_shl(host_bits)
            .map_or(u128::MAX, |bit| bit - 1)
    }

    /// Returns whether the address has bits behind the prefix.
    pub(crate) fn has_host_bits(self) -> bool {
        Self::number(self.address) & self.host_mask() != 0
    }

    /// Returns whether the address is the broadcast address of its network.
    pub(crate) fn is_broadcast(self) -> bool {
        let host = Self::number(self.address) & self.host_mask();
        self.address.is_ipv4() && self.prefix < 31 && host == self.host_mask()
    }

    /// Returns whether the address is that of the network itself.
    pub(crate) fn is_network(self) -> bool {
        self.prefix < 31 && self.address.is_ipv4() && !self.has_host_bits()
    }

    /// Returns whether `other` is in the network.
    pub(crate) fn contains(self, other: IpAddr) -> bool {
        let same_family = self.address.is_ipv4() == other.is_ipv4();
        let differs = Self::number(self.address) ^ Self::number(other);
        same_family && differs & !self.host_mask() == 0
    }

    /// Returns whether two networks have an address in common.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not ADDRESS/PREFIX, for example 192.168.1.5/24");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let is_number = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|_| is_number);
        let prefix = prefix
            .filter(|p| *p <= Self::bits(address))
            .ok_or_else(wrong)?;
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Serialize for Subnet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subnet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
