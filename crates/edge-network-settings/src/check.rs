//! Checks of network settings. What they refuse could not work, or concerns an interface
//! that is not the engineer's.

use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use edge_common::identity::valid_proxy;

use crate::addresses::Subnet;
use crate::types::{Interface, Ip, Kind, Method, Security, Settings, Wifi};

/// Length limit of the name of an interface in the kernel.
const MAX_NAME_BYTES: usize = 15;
/// Names of interfaces of the engine, the VPN and the kernel.
const FOREIGN: [&str; 8] = [
    "lo", "docker", "br-", "veth", "wg", "nordlynx", "tun", "tap",
];
/// MTU that IPv4 needs for a whole datagram, and IPv6 on each link.
const MIN_MTU: [u32; 2] = [576, 1280];
/// MTU of jumbo frames.
const MAX_MTU: u32 = 9_216;
/// Limits of lists.
const MAX_INTERFACES: usize = 8;
const MAX_ADDRESSES: usize = 8;
const MAX_DNS: usize = 3;
const MAX_ROUTES: usize = 32;
const MAX_NTP: usize = 4;

/// Checks settings as a whole.
pub(crate) fn check(settings: &Settings) -> Result<()> {
    at_most("interfaces", settings.interfaces.len(), MAX_INTERFACES)?;
    for (at, interface) in settings.interfaces.iter().enumerate() {
        let context = || format!("interface {:?}", interface.name);
        of_interface(interface).with_context(context)?;
        let before = &settings.interfaces[..at];
        if before.iter().any(|other| other.name == interface.name) {
            bail!("interface {:?} is given twice", interface.name);
        }
        overlapping(interface, before)?;
    }
    if settings
        .proxy
        .as_deref()
        .is_some_and(|proxy| !valid_proxy(proxy))
    {
        // Not quoted: a password may be in it.
        bail!("proxy: must be http://HOST:PORT, without user and password");
    }
    at_most("ntp", settings.ntp.len(), MAX_NTP)?;
    for server in &settings.ntp {
        if !is_host(server) {
            bail!("ntp: {server:?} is neither a host name nor an address");
        }
    }
    Ok(())
}

fn at_most(what: &str, count: usize, limit: usize) -> Result<()> {
    match count <= limit {
        true => Ok(()),
        false => bail!("{what}: {count} are given, {limit} at most are taken"),
    }
}

fn of_interface(interface: &Interface) -> Result<()> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name = &interface.name;
    if name.is_empty()
        || name.len() > MAX_NAME_BYTES
        || name.starts_with(['.', '-'])
        || !name.chars().all(is_name)
    {
        bail!("name: must be that of an interface, for example eth0");
    }
    if FOREIGN.iter().any(|foreign| name.starts_with(foreign)) {
        bail!("name: the interface belongs to the engine, the VPN or the kernel");
    }
    match (interface.kind, &interface.wifi) {
        (Kind::Wired, None) => {}
        (Kind::Wired, Some(_)) => bail!("wifi: belongs to `type: wifi`"),
        (Kind::Wifi, None) => bail!("wifi: is missing: give ssid, security and password"),
        (Kind::Wifi, Some(wifi)) => of_wifi(wifi).context("wifi")?,
    }
    of_ip(&interface.ipv4, true).context("ipv4")?;
    of_ip(&interface.ipv6, false).context("ipv6")?;
    if [&interface.ipv4, &interface.ipv6]
        .iter()
        .all(|ip| ip.method == Method::Disabled)
    {
        bail!("ipv4 and ipv6 are both disabled: the device could not be reached");
    }
    if let Some(mtu) = interface.mtu {
        let needed = MIN_MTU[usize::from(interface.ipv6.method != Method::Disabled)];
        if !(needed..=MAX_MTU).contains(&mtu) {
            bail!(
                "mtu: {mtu} must be {needed} to {MAX_MTU} (IPv6 needs {}, IPv4 alone {})",
                MIN_MTU[1],
                MIN_MTU[0]
            );
        }
    }
    Ok(())
}

fn of_wifi(wifi: &Wifi) -> Result<()> {
    if wifi.ssid.is_empty() || wifi.ssid.len() > 32 || wifi.ssid.chars().any(char::is_control) {
        bail!("ssid: must have 1 to 32 bytes");
    }
    // No message repeats the password.
    let password = match (wifi.security, &wifi.password) {
        (Security::Open, None) => return Ok(()),
        (Security::Open, Some(_)) => bail!("password: an open network has none"),
        (_, None) => bail!("password: is missing"),
        (_, Some(password)) => password,
    };
    let is_hex = password.len() == 64 && password.bytes().all(|b| b.is_ascii_hexdigit());
    if wifi.security == Security::WpaPsk && is_hex {
        return Ok(());
    }
    if !password.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        bail!("password: must have printable ASCII characters alone");
    }
    if !(8..=63).contains(&password.len()) {
        bail!("password: must have 8 to 63 characters");
    }
    Ok(())
}

fn of_ip(ip: &Ip, is_ipv4: bool) -> Result<()> {
    if is_ipv4 && ip.method == Method::LinkLocal {
        bail!("method: link-local is for ipv6; give auto, manual or disabled");
    }
    let of_family = |address: &IpAddr| address.is_ipv4() == is_ipv4;
    let family = |what: &str, address: &IpAddr| match of_family(address) {
        true => Ok(()),
        false => bail!("{what}: {address} is an address of the other family"),
    };
    at_most("addresses", ip.addresses.len(), MAX_ADDRESSES)?;
    at_most("dns", ip.dns.len(), MAX_DNS)?;
    at_most("routes", ip.routes.len(), MAX_ROUTES)?;
    of_method(ip)?;
    for (at, address) in ip.addresses.iter().enumerate() {
        family("addresses", &address.address)?;
        own(*address)?;
        if ip.addresses[..at]
            .iter()
            .any(|other| other.address == address.address)
        {
            bail!("addresses: {} is given twice", address.address);
        }
    }
    if let Some(gateway) = &ip.gateway {
        family("gateway", gateway)?;
        next_hop("gateway", *gateway, ip)?;
    }
    for server in &ip.dns {
        family("dns", server)?;
        if !is_unicast(*server) || server.is_loopback() {
            bail!("dns: {server} is no address of a server");
        }
    }
    for route in &ip.routes {
        family("routes", &route.to.address)?;
        family("routes", &route.via)?;
        if route.to.has_host_bits() {
            bail!(
                "routes: {} has host bits: give the address of the network",
                route.to
            );
        }
        if route.to.prefix == 0 {
            bail!("routes: a default route is the gateway");
        }
        if ip.method == Method::Manual {
            next_hop("routes", route.via, ip)?;
        }
    }
    Ok(())
}

/// Checks that the values belong to the method.
fn of_method(ip: &Ip) -> Result<()> {
    match ip.method {
        Method::Manual if ip.addresses.is_empty() => {
            bail!("addresses: `method: manual` needs one, for example 192.168.1.5/24");
        }
        Method::Manual => {}
        _ if !ip.addresses.is_empty() || ip.gateway.is_some() => {
            bail!("addresses and gateway belong to `method: manual`");
        }
        Method::Auto => {}
        _ if !ip.dns.is_empty() || !ip.routes.is_empty() => {
            bail!("dns and routes belong to `method: auto` or `method: manual`");
        }
        _ => {}
    }
    Ok(())
}

/// Checks an address that the device is to have.
fn own(address: Subnet) -> Result<()> {
    let ip = address.address;
    if address.prefix == 0 || !is_unicast(ip) || ip.is_loopback() {
        bail!("addresses: {address} is no address of a host");
    }
    if address.is_network() || address.is_broadcast() {
        bail!("addresses: {address} is the network or its broadcast address");
    }
    Ok(())
}

/// Checks that a next hop is reached by one of the addresses, and is none of them.
fn next_hop(what: &str, hop: IpAddr, ip: &Ip) -> Result<()> {
    // The routers of IPv6 are often known by an address of the link.
    let is_link = matches!(hop, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let is_reached = ip.addresses.iter().any(|a| a.contains(hop));
    if !is_unicast(hop) || !(is_reached || is_link) {
        bail!("{what}: {hop} is in the network of none of the addresses");
    }
    if ip.addresses.iter().any(|a| a.address == hop) {
        bail!("{what}: {hop} is the device's own address");
    }
    let is_edge = ip.addresses.iter().any(|a| {
        let hop = Subnet {
            address: hop,
            prefix: a.prefix,
        };
        a.contains(hop.address) && (hop.is_network() || hop.is_broadcast())
    });
    match is_edge {
        true => bail!("{what}: {hop} is the network or its broadcast address"),
        false => Ok(()),
    }
}

/// Refuses networks that two interfaces would have: one of them could not be reached.
fn overlapping(interface: &Interface, before: &[Interface]) -> Result<()> {
    let all = |i: &Interface| -> Vec<Subnet> {
        [&i.ipv4, &i.ipv6]
            .iter()
            .flat_map(|ip| ip.addresses.clone())
            .collect()
    };
    for other in before {
        for (mine, theirs) in all(interface).iter().flat_map(|m| {
            let m = *m;
            all(other).into_iter().map(move |t| (m, t))
        }) {
            if mine.overlaps(theirs) {
                bail!(
                    "{mine} of {} and {theirs} of {} are the same network",
                    interface.name,
                    other.name
                );
            }
        }
    }
    Ok(())
}

fn is_unicast(address: IpAddr) -> bool {
    let is_broadcast =
        matches!(address, IpAddr::V4(v4) if v4.is_broadcast() || v4.octets()[0] >= 224);
    !address.is_unspecified() && !address.is_multicast() && !is_broadcast
}

/// Returns whether `text` is a host name or an address. It becomes a word of a line of
/// chrony's.
fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_char = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(is_char)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let address = text.parse::<IpAddr>();
    match address {
        Ok(address) => is_unicast(address) && !address.is_loopback(),
        Err(_) => {
            text.len() <= 253 && text.split('.').all(is_label) && !text.is_empty()
            // A wrong address, not a name.
            && !text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        }
    }
}
