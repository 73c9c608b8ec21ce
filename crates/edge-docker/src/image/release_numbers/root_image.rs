//! Images that the read-only root names: their version comes with the device image, and
//! goes back with it.

use edge_common::contract::limit::ANCHOR_BYTES;
use edge_common::contract::path::VPN;
use edge_common::{Root, file};
use edge_signature::Verified;
use serde::Deserialize;

/// Fields of `vpn.json` that name a container image. edge-vpn validates the whole file.
#[derive(Deserialize)]
struct Vpn {
    /// Tag, digest as `sha256:HEX`, or both as `TAG@DIGEST`.
    image: String,
    #[serde(default = "default_app")]
    app: String,
}

// The default of edge-vpn.
fn default_app() -> String {
    "nordvpn".into()
}

/// Returns whether a file of the read-only root names this image. A tag counts only if it
/// is app and version of the signature: where tags point is recorded on `/data`.
pub(super) fn names(root: &Root, verified: &Verified) -> bool {
    let path = root.path(VPN);
    if !path.exists() {
        return false;
    }
    let text = file::read(&path, ANCHOR_BYTES).unwrap_or_default();
    let Ok(vpn) = serde_json::from_slice::<Vpn>(&text) else {
        return false;
    };
    let annotations = &verified.annotations;
    let tag = format!("{}-{}", annotations.app, annotations.version);
    let digest = verified.digest.as_str();
    let is_named = match vpn.image.split_once('@') {
        Some(named) => named == (&*tag, digest),
        None => vpn.image == tag || vpn.image == digest,
    };
    vpn.app == annotations.app && is_named
}
