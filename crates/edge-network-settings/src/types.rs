//! Types of network settings, as the file has them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::addresses::Subnet;

/// Network settings of a device, all of them: what is absent is automatic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Interfaces with settings of their own. Any other wired interface is configured by
    /// DHCP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// HTTP proxy for the connection to the cloud, `http://HOST:PORT`, in the place of the
    /// image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// NTP servers that are asked beside those of the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ntp: Vec<String>,
}

/// Settings of one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Name of the interface, for example `eth0`.
    pub name: String,
    /// Kind of the interface.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Wireless network; present for `wifi` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wifi: Option<Wifi>,
    /// MTU in bytes; the driver's without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Settings of IPv4.
    #[serde(default)]
    pub ipv4: Ip,
    /// Settings of IPv6.
    #[serde(default)]
    pub ipv6: Ip,
}

/// Kind of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Ethernet.
    Wired,
    /// Wireless network.
    Wifi,
}

/// Wireless network.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wifi {
    /// Name of the network.
    pub ssid: String,
    /// Protection of the network.
    pub security: Security,
    /// Password, or 64 hex digits with `wpa-psk`; absent for an open network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

impl std::fmt::Debug for Wifi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Wifi");
        let shown = shown
            .field("ssid", &self.ssid)
            .field("security", &self.security);
        shown.finish_non_exhaustive()
    }
}

/// Protection of a wireless network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Security {
    /// WPA2 with a pre-shared key.
    WpaPsk,
    /// WPA3.
    Sae,
    /// None.
    Open,
}

/// Settings of one family of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ip {
    /// Origin of the addresses.
    #[serde(default)]
    pub method: Method,
    /// Addresses with their prefix lengths; for `manual` alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Subnet>,
    /// Default gateway; for `manual` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// DNS servers; with `auto`, beside those of the network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// Further routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

/// Origin of the addresses of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// DHCP, and router advertisements.
    #[default]
    Auto,
    /// The addresses of the settings.
    Manual,
    /// An address that is valid on the link alone; for IPv6.
    LinkLocal,
    /// None.
    Disabled,
}

/// Route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Network that it leads to.
    pub to: Subnet,
    /// Next hop.
    pub via: IpAddr,
}
