//! WireGuard in the kernel, with a hub of one's own: interface, key, address,
//! peers; then a handshake, and SSH on the address.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_common::identity::DeviceConfig;
use edge_common::{Root, log};
use serde::Deserialize;

use crate::cause::Cause;
use crate::config::{Peer, Wireguard};
use crate::desired::{self, Wish};
use crate::net;
use crate::tool::{self, Answer};
use crate::wg::{self, Wanted};
use crate::{keep_line, key, sshd};

/// Directory of what is kept.
pub const DIRECTORY: &str = "/data/config/wireguard";
/// The device's name in the VPN, for edge-heartbeat.
pub const HOSTNAME: &str = "/data/config/wireguard/hostname";
/// Its address.
pub const ADDRESS: &str = "/data/config/wireguard/address";
/// Signs of life to a peer with an endpoint, in seconds: less than routers forget.
const KEEPALIVE: u16 = 25;
/// How long the first handshake is waited for.
const HANDSHAKE: Duration = Duration::from_secs(20);
/// Limit of one `ip`.
const LIMIT: Duration = Duration::from_secs(10);

/// Brings the device into its hub's VPN.
///
/// # Errors
/// As the exit codes say.
pub fn reconcile(root: &Root, config: &Wireguard, ssh: sshd::Policy, end: Instant) -> Result<()> {
    let thing = DeviceConfig::load(root).context("finding the device's name")?;
    let pair = key::ensure(root)?;
    let (wish, refused) = desired::load(root, config);
    let ready = enter(root, config, &wish, &pair, &thing.thing_name, ssh, end);
    if let (Err(_), Err(error)) = (&ready, &refused) {
        log::warn(format_args!("{error:#}"));
    }
    ready.and(refused.map_err(|e| Cause::Config.wrap(e)))
}

fn enter(
    root: &Root,
    config: &Wireguard,
    wish: &Wish,
    pair: &key::Pair,
    thing: &str,
    ssh: sshd::Policy,
    end: Instant,
) -> Result<()> {
    let address = address(config, wish, &pair.public)?;
    let (peers, unresolved) = wanted(config, wish);
    up(root, config, address)?;
    set(root, config, pair, &peers)?;
    keep_line(root, ADDRESS, &address.to_string())?;
    keep_line(root, HOSTNAME, &hostname(config, thing, address))?;
    sshd::open(root, ssh, address, config.range)?;
    handshake(root, config, end).map_err(|e| match unresolved {
        Some(why) => Cause::Network.error(why),
        None => e,
    })
}

/// The image's, else the shadow's, else the one that follows from the key.
pub fn address(config: &Wireguard, wish: &Wish, public: &str) -> Result<IpAddr> {
    let own = config.address.or(wish.address);
    own.or_else(|| config.range.address_of(public))
        .ok_or_else(|| {
            Cause::Config.error(format_args!(
            "no address: vpn.json and the shadow name none, and in {} none follows from the key",
            config.range
        ))
        })
}

/// `<thing>.<domain>`, or the address where there is no domain.
fn hostname(config: &Wireguard, thing: &str, address: IpAddr) -> String {
    match &config.domain {
        Some(domain) => format!("{}.{domain}", thing.replace([':', '_'], "-").to_lowercase()),
        None => address.to_string(),
    }
}

/// All peers, and why an endpoint is not known.
fn wanted(config: &Wireguard, wish: &Wish) -> (Vec<Wanted>, Option<String>) {
    let mut unresolved = None;
    let moved = |peer: &Peer| {
        let other = wish.peers.iter().find(|p| p.public_key == peer.public_key);
        other
            .and_then(|p| p.endpoint.clone())
            .or(peer.endpoint.clone())
    };
    let known = |peer: &&Peer| !config.peers.iter().any(|p| p.public_key == peer.public_key);
    let further = wish.peers.iter().filter(known);
    let mut make = |peer: &Peer| {
        let named = moved(peer);
        let keepalive = if named.is_some() { KEEPALIVE } else { 0 };
        let endpoint = named.and_then(|name| match resolve(&name) {
            Ok(endpoint) => Some(endpoint),
            Err(error) => {
                unresolved.get_or_insert(format!("finding {name}: {error:#}"));
                None
            }
        });
        Wanted {
            key: peer.public_key.clone(),
            endpoint,
            allowed: peer.allowed_ips.iter().map(ToString::to_string).collect(),
            keepalive: peer.keepalive.unwrap_or(keepalive),
        }
    };
    let peers = config.peers.iter().chain(further).map(&mut make).collect();
    (peers, unresolved)
}

fn resolve(endpoint: &str) -> Result<SocketAddr> {
    let (host, port) = net::endpoint(endpoint).context("not HOST:PORT")?;
    let mut found = (host, port).to_socket_addrs()?;
    found.next().context("the name has no address")
}

/// What `ip -json address show` says.
#[derive(Deserialize)]
struct Link {
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

fn ip(root: &Root, words: &[&str]) -> Result<Answer> {
    let mut command = tool::program(root, "ip");
    tool::ask(command.args(words), "", LIMIT)
}

fn must(root: &Root, words: &[&str]) -> Result<()> {
    let answer = ip(root, words)?;
    if !answer.good() {
        bail!("ip {}: {}", words.join(" "), answer.last());
    }
    Ok(())
}

fn link(root: &Root, interface: &str) -> Result<Option<Link>> {
    let answer = ip(root, &["-json", "address", "show", "dev", interface])?;
    if !answer.good() {
        return Ok(None);
    }
    let links: Vec<Link> =
        serde_json::from_str(&answer.out).with_context(|| format!("reading {interface}"))?;
    Ok(links.into_iter().next())
}

/// The interface is there, up, and has this address and no other.
fn up(root: &Root, config: &Wireguard, address: IpAddr) -> Result<()> {
    let name = config.interface.as_str();
    let link = match link(root, name)? {
        Some(link) => link,
        None => {
            make(root, name)?;
            link(root, name)?.with_context(|| format!("{name} is gone again"))?
        }
    };
    let prefix = config.range.prefix;
    let right = |a: &&Address| a.local == address && a.prefixlen == prefix;
    for other in link
        .addr_info
        .iter()
        .filter(|a| !right(a) && a.scope != "link")
    {
        let old = format!("{}/{}", other.local, other.prefixlen);
        must(root, &["address", "delete", &old, "dev", name])?;
    }
    if !link.addr_info.iter().any(|a| right(&a)) {
        let new = format!("{address}/{prefix}");
        let mut words = vec!["address", "replace", &new, "dev", name];
        if address.is_ipv6() {
            // Nobody else has it: no waiting until that is sure.
            words.push("nodad");
        }
        must(root, &words)?;
    }
    if !link.flags.iter().any(|f| f == "UP") {
        must(root, &["link", "set", name, "up"])?;
    }
    Ok(())
}

fn make(root: &Root, name: &str) -> Result<()> {
    let answer = ip(root, &["link", "add", name, "type", "wireguard"])?;
    if answer.good() {
        log::info(format_args!("made the interface {name}"));
        return Ok(());
    }
    let said = answer.last();
    let lacks = ["Unknown device type", "not supported"]
        .iter()
        .any(|w| said.contains(w));
    if lacks {
        return Err(Cause::Kernel.error(format_args!("the kernel has no WireGuard: {said}")));
    }
    bail!("making the interface {name}: {said}");
}

fn set(root: &Root, config: &Wireguard, pair: &key::Pair, peers: &[Wanted]) -> Result<()> {
    let key_file = root.path(key::PRIVATE);
    let own = wg::Own {
        private: &pair.private,
        key_file: &key_file.to_string_lossy(),
        port: config.listen_port,
    };
    let words = wg::changes(&wg::dump(root, &config.interface)?, &own, peers);
    if words.is_empty() {
        return Ok(());
    }
    wg::set(root, &config.interface, &words)?;
    log::info(format_args!(
        "{} is set up, {} peers",
        config.interface,
        peers.len()
    ));
    Ok(())
}

/// Waits until one of the peers that are called has answered. Who only listens
/// is ready at once.
fn handshake(root: &Root, config: &Wireguard, end: Instant) -> Result<()> {
    let end = end.min(Instant::now() + HANDSHAKE);
    loop {
        let state = wg::dump(root, &config.interface)?;
        let mut called = state.peers.iter().filter(|p| p.keepalive > 0).peekable();
        if called.peek().is_none() || called.any(wg::Known::fresh) {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(Cause::Network
                .error("no peer answers: no network, or the hub does not know this device's key"));
        }
        // Nothing tells of a handshake.
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What `status` shows of the interface: the age of the handshake with each peer
/// that is called.
pub fn ages(root: &Root, config: &Wireguard) -> Result<Vec<(String, Option<u64>)>> {
    let state = wg::dump(root, &config.interface)?;
    let called = state.peers.into_iter().filter(|p| p.keepalive > 0);
    Ok(called.map(|p| (p.key, p.age)).collect())
}
