//! What the shadow wishes: `desired.vpn`, as edge-heartbeat has put it on `/data`.
//! The image decides whether it counts, and every value is judged again here.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use edge_common::{Root, file};
use serde::Deserialize;

use crate::config::{self, Peer, Wireguard};

/// Where it lies.
pub const FILE: &str = "/data/config/vpn/desired.json";
/// Largest wish, in bytes.
const LARGEST: u64 = 8 * 1024;
/// Most peers.
const MOST: usize = 32;

/// A wish.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// This device's address.
    pub address: Option<IpAddr>,
    /// Further peers; one with the key of an image's peer only moves its endpoint.
    #[serde(default)]
    pub peers: Vec<Peer>,
}

/// The wish, if the image lets the shadow have one and it is right. What is wrong
/// with it comes beside, and then nothing of it counts.
pub fn load(root: &Root, config: &Wireguard) -> (Wish, Result<()>) {
    if std::fs::symlink_metadata(root.path(FILE)).is_err() {
        return (Wish::default(), Ok(()));
    }
    match read(root, config) {
        Ok(wish) => (wish, Ok(())),
        Err(error) => (
            Wish::default(),
            Err(error.context("desired.vpn of the shadow is refused")),
        ),
    }
}

fn read(root: &Root, config: &Wireguard) -> Result<Wish> {
    let text = file::read(&root.path(FILE), LARGEST)?;
    let wish: Wish = serde_json::from_slice(&text).with_context(|| format!("parsing {FILE}"))?;
    ensure!(
        config.peers_from_shadow || wish == Wish::default(),
        "this image does not let the shadow change the VPN"
    );
    if let Some(address) = wish.address {
        config::check_address(config, address)?;
    }
    ensure!(wish.peers.len() <= MOST, "more than {MOST} peers");
    for (number, peer) in wish.peers.iter().enumerate() {
        config::check_peer(config, peer)?;
        let twice = wish
            .peers
            .iter()
            .skip(number + 1)
            .any(|p| p.public_key == peer.public_key);
        ensure!(!twice, "two peers have one key");
        let known = config.peers.iter().any(|p| p.public_key == peer.public_key);
        ensure!(
            !known || (peer.allowed_ips.is_empty() && peer.keepalive.is_none()),
            "a peer of the image may only get another endpoint"
        );
        let taken = config.peers.iter().flat_map(|p| &p.allowed_ips);
        let own = wish.peers.iter().take(number).flat_map(|p| &p.allowed_ips);
        for part in taken.chain(own) {
            let same = peer.allowed_ips.contains(part);
            ensure!(!same, "allowed_ips: {part} belongs to another peer");
        }
    }
    Ok(wish)
}
