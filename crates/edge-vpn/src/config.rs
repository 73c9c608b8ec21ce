//! Configuration of the VPN in the device image, `/etc/edge-ai/vpn.json`.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use edge_common::{Root, file};
use serde::Deserialize;

use crate::cause::Cause;
use crate::net::{self, Range};

/// Path of the VPN configuration in the read-only root.
const FILE: &str = "/etc/edge-ai/vpn.json";
/// Path of the NordVPN token in the device image.
pub(crate) const TOKEN: &str = "/etc/edge-ai/claim/nordvpn-token";
/// Size limit of the configuration, in bytes.
const MAX_CONFIG_BYTES: u64 = 64 * 1024;
/// Maximum number of configured peers, and of address ranges of each peer.
const MAX_PEERS: usize = 64;

/// Validated content of `/etc/edge-ai/vpn.json`.
#[derive(Debug)]
pub(crate) struct Config {
    /// VPN provider with its settings, which the key `provider` selects.
    pub provider: Provider,
}

/// Provider of the VPN, with its configuration.
#[derive(Debug)]
pub(crate) enum Provider {
    /// No VPN: `vpn.json` selects `none` or does not exist.
    None,
    /// NordVPN Meshnet, with NordVPN's client in a container.
    Nordvpn(Nordvpn),
    /// WireGuard in the kernel, with a self-hosted hub.
    Wireguard(Wireguard),
}

/// Content of `vpn.json` before validation.
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

/// Fields of `vpn.json` for NordVPN Meshnet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nordvpn {
    /// Signed image with NordVPN's client, `APP-VERSION` or `APP-VERSION@sha256:HEX`.
    pub image: String,
    /// App name under which the container image is signed, also the name of its
    /// container.
    #[serde(default = "default_app")]
    pub app: String,
    /// Devices in Meshnet that may connect to this device by SSH and get no other
    /// permission.
    #[serde(default)]
    pub peers: Vec<String>,
}

fn default_app() -> String {
    "nordvpn".into()
}

/// Fields of `vpn.json` for WireGuard.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wireguard {
    /// Name of the WireGuard network interface.
    #[serde(default = "default_interface")]
    pub interface: String,
    /// Address range of the VPN. No address outside of it is ever routed into the VPN,
    /// so that a hub cannot divert other connections of the device.
    pub range: Range,
    /// Address of this device in the VPN. Without it the address in the shadow is used,
    /// and if there is none, an address that is derived from the public key.
    #[serde(default, deserialize_with = "net::own_address")]
    pub address: Option<IpAddr>,
    /// Largest packet on the interface, in bytes; by default the kernel chooses it.
    pub mtu: Option<u16>,
    /// UDP port of WireGuard on this device; by default the kernel chooses one.
    pub listen_port: Option<u16>,
    /// Domain that is appended to the thing name to form the device's host name in the
    /// VPN.
    pub domain: Option<String>,
    /// Other devices of the VPN, including the hub.
    #[serde(default)]
    pub peers: Vec<Peer>,
    /// Permission for the shadow to set the address of the device, further peers, and
    /// the endpoints of the peers in this file.
    #[serde(default)]
    pub peers_from_shadow: bool,
}

fn default_interface() -> String {
    "edge-vpn".into()
}

/// Text that is not shown in messages.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Peer of the WireGuard interface, from `vpn.json` or from the shadow.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peer {
    /// WireGuard public key of the peer in Base64.
    pub public_key: String,
    /// Second, symmetric key that both sides share, in Base64, secret. Only the image sets
    /// it: the shadow is no place for secrets.
    pub preshared_key: Option<Secret>,
    /// Endpoint of the peer, `HOST:PORT`. Without an endpoint the peer has to connect
    /// to this device.
    pub endpoint: Option<String>,
    /// Address ranges that are routed to the peer, all within [`Wireguard::range`].
    #[serde(default)]
    pub allowed_ips: Vec<Range>,
    /// Seconds between keep-alive packets, 0 for none. The default is 25 with an
    /// endpoint and 0 without.
    pub keepalive: Option<u16>,
}

impl Config {
    /// Reads and validates `vpn.json`. Without this file there is no VPN; a NordVPN
    /// token without the file is an error, because the image was meant to have a VPN.
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

impl Nordvpn {
    /// Returns the version, and the digest if the configuration names one.
    pub(crate) fn version(&self) -> (&str, Option<&str>) {
        let (tag, digest) = match self.image.split_once('@') {
            Some((tag, digest)) => (tag, Some(digest)),
            None => (&*self.image, None),
        };
        let version = tag.strip_prefix(&*self.app);
        let version = version.and_then(|rest| rest.strip_prefix('-'));
        (version.unwrap_or_default(), digest)
    }
}

/// Validates the fields for NordVPN, whose values become arguments of edge-docker.
fn validate_nordvpn(config: &Nordvpn) -> Result<()> {
    let tag = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let app = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let valid = (1..=40).contains(&config.app.len())
        && config.app.starts_with(|c: char| c.is_ascii_lowercase())
        && !config.app.ends_with('-')
        && config.app.chars().all(app);
    ensure!(valid, "app is not an app's name: {:?}", config.app);
    // The version is needed: edge-docker runs APP-VERSION as it was signed.
    let (version, digest) = config.version();
    let is_version = (1..=100).contains(&version.len()) && version.chars().all(tag);
    let lower = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let hex = digest.map(|digest| digest.strip_prefix("sha256:").unwrap_or_default());
    let is_digest = hex.is_none_or(|hex| hex.len() == 64 && hex.chars().all(lower));
    ensure!(
        is_version && is_digest,
        "image is not APP-VERSION or APP-VERSION@sha256:HEX, with the app {}: {:?}",
        config.app,
        config.image
    );
    ensure!(
        config.peers.len() <= MAX_PEERS,
        "more than {MAX_PEERS} peers"
    );
    for peer in &config.peers {
        // This also excludes a leading `-`, so that the client cannot read the name as
        // an option.
        ensure!(net::valid_name(peer), "peer is not a name: {peer:?}");
    }
    Ok(())
}

fn validate_wireguard(config: &Wireguard) -> Result<()> {
    // The kernel limits interface names to 15 characters.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let name = &config.interface;
    let fits = (1..=15).contains(&name.len()) && name.chars().all(allowed);
    ensure!(
        fits && name.starts_with(|c: char| c.is_ascii_alphabetic()) && name != "lo",
        "interface is not [a-zA-Z][a-zA-Z0-9_-]{{0,14}}: {name:?}"
    );
    // A very wide range would route connections to the internet into the VPN.
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
    if let Some(mtu) = config.mtu {
        // IPv6 needs 1280 bytes; more than 8,920 does not fit into a jumbo frame.
        let valid = (1280..=8920).contains(&mtu);
        ensure!(valid, "mtu is not 1280..=8920: {mtu}");
    }
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

/// Checks that an address of this device, from `vpn.json` or the shadow, is in the
/// range of the VPN.
pub(crate) fn validate_address(config: &Wireguard, address: IpAddr) -> Result<()> {
    let range = config.range;
    let inside = range.contains_address(address);
    ensure!(inside, "address {address} is not in {range}");
    Ok(())
}

/// Validates the public key, the endpoint and the address ranges of a peer from
/// `vpn.json` or the shadow.
pub(crate) fn validate_peer(config: &Wireguard, peer: &Peer) -> Result<()> {
    let key = &peer.public_key;
    ensure!(
        net::valid_key(key),
        "public_key is not a WireGuard key: {key:?}"
    );
    // The error does not quote the value.
    let shared = peer.preshared_key.as_ref();
    ensure!(
        shared.is_none_or(|secret| net::valid_key(&secret.0)),
        "preshared_key of {key} is not a WireGuard key: make one with wg genpsk"
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
