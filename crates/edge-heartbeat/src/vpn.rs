//! Exchange of VPN data with edge-vpn: the values that edge-vpn leaves in files are
//! reported, and `desired.vpn` of the shadow is saved to a file. edge-vpn validates the
//! desired state; edge-heartbeat only forwards it, because it has the only MQTT
//! session.

use anyhow::{Context, Result, ensure};
use edge_common::contract::limit::VPN_DESIRED_BYTES;
use edge_common::contract::path::{
    NORDVPN_HOSTNAME, VPN_DESIRED, WIREGUARD_ADDRESS, WIREGUARD_HOSTNAME, WIREGUARD_PUBLIC_KEY,
};
use edge_common::{Root, file};
use serde_json::{Value, json};

use crate::files::line;

/// Returns the host name of the device in the VPN, from the file of NordVPN or
/// WireGuard.
pub(crate) fn hostname(root: &Root) -> Option<Value> {
    let mut names = [NORDVPN_HOSTNAME, WIREGUARD_HOSTNAME]
        .iter()
        .map(|path| line(root, path));
    names.find_map(|name| name).map(Value::from)
}

/// Returns the WireGuard data that a hub needs: public key, address, and desired peers.
pub(crate) fn report(root: &Root) -> Option<Value> {
    let public_key = line(root, WIREGUARD_PUBLIC_KEY);
    let address = line(root, WIREGUARD_ADDRESS);
    let desired = load_desired(root);
    if public_key.is_none() && desired.is_none() {
        return None;
    }
    // The saved desired state is reported back, because every delta of the shadow
    // repeats the keys that are desired and not reported.
    let saved = |key: &str| desired.as_ref().map(|d| d[key].clone()).unwrap_or_default();
    let address = address.map_or_else(|| saved("address"), Value::from);
    Some(json!({ "public_key": public_key, "address": address, "peers": saved("peers") }))
}

fn load_desired(root: &Root) -> Option<Value> {
    let text = file::read(&root.path(VPN_DESIRED), VPN_DESIRED_BYTES).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Saves `desired.vpn` for edge-vpn, or removes the saved file if the shadow has none.
/// Returns whether the file changed. A value that is too large is an error, and the old
/// file stays.
pub(crate) fn save_desired(root: &Root, desired: Option<&Value>) -> Result<bool> {
    let path = root.path(VPN_DESIRED);
    let Some(desired) = desired else {
        return file::remove(&path);
    };
    let text = serde_json::to_vec(desired).context("writing desired.vpn")?;
    let fits = text.len() as u64 <= VPN_DESIRED_BYTES;
    ensure!(
        fits,
        "desired.vpn has {} bytes, more than {VPN_DESIRED_BYTES}",
        text.len()
    );
    file::ensure(&path, &text, 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::root_with;

    #[test]
    fn desired_state_is_saved_once_and_reported() {
        let (_directory, root) = root_with(&[("/data/config/vpn/x", "")]);
        assert!(report(&root).is_none() && hostname(&root).is_none());
        let desired = json!({ "address": "10.77.0.2", "peers": [{ "public_key": "k" }] });
        assert!(save_desired(&root, Some(&desired)).unwrap());
        assert!(!save_desired(&root, Some(&desired)).unwrap());
        assert_eq!(report(&root).unwrap()["peers"], desired["peers"]);
        let large = json!({ "peers": "x".repeat(3000) });
        assert!(save_desired(&root, Some(&large)).is_err());
        assert_eq!(report(&root).unwrap()["address"], "10.77.0.2");
        assert!(save_desired(&root, None).unwrap() && !save_desired(&root, None).unwrap());
        assert!(report(&root).is_none());
    }

    #[test]
    fn facts_of_edge_vpn_are_reported() {
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
