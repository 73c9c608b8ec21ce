//! WireGuard in the kernel, with a self-hosted hub: sets up key, interface, address and
//! peers, opens SSH on the address, and waits for a handshake.

pub(crate) mod desired;
mod endpoints;
mod interface;
mod key;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_common::command::Completed;
use edge_common::contract::path::{WIREGUARD_ADDRESS, WIREGUARD_HOSTNAME};
use edge_common::identity::DeviceConfig;
use edge_common::policy::SshAccess;
use edge_common::{Root, log};
use serde::Deserialize;

use crate::cause::Cause;
use crate::config::{Peer, Wireguard};
use crate::files::save_line;
use crate::{programs, sshd};
use desired::Desired;
pub(crate) use interface::FRESH_HANDSHAKE;
use interface::{DesiredInterface, DesiredPeer, PeerState};

/// Directory of the key pair, the address and the host name, on `/data`.
const DIRECTORY: &str = "/data/config/wireguard";
/// Default interval of keep-alive packets to a peer with an endpoint, in seconds. It is
/// shorter than the time after which NAT routers forget a connection, so that the hub
/// can reach a device in a private network.
const KEEPALIVE: u16 = 25;
/// Longest wait for a handshake with any peer.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(20);
/// Time limit of one call of `ip`.
const IP_LIMIT: Duration = Duration::from_secs(10);

/// Connects the device to the WireGuard VPN, and opens SSH on its address.
pub(crate) fn reconcile(
    root: &Root,
    config: &Wireguard,
    ssh: SshAccess,
    end: Instant,
) -> Result<()> {
    let identity = DeviceConfig::load(root).context("reading the device's name")?;
    let pair = key::load_or_create(root, DIRECTORY)?;
    // An invalid desired state is reported only after the VPN is up as the image
    // configures it: a mistake in the shadow must not disconnect the device.
    let (desired, not_applied) = desired::load(root, config);
    let ready = connect(
        root,
        config,
        &desired,
        &pair,
        &identity.thing_name,
        ssh,
        end,
    );
    if let (Err(_), Err(error)) = (&ready, &not_applied) {
        log::warn(format_args!("{error:#}"));
    }
    ready.and(not_applied.map_err(|e| Cause::Config.wrap(e)))
}

fn connect(
    root: &Root,
    config: &Wireguard,
    desired: &Desired,
    pair: &key::Pair,
    thing: &str,
    ssh: SshAccess,
    end: Instant,
) -> Result<()> {
    let address = address(config, desired, &pair.public)?;
    let mut peers = desired_peers(config, desired);
    // Names are looked up meanwhile: a dead name server must not keep the interface down,
    // and peers with an address answer without it.
    let lookup = endpoints::Lookup::start(&peers);
    set_up_interface(root, config, address)?;
    set_peers(root, config, pair, &peers)?;
    // The address is saved before the handshake: the hub completes a handshake only
    // after it is configured with the key and the address that edge-heartbeat reports.
    save_line(root, WIREGUARD_ADDRESS, &address.to_string())?;
    save_line(root, WIREGUARD_HOSTNAME, &hostname(config, thing, address))?;
    let opened = sshd::open(root, ssh, address, config.range);
    let unresolved = lookup.finish(&mut peers, end);
    set_peers(root, config, pair, &peers)?;
    opened?;
    // If an endpoint could not be resolved, this is the reason for the missing
    // handshake and the more helpful error.
    wait_for_handshake(root, config, end).map_err(|e| match unresolved {
        Some(message) => Cause::Network.error(message),
        None => e,
    })
}

/// Returns the address of the device: from `vpn.json`, else from the shadow, else
/// derived from the public key.
fn address(config: &Wireguard, desired: &Desired, public: &str) -> Result<IpAddr> {
    let configured = config.address.or(desired.address);
    configured
        .or_else(|| config.range.address_of(public))
        .ok_or_else(|| {
            Cause::Config.error(format_args!(
                "no address: neither vpn.json nor the shadow has one, and none can be \
                 derived from the key in {}",
                config.range
            ))
        })
}

/// Returns the host name of the device, `<thing>.<domain>`, or its address if no domain
/// is configured.
fn hostname(config: &Wireguard, thing: &str, address: IpAddr) -> String {
    match &config.domain {
        Some(domain) => format!("{}.{domain}", thing.replace([':', '_'], "-").to_lowercase()),
        None => address.to_string(),
    }
}

/// Returns the peers of `vpn.json` and of the shadow. Endpoints with a name have no
/// address yet.
fn desired_peers(config: &Wireguard, desired: &Desired) -> Vec<DesiredPeer> {
    let endpoint_of = |peer: &Peer| {
        let mut peers = desired.peers.iter();
        let other = peers.find(|p| p.public_key == peer.public_key);
        other
            .and_then(|p| p.endpoint.clone())
            .or(peer.endpoint.clone())
    };
    let known = |peer: &&Peer| !config.peers.iter().any(|p| p.public_key == peer.public_key);
    let further = desired.peers.iter().filter(known);
    let convert = |peer: &Peer| {
        let name = endpoint_of(peer);
        let keepalive = if name.is_some() { KEEPALIVE } else { 0 };
        DesiredPeer {
            key: peer.public_key.clone(),
            preshared: peer.preshared_key.clone(),
            endpoint: name.as_deref().and_then(endpoints::literal),
            name,
            allowed: peer.allowed_ips.iter().map(ToString::to_string).collect(),
            keepalive: peer.keepalive.unwrap_or(keepalive),
        }
    };
    config.peers.iter().chain(further).map(convert).collect()
}

/// Interface in the output of `ip -json address show`.
#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    mtu: u32,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Deserialize)]
struct Address {
    local: IpAddr,
    prefixlen: u8,
    #[serde(default)]
    scope: String,
}

fn ip(root: &Root, args: &[&str]) -> Result<Completed> {
    let mut command = programs::find(root, "ip");
    programs::run(command.args(args), "", IP_LIMIT)
}

fn must_succeed(root: &Root, args: &[&str]) -> Result<()> {
    let completed = ip(root, args)?;
    if !completed.success() {
        bail!("ip {}: {}", args.join(" "), completed.summary());
    }
    Ok(())
}

fn link(root: &Root, interface: &str) -> Result<Option<Link>> {
    let completed = ip(root, &["-json", "address", "show", "dev", interface])?;
    if !completed.success() {
        return Ok(None);
    }
    let links: Vec<Link> =
        serde_json::from_str(&completed.stdout).with_context(|| format!("parsing {interface}"))?;
    Ok(links.into_iter().next())
}

/// Creates the WireGuard interface if it is missing, sets `address` as its only
/// address, and brings the interface up.
fn set_up_interface(root: &Root, config: &Wireguard, address: IpAddr) -> Result<()> {
    let name = config.interface.as_str();
    let link = match link(root, name)? {
        Some(link) => link,
        None => {
            create_interface(root, name)?;
            link(root, name)?.with_context(|| format!("interface {name} disappeared"))?
        }
    };
    let prefix = config.range.prefix;
    let desired = |a: &&Address| a.local == address && a.prefixlen == prefix;
    for other in link
        .addr_info
        .iter()
        .filter(|a| !desired(a) && a.scope != "link")
    {
        let old = format!("{}/{}", other.local, other.prefixlen);
        must_succeed(root, &["address", "delete", &old, "dev", name])?;
    }
    if !link.addr_info.iter().any(|a| desired(&a)) {
        let new = format!("{address}/{prefix}");
        let mut args = vec!["address", "replace", &new, "dev", name];
        if address.is_ipv6() {
            // Duplicate address detection takes a second, and on this interface no
            // neighbour can have the same address.
            args.push("nodad");
        }
        must_succeed(root, &args)?;
    }
    if let Some(mtu) = config.mtu.filter(|mtu| u32::from(*mtu) != link.mtu) {
        must_succeed(root, &["link", "set", name, "mtu", &mtu.to_string()])?;
    }
    if !link.flags.iter().any(|f| f == "UP") {
        must_succeed(root, &["link", "set", name, "up"])?;
    }
    Ok(())
}

fn create_interface(root: &Root, name: &str) -> Result<()> {
    let completed = ip(root, &["link", "add", name, "type", "wireguard"])?;
    if completed.success() {
        log::info(format_args!("created the interface {name}"));
        return Ok(());
    }
    let summary = completed.summary();
    let unsupported = ["Unknown device type", "not supported"]
        .iter()
        .any(|part| summary.contains(part));
    if unsupported {
        return Err(Cause::Kernel.error(format_args!("the kernel has no WireGuard: {summary}")));
    }
    bail!("creating the interface {name}: {summary}");
}

fn set_peers(
    root: &Root,
    config: &Wireguard,
    pair: &key::Pair,
    peers: &[DesiredPeer],
) -> Result<()> {
    let key_file = root.path(key::PRIVATE);
    let desired = DesiredInterface {
        private: &pair.private,
        key_file: &key_file.to_string_lossy(),
        port: config.listen_port,
    };
    let state = interface::state(root, &config.interface)?;
    let args = interface::changes(&state, &desired, peers);
    if args.is_empty() {
        return interface::share_keys(root, &config.interface, &state, peers);
    }
    interface::set(root, &config.interface, &args)?;
    interface::share_keys(root, &config.interface, &state, peers)?;
    log::info(format_args!(
        "set up {} with {} peers",
        config.interface,
        peers.len()
    ));
    Ok(())
}

/// Waits until a peer with a keep-alive has answered. If no peer has a keep-alive, all
/// peers connect by themselves and there is nothing to wait for.
fn wait_for_handshake(root: &Root, config: &Wireguard, end: Instant) -> Result<()> {
    let end = end.min(Instant::now() + HANDSHAKE_WAIT);
    loop {
        let state = interface::state(root, &config.interface)?;
        let mut called = state.peers.iter().filter(|p| p.keepalive > 0).peekable();
        if called.peek().is_none() || called.any(PeerState::is_fresh) {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(Cause::Network
                .error("no peer answers: no network, or the hub does not know this device's key"));
        }
        // Polling: the kernel reports no event for a handshake.
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Returns the public key of each peer with a keep-alive, and the seconds since its
/// last handshake.
pub(crate) fn handshake_ages(
    root: &Root,
    config: &Wireguard,
) -> Result<Vec<(String, Option<u64>)>> {
    let state = interface::state(root, &config.interface)?;
    let called = state.peers.into_iter().filter(|p| p.keepalive > 0);
    Ok(called.map(|p| (p.key, p.age)).collect())
}
