//! The device in its VPN: what edge-vpn knows goes up, what is wished comes down.
//! A wish is kept on `/data` for edge-vpn, which judges it.

use anyhow::{Context, Result, ensure};
use edge_common::{Root, file};
use serde_json::{Map, Value, json};

use crate::facts::line;

/// Where a wish is kept.
const WISH: &str = "/data/config/vpn/desired.json";
/// Largest wish, in bytes: it stands in the shadow twice, which holds 8 kB.
const LARGEST: u64 = 2048;

/// The name in the VPN, whoever provides it.
pub fn hostname(root: &Root) -> Option<Value> {
    let files = ["nordvpn/meshnet-hostname", "wireguard/hostname"];
    let mut lines = files
        .iter()
        .map(|f| line(root, &format!("/data/config/{f}")));
    lines.find_map(|l| l).map(Value::from)
}

/// What a hub has to know of this device. The wish in force is told as well, so
/// that the shadow does not repeat it.
pub fn report(root: &Root) -> Option<Value> {
    let public = line(root, "/data/config/wireguard/public.key");
    let address = line(root, "/data/config/wireguard/address");
    let wish = read(root);
    if public.is_none() && wish.is_none() {
        return None;
    }
    let wished = |key: &str| wish.as_ref().map(|w| w[key].clone()).unwrap_or_default();
    let address = address.map_or_else(|| wished("address"), Value::from);
    Some(json!({ "public_key": public, "address": address, "peers": wished("peers") }))
}

fn read(root: &Root) -> Option<Value> {
    let text = file::read(&root.path(WISH), LARGEST).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Keeps what is wished, or that nothing is; says whether that is new.
///
/// # Errors
/// No object or too large: the last wish stays. Or `/data` cannot be written.
pub fn keep(root: &Root, wish: Option<&Map<String, Value>>) -> Result<bool> {
    let path = root.path(WISH);
    let Some(wish) = wish else {
        return file::remove(&path);
    };
    let text = serde_json::to_vec(wish).context("writing desired.vpn")?;
    let fits = text.len() as u64 <= LARGEST;
    ensure!(fits, "desired.vpn has more than {LARGEST} bytes");
    file::ensure(&path, &text, 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::root_with;

    #[test]
    fn wishes_are_kept_once_and_reported() {
        let (_directory, root) = root_with(&[("/data/config/vpn/x", "")]);
        assert!(report(&root).is_none() && hostname(&root).is_none());
        let wish = json!({ "address": "10.77.0.2", "peers": [{ "public_key": "k" }] });
        assert!(keep(&root, wish.as_object()).unwrap());
        assert!(!keep(&root, wish.as_object()).unwrap());
        assert_eq!(report(&root).unwrap()["peers"], wish["peers"]);
        let large = json!({ "peers": "x".repeat(3000) });
        assert!(keep(&root, large.as_object()).is_err());
        assert_eq!(report(&root).unwrap()["address"], "10.77.0.2");
        assert!(keep(&root, None).unwrap() && !keep(&root, None).unwrap());
        assert!(report(&root).is_none());
    }

    #[test]
    fn what_edge_vpn_knows_is_reported() {
        let (_directory, root) = root_with(&[
            ("/data/config/wireguard/public.key", "k\n"),
            ("/data/config/wireguard/address", "10.77.0.2\n"),
            ("/data/config/wireguard/hostname", "a.vpn.test\n"),
        ]);
        let expected = json!({ "public_key": "k", "address": "10.77.0.2", "peers": null });
        assert_eq!(report(&root).unwrap(), expected);
        assert_eq!(hostname(&root).unwrap(), "a.vpn.test");
    }
}
