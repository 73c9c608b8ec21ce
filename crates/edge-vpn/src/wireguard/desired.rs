//! Desired state of the VPN from the shadow, `desired.vpn`, which edge-heartbeat has
//! written to `/data`. The device image decides whether the state applies, and every
//! value is validated: write access to the shadow must not be sufficient to route other
//! addresses into the VPN.

use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use edge_common::contract::limit::VPN_DESIRED_BYTES;
use edge_common::contract::path::VPN_DESIRED;
use edge_common::{Root, file};
use serde::Deserialize;

use crate::config::{self, Peer, Wireguard};
use crate::net::{self, Range};

/// Maximum number of peers in `desired.vpn`.
const MAX_PEERS: usize = 32;

/// Content of `desired.vpn`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Desired {
    /// Address of this device in the VPN, unless `vpn.json` sets one.
    #[serde(default, deserialize_with = "net::own_address")]
    pub address: Option<IpAddr>,
    /// Peers in addition to those in `vpn.json`. A peer with a key from `vpn.json` may
    /// only change the endpoint.
    #[serde(default)]
    pub peers: Vec<Peer>,
}

/// Returns the desired state, and an error if it cannot be applied. An error in one
/// part rejects the whole state, because applying half of it could lock the operator
/// out.
pub(crate) fn load(root: &Root, config: &Wireguard) -> (Desired, Result<()>) {
    if std::fs::symlink_metadata(root.path(VPN_DESIRED)).is_err() {
        return (Desired::default(), Ok(()));
    }
    match read(root, config) {
        Ok(desired) => (desired, Ok(())),
        Err(error) => (
            Desired::default(),
            Err(error.context("desired.vpn of the shadow is not applied")),
        ),
    }
}

fn read(root: &Root, config: &Wireguard) -> Result<Desired> {
    let text = file::read(&root.path(VPN_DESIRED), VPN_DESIRED_BYTES)?;
    let desired: Desired =
        serde_json::from_slice(&text).with_context(|| format!("parsing {VPN_DESIRED}"))?;
    ensure!(
        config.peers_from_shadow || desired == Desired::default(),
        "this image does not let the shadow change the VPN"
    );
    if let Some(address) = desired.address {
        config::validate_address(config, address)?;
        // In a wider range, such as that of the hub, is every address of the VPN.
        let mut image = config.peers.iter().flat_map(|p| &p.allowed_ips);
        let taken = image.any(|range| *range == Range::host(address));
        ensure!(!taken, "address {address} belongs to a peer of the image");
    }
    ensure!(
        desired.peers.len() <= MAX_PEERS,
        "more than {MAX_PEERS} peers"
    );
    for (number, peer) in desired.peers.iter().enumerate() {
        validate(&desired, number, peer, config)?;
    }
    Ok(desired)
}

/// Validates a peer of the shadow by itself, against the peers in `vpn.json`, and
/// against the other peers of the shadow.
fn validate(desired: &Desired, number: usize, peer: &Peer, config: &Wireguard) -> Result<()> {
    config::validate_peer(config, peer)?;
    ensure!(
        peer.preshared_key.is_none(),
        "preshared_key of {}: write it into vpn.json, the shadow is no place for secrets",
        peer.public_key
    );
    let key = &peer.public_key;
    let mut others = desired.peers.iter().skip(number + 1);
    let twice = others.any(|p| p.public_key == *key);
    ensure!(!twice, "two peers have one public_key: {key}");
    let known = config.peers.iter().any(|p| p.public_key == *key);
    ensure!(
        !known || (peer.allowed_ips.is_empty() && peer.keepalive.is_none()),
        "a peer of the image may only get another endpoint"
    );
    // WireGuard prefers the narrower range, and of equal ones the one that was set last. So
    // a part of a range of the image would divert the traffic of its peer.
    let image = config.peers.iter().flat_map(|p| &p.allowed_ips);
    let before = desired.peers.iter().take(number);
    for allowed in &peer.allowed_ips {
        let taken = image.clone().find(|range| range.overlaps(allowed));
        let taken = taken.or_else(|| {
            let mut before = before.clone().flat_map(|p| &p.allowed_ips);
            before.find(|range| *range == allowed)
        });
        if let Some(taken) = taken {
            bail!("allowed_ips: {allowed} is in {taken}, which belongs to another peer");
        }
    }
    Ok(())
}
