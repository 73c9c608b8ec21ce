//! `/etc/edge-ai/vpn.json`, in the image: who the VPN is.

use std::collections::HashSet;
use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use edge_common::{Root, file};
use serde::Deserialize;

use crate::cause::Cause;
use crate::net::{self, Range};

/// Where it lies.
pub const FILE: &str = "/etc/edge-ai/vpn.json";
/// The token in the image.
pub const TOKEN: &str = "/etc/edge-ai/claim/nordvpn-token";
/// Largest configuration that is read, in bytes.
const LARGEST: u64 = 64 * 1024;
/// Most peers.
const MOST: usize = 64;

/// What the image says.
#[derive(Debug)]
pub struct Config {
    /// Who provides the VPN.
    pub provider: Provider,
}

/// Who provides the VPN.
#[derive(Debug)]
pub enum Provider {
    /// Nobody.
    None,
    /// NordVPN Meshnet, in a container.
    Nordvpn(Nordvpn),
    /// A hub of one's own.
    Wireguard(Wireguard),
}

#[derive(Deserialize)]
#[serde(tag = "provider", rename_all = "lowercase")]
enum Written {
    None(Nothing),
    Nordvpn(Nordvpn),
    Wireguard(Wireguard),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// NordVPN Meshnet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nordvpn {
    /// Tag or digest of the client's image in the device's one repository.
    pub image: String,
    /// The app that the image is signed as; also its container's name.
    #[serde(default = "app")]
    pub app: String,
    /// Devices that may come in by SSH, and get nothing else.
    #[serde(default)]
    pub peers: Vec<String>,
}

fn app() -> String {
    "nordvpn".into()
}

/// Plain WireGuard.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wireguard {
    /// Name of the interface.
    #[serde(default = "interface")]
    pub interface: String,
    /// All addresses of the VPN: nothing outside is ever routed into it.
    pub range: Range,
    /// This device's; else the shadow's, else the one that follows from the key.
    pub address: Option<IpAddr>,
    /// Port to listen on; else one that the kernel takes.
    pub listen_port: Option<u16>,
    /// Domain of the device's name in the VPN.
    pub domain: Option<String>,
    /// The others.
    #[serde(default)]
    pub peers: Vec<Peer>,
    /// May the shadow name an address, further peers and other endpoints?
    #[serde(default)]
    pub peers_from_shadow: bool,
}

fn interface() -> String {
    "edge-vpn".into()
}

/// Somebody else in the VPN.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its public key.
    pub public_key: String,
    /// Where it is, `HOST:PORT`; else it has to come to us.
    pub endpoint: Option<String>,
    /// Addresses that are behind it.
    #[serde(default)]
    pub allowed_ips: Vec<Range>,
    /// Seconds between signs of life, 0 for none; 25 if there is an endpoint.
    pub keepalive: Option<u16>,
}

impl Config {
    /// Reads and checks it. Without the file there is no VPN; a token without it
    /// is a mistake that is told.
    ///
    /// # Errors
    /// Unreadable, oversized, malformed: exit code 3.
    pub fn load(root: &Root) -> Result<Self> {
        load(root).map_err(|e| Cause::Config.wrap(e))
    }
}

fn load(root: &Root) -> Result<Config> {
    let path = root.path(FILE);
    let provider = if std::fs::symlink_metadata(&path).is_ok() {
        let text = file::read(&path, LARGEST)?;
        let written = serde_json::from_slice(&text).with_context(|| format!("parsing {FILE}"))?;
        check(written).with_context(|| format!("parsing {FILE}"))?
    } else if root.path(TOKEN).exists() {
        bail!("{TOKEN} is there, but no {FILE} that names the client's image");
    } else {
        Provider::None
    };
    Ok(Config { provider })
}

fn check(written: Written) -> Result<Provider> {
    Ok(match written {
        Written::None(_) => Provider::None,
        Written::Nordvpn(nordvpn) => {
            check_nordvpn(&nordvpn)?;
            Provider::Nordvpn(nordvpn)
        }
        Written::Wireguard(wireguard) => {
            check_wireguard(&wireguard)?;
            Provider::Wireguard(wireguard)
        }
    })
}

fn check_nordvpn(config: &Nordvpn) -> Result<()> {
    let tag = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let is_tag = (1..=128).contains(&config.image.len())
        && !config.image.starts_with(['.', '-'])
        && config.image.chars().all(tag);
    let hex = config.image.strip_prefix("sha256:");
    let lower = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let is_digest = hex.is_some_and(|h| h.len() == 64 && h.chars().all(lower));
    ensure!(
        is_tag || is_digest,
        "image is neither a tag nor sha256:DIGEST: {:?}",
        config.image
    );
    let app = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = (1..=40).contains(&config.app.len())
        && config.app.starts_with(|c: char| c.is_ascii_lowercase())
        && !config.app.ends_with('-')
        && config.app.chars().all(app);
    ensure!(good, "app is not a name: {:?}", config.app);
    ensure!(config.peers.len() <= MOST, "more than {MOST} peers");
    for peer in &config.peers {
        ensure!(net::valid_name(peer), "no name of a peer: {peer:?}");
    }
    Ok(())
}

fn check_wireguard(config: &Wireguard) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let name = &config.interface;
    let fits = (1..=15).contains(&name.len()) && name.chars().all(good);
    ensure!(
        fits && name.starts_with(|c: char| c.is_ascii_alphabetic()) && name != "lo",
        "interface is not [a-zA-Z][a-zA-Z0-9_-]{{0,14}}: {name:?}"
    );
    let least = if config.range.address.is_ipv4() {
        8
    } else {
        16
    };
    ensure!(
        config.range.prefix >= least,
        "range is wider than /{least}: {}",
        config.range
    );
    if let Some(address) = config.address {
        check_address(config, address)?;
    }
    ensure!(
        config.listen_port != Some(0),
        "listen_port is not 1..=65535"
    );
    if let Some(domain) = &config.domain {
        ensure!(net::valid_name(domain), "domain is not a name: {domain:?}");
    }
    let mut keys = HashSet::new();
    ensure!(config.peers.len() <= MOST, "more than {MOST} peers");
    for peer in &config.peers {
        check_peer(config, peer)?;
        ensure!(keys.insert(&peer.public_key), "two peers have one key");
    }
    Ok(())
}

/// Is this an address that the device may have?
///
/// # Errors
/// It lies outside of the range.
pub fn check_address(config: &Wireguard, address: IpAddr) -> Result<()> {
    let range = config.range;
    ensure!(range.has(address), "address {address} is not in {range}");
    Ok(())
}

/// Is this a peer that may be?
///
/// # Errors
/// What is not right.
pub fn check_peer(config: &Wireguard, peer: &Peer) -> Result<()> {
    let key = &peer.public_key;
    ensure!(net::valid_key(key), "public_key is no key: {key:?}");
    if let Some(endpoint) = &peer.endpoint {
        let good = net::endpoint(endpoint).is_some();
        ensure!(good, "endpoint is not HOST:PORT: {endpoint:?}");
    }
    ensure!(
        peer.allowed_ips.len() <= MOST,
        "more than {MOST} allowed_ips"
    );
    let range = config.range;
    for part in &peer.allowed_ips {
        ensure!(range.holds(part), "allowed_ips: {part} is not in {range}");
    }
    Ok(())
}
