//! Configuration of the VPN, `/etc/edge-ai/vpn.json` of the image.

use std::collections::HashSet;
use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use edge_common::{Root, file};
use serde::Deserialize;

use crate::cause::Cause;
use crate::net::{self, Range};

/// Path of the configuration.
const FILE: &str = "/etc/edge-ai/vpn.json";
/// Token of NordVPN in the image.
pub(crate) const TOKEN: &str = "/etc/edge-ai/claim/nordvpn-token";
/// Largest configuration that is read, in bytes.
const MAX_CONFIG_BYTES: u64 = 64 * 1024;
/// Most peers, and most ranges of a peer.
const MAX_PEERS: usize = 64;

/// Configuration of the VPN.
#[derive(Debug)]
pub(crate) struct Config {
    /// Provider of the VPN.
    pub provider: Provider,
}

/// Provider of the VPN, with its configuration.
#[derive(Debug)]
pub(crate) enum Provider {
    /// The device is in no VPN.
    None,
    /// NordVPN Meshnet, in a container.
    Nordvpn(Nordvpn),
    /// WireGuard with a hub of one's own.
    Wireguard(Wireguard),
}

/// Contents of the file, before validation.
#[derive(Deserialize)]
#[serde(tag = "provider", rename_all = "lowercase")]
enum Parsed {
    None(NoFields),
    Nordvpn(Nordvpn),
    Wireguard(Wireguard),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFields {}

/// Configuration of NordVPN Meshnet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nordvpn {
    /// Tag or digest of the client's image in the one repository.
    pub image: String,
    /// Name of the app that the image is signed as, and of its container.
    #[serde(default = "default_app")]
    pub app: String,
    /// Devices that may log in by SSH and get no other permission.
    #[serde(default)]
    pub peers: Vec<String>,
}

fn default_app() -> String {
    "nordvpn".into()
}

/// Configuration of WireGuard.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wireguard {
    /// Name of the interface.
    #[serde(default = "default_interface")]
    pub interface: String,
    /// Addresses of the VPN. No address outside is ever routed into it, so that a hub
    /// cannot take over the device's other connections.
    pub range: Range,
    /// Address of this device; else that of the shadow, else the one that is derived
    /// from the key.
    pub address: Option<IpAddr>,
    /// Port to listen on; else one that the kernel chooses.
    pub listen_port: Option<u16>,
    /// Domain of the device's host name in the VPN.
    pub domain: Option<String>,
    /// Other devices of the VPN, with the hub among them.
    #[serde(default)]
    pub peers: Vec<Peer>,
    /// Permission for the shadow to set the address, further peers, and the endpoints of
    /// these peers.
    #[serde(default)]
    pub peers_from_shadow: bool,
}

fn default_interface() -> String {
    "edge-vpn".into()
}

/// Other device of a WireGuard VPN.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peer {
    /// Public key.
    pub public_key: String,
    /// `HOST:PORT`; without it the peer has to connect.
    pub endpoint: Option<String>,
    /// Addresses that are routed to the peer.
    #[serde(default)]
    pub allowed_ips: Vec<Range>,
    /// Seconds between keep-alives, 0 for none; by default 25 if there is an endpoint.
    pub keepalive: Option<u16>,
}

impl Config {
    /// Reads and validates the configuration. Without the file there is no VPN; a token
    /// without the file is an error, since the image was meant to have one.
    pub(crate) fn load(root: &Root) -> Result<Self> {
        load(root).map_err(|e| Cause::Config.wrap(e))
    }
}

fn load(root: &Root) -> Result<Config> {
    let path = root.path(FILE);
    let provider = if std::fs::symlink_metadata(&path).is_ok() {
        let text = file::read(&path, MAX_CONFIG_BYTES)?;
        let parsed = serde_json::from_slice(&text).with_context(|| format!("parsing {FILE}"))?;
        validate(parsed).with_context(|| format!("parsing {FILE}"))?
    } else if root.path(TOKEN).exists() {
        bail!("{TOKEN} exists without {FILE}, which names the client's image");
    } else {
        Provider::None
    };
    Ok(Config { provider })
}

fn validate(parsed: Parsed) -> Result<Provider> {
    Ok(match parsed {
        Parsed::None(_) => Provider::None,
        Parsed::Nordvpn(nordvpn) => {
            validate_nordvpn(&nordvpn)?;
            Provider::Nordvpn(nordvpn)
        }
        Parsed::Wireguard(wireguard) => {
            validate_wireguard(&wireguard)?;
            Provider::Wireguard(wireguard)
        }
    })
}

/// Validates the configuration of NordVPN, whose values become parts of a unit.
fn validate_nordvpn(config: &Nordvpn) -> Result<()> {
    let tag = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let is_tag = (1..=128).contains(&config.image.len())
        && !config.image.starts_with(['.', '-'])
        && config.image.chars().all(tag);
    let hex = config.image.strip_prefix("sha256:");
    let lower = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let is_digest = hex.is_some_and(|h| h.len() == 64 && h.chars().all(lower));
    ensure!(
        is_tag || is_digest,
        "image is neither a tag nor sha256:HEX: {:?}",
        config.image
    );
    let app = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let valid = (1..=40).contains(&config.app.len())
        && config.app.starts_with(|c: char| c.is_ascii_lowercase())
        && !config.app.ends_with('-')
        && config.app.chars().all(app);
    ensure!(valid, "app is not an app's name: {:?}", config.app);
    ensure!(
        config.peers.len() <= MAX_PEERS,
        "more than {MAX_PEERS} peers"
    );
    for peer in &config.peers {
        // Not an option of the client's command line, either.
        ensure!(net::valid_name(peer), "peer is not a name: {peer:?}");
    }
    Ok(())
}

fn validate_wireguard(config: &Wireguard) -> Result<()> {
    // The kernel's limit is 15 characters.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let name = &config.interface;
    let fits = (1..=15).contains(&name.len()) && name.chars().all(allowed);
    ensure!(
        fits && name.starts_with(|c: char| c.is_ascii_alphabetic()) && name != "lo",
        "interface is not [a-zA-Z][a-zA-Z0-9_-]{{0,14}}: {name:?}"
    );
    // A range as wide as the internet would route all connections into the VPN.
    let shortest = if config.range.address.is_ipv4() {
        8
    } else {
        16
    };
    ensure!(
        config.range.prefix >= shortest,
        "range is wider than /{shortest}: {}",
        config.range
    );
    if let Some(address) = config.address {
        validate_address(config, address)?;
    }
    ensure!(
        config.listen_port != Some(0),
        "listen_port is not 1..=65535"
    );
    if let Some(domain) = &config.domain {
        let valid = net::valid_name(domain);
        ensure!(valid, "domain is not a host name: {domain:?}");
    }
    let mut keys = HashSet::new();
    ensure!(
        config.peers.len() <= MAX_PEERS,
        "more than {MAX_PEERS} peers"
    );
    for peer in &config.peers {
        validate_peer(config, peer)?;
        let key = &peer.public_key;
        ensure!(keys.insert(key), "two peers have one public_key: {key}");
    }
    Ok(())
}

/// Validates an address of the device.
pub(crate) fn validate_address(config: &Wireguard, address: IpAddr) -> Result<()> {
    let range = config.range;
    let inside = range.contains_address(address);
    ensure!(inside, "address {address} is not in {range}");
    Ok(())
}

/// Validates a peer, of the image or of the shadow.
pub(crate) fn validate_peer(config: &Wireguard, peer: &Peer) -> Result<()> {
    let key = &peer.public_key;
    ensure!(
        net::valid_key(key),
        "public_key is not a WireGuard key: {key:?}"
    );
    if let Some(endpoint) = &peer.endpoint {
        let valid = net::endpoint(endpoint).is_some();
        ensure!(valid, "endpoint is not HOST:PORT: {endpoint:?}");
    }
    ensure!(
        peer.allowed_ips.len() <= MAX_PEERS,
        "more than {MAX_PEERS} allowed_ips"
    );
    let range = config.range;
    for allowed in &peer.allowed_ips {
        let inside = range.contains(allowed);
        ensure!(inside, "allowed_ips: {allowed} is not in {range}");
    }
    Ok(())
}
