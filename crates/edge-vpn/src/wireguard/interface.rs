//! State of the WireGuard interface, its desired state, and the changes between them.
//! Only differences are set, because setting everything at each run would interrupt
//! connections through the VPN.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use edge_common::Root;

use crate::config::Secret;
use crate::programs;

/// Time limit of one call of `wg`.
const WG_LIMIT: Duration = Duration::from_secs(10);
/// Age up to which a handshake is valid, in seconds. WireGuard renews a handshake every
/// two minutes and rejects data three minutes after it.
pub(crate) const FRESH_HANDSHAKE: u64 = 180;

/// State of a WireGuard interface, from `wg show INTERFACE dump`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Private key of the interface in Base64, secret.
    pub private: String,
    /// UDP port on which the interface listens.
    pub port: u16,
    /// Peers that are set on the interface.
    pub peers: Vec<PeerState>,
}

/// State of a peer, from one line of the dump.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct PeerState {
    /// Public key of the peer in Base64.
    pub key: String,
    /// Key that is shared with the peer, in Base64, secret.
    pub preshared: Option<Secret>,
    /// Source address of the last packet, or the configured endpoint before the first
    /// packet.
    pub endpoint: Option<SocketAddr>,
    /// Address ranges that are routed to the peer (`allowed-ips`).
    pub allowed: BTreeSet<String>,
    /// Seconds since the last handshake; `None` if there was none.
    pub age: Option<u64>,
    /// Seconds between keep-alive packets; 0 for none.
    pub keepalive: u16,
}

impl PeerState {
    /// Returns whether the last handshake is valid, which means that the peer has
    /// answered.
    pub(super) fn is_fresh(&self) -> bool {
        self.age.is_some_and(|age| age <= FRESH_HANDSHAKE)
    }
}

/// Desired state of a peer, from `vpn.json` and the shadow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DesiredPeer {
    /// WireGuard public key of the peer, by which it is identified.
    pub key: String,
    /// Key to share with the peer, secret.
    pub preshared: Option<Secret>,
    /// Endpoint as it is configured, `HOST:PORT`.
    pub name: Option<String>,
    /// Address and port of the peer; `None` if unknown, so that the peer has to
    /// connect.
    pub endpoint: Option<SocketAddr>,
    /// Address ranges that `wg` sets as `allowed-ips` of the peer.
    pub allowed: BTreeSet<String>,
    /// Interval that `wg` sets as `persistent-keepalive`, in seconds; 0 for none.
    pub keepalive: u16,
}

/// Reads the state of an interface with `wg show INTERFACE dump`.
pub(super) fn state(root: &Root, interface: &str) -> Result<State> {
    let mut command = programs::find(root, "wg");
    let completed = programs::run(command.args(["show", interface, "dump"]), "", WG_LIMIT)?;
    // The error quotes only standard error, because the output contains the private
    // key.
    if !completed.success() {
        bail!(
            "reading the state of {interface}: {}",
            completed.stderr.trim()
        );
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    parse(&completed.stdout, now.map_or(0, |n| n.as_secs()))
        .with_context(|| format!("parsing the state of {interface}"))
}

fn parse(text: &str, now: u64) -> Result<State> {
    let mut lines = text.lines().map(|l| l.split('\t').collect::<Vec<_>>());
    let Some([private, _, port, _]) = lines.next().as_deref().and_then(|l| l.get(..4)).map(four)
    else {
        bail!("the line of the interface is missing");
    };
    let peer = |line: Vec<&str>| {
        let [key, preshared, endpoint, allowed, last, _, _, keepalive] = line[..] else {
            bail!("a line has {} fields", line.len());
        };
        let last: u64 = last.parse().context("parsing the time of a handshake")?;
        Ok(PeerState {
            key: key.into(),
            preshared: (preshared != "(none)").then(|| Secret(preshared.into())),
            endpoint: endpoint.parse().ok(),
            allowed: allowed
                .split(',')
                .filter(|a| *a != "(none)")
                .map(String::from)
                .collect(),
            age: (last > 0).then(|| now.saturating_sub(last)),
            keepalive: keepalive.parse().unwrap_or(0),
        })
    };
    Ok(State {
        private: private.into(),
        port: port.parse().context("parsing the port")?,
        peers: lines.map(peer).collect::<Result<_>>()?,
    })
}

fn four<'a>(fields: &[&'a str]) -> [&'a str; 4] {
    [fields[0], fields[1], fields[2], fields[3]]
}

/// Desired state of the interface itself, without its peers.
pub(super) struct DesiredInterface<'a> {
    /// Private key that the interface should have, secret.
    pub private: &'a str,
    /// Path of the file with the private key, as an argument of `wg`.
    pub key_file: &'a str,
    /// UDP port to listen on; `None` leaves the choice to the kernel.
    pub port: Option<u16>,
}

/// Returns the arguments of `wg set` that change `state` to the desired state; an empty
/// list if nothing differs.
pub(super) fn changes(
    state: &State,
    interface: &DesiredInterface,
    peers: &[DesiredPeer],
) -> Vec<String> {
    let mut args = Vec::new();
    let mut push = |parts: &[&str]| args.extend(parts.iter().map(ToString::to_string));
    if state.private != interface.private {
        // `wg` reads the key from its file, because every user can read the arguments
        // of a process.
        push(&["private-key", interface.key_file]);
    }
    if let Some(port) = interface.port.filter(|p| *p != state.port) {
        push(&["listen-port", &port.to_string()]);
    }
    for old in &state.peers {
        if !peers.iter().any(|p| p.key == old.key) {
            push(&["peer", &old.key, "remove"]);
        }
    }
    for peer in peers {
        let old = state.peers.iter().find(|p| p.key == peer.key);
        // The endpoint of a peer that answers is not changed: the peer may have moved,
        // and WireGuard follows it. The configured endpoint is set again once the peer
        // is silent.
        let differs = |e: &SocketAddr| old.is_none_or(|o| !o.is_fresh() && o.endpoint != Some(*e));
        let endpoint = peer.endpoint.filter(differs);
        let other_ips = old.is_none_or(|o| o.allowed != peer.allowed);
        let other_keepalive = old.is_none_or(|o| o.keepalive != peer.keepalive);
        if endpoint.is_none() && !other_ips && !other_keepalive {
            continue;
        }
        push(&["peer", &peer.key]);
        if let Some(endpoint) = endpoint {
            push(&["endpoint", &endpoint.to_string()]);
        }
        if other_keepalive {
            push(&["persistent-keepalive", &peer.keepalive.to_string()]);
        }
        if other_ips {
            let list: Vec<_> = peer.allowed.iter().map(String::as_str).collect();
            push(&["allowed-ips", &list.join(",")]);
        }
    }
    args
}

/// Runs `wg set` for `interface` with the arguments that [`changes`] returned.
pub(super) fn set(root: &Root, interface: &str, args: &[String]) -> Result<()> {
    let mut command = programs::find(root, "wg");
    let command = command.args(["set", interface]).args(args);
    let completed = programs::run(command, "", WG_LIMIT)?;
    if !completed.success() {
        bail!("setting {interface}: {}", completed.summary());
    }
    Ok(())
}

/// Sets the shared keys that differ. Each goes to standard input of a call of its own,
/// because every user can read the arguments of a process.
pub(super) fn share_keys(
    root: &Root,
    interface: &str,
    state: &State,
    peers: &[DesiredPeer],
) -> Result<()> {
    for peer in peers {
        let old = state.peers.iter().find(|old| old.key == peer.key);
        if old.and_then(|old| old.preshared.as_ref()) == peer.preshared.as_ref() {
            continue;
        }
        let mut command = programs::find(root, "wg");
        let command = command.args(["set", interface, "peer", &peer.key]);
        // `wg` takes an empty file for no key, but not an empty pipe.
        let (file, input) = match &peer.preshared {
            Some(secret) => ("/dev/stdin", &*secret.0),
            None => ("/dev/null", ""),
        };
        let command = command.args(["preshared-key", file]);
        let completed = programs::run(command, input, WG_LIMIT)?;
        if !completed.success() {
            bail!(
                "setting the shared key of {}: {}",
                peer.key,
                completed.summary()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "sec\tpub\t51820\toff\n\
        k1\t(none)\t192.0.2.1:51820\t10.77.0.0/16\t1000\t1\t2\t25\n\
        k2\t(none)\t(none)\t(none)\t0\t0\t0\toff\n";

    fn interface() -> DesiredInterface<'static> {
        DesiredInterface {
            private: "sec",
            key_file: "/f",
            port: None,
        }
    }

    fn peer(key: &str, endpoint: &str, allowed: &[&str], keepalive: u16) -> DesiredPeer {
        DesiredPeer {
            key: key.into(),
            preshared: None,
            name: None,
            endpoint: endpoint.parse().ok(),
            allowed: allowed.iter().map(ToString::to_string).collect(),
            keepalive,
        }
    }

    fn args(now: u64, interface: &DesiredInterface, peers: &[DesiredPeer]) -> String {
        changes(&parse(DUMP, now).unwrap(), interface, peers).join(" ")
    }

    #[test]
    fn desired_state_is_left_alone() {
        let peers = [
            peer("k1", "192.0.2.1:51820", &["10.77.0.0/16"], 25),
            peer("k2", "", &[], 0),
        ];
        assert_eq!(args(1010, &interface(), &peers), "");
        // The endpoint of a roaming peer is not changed until the peer is silent.
        let moved = [
            peer("k1", "192.0.2.9:1", &["10.77.0.0/16"], 25),
            peers[1].clone(),
        ];
        assert_eq!(args(1010, &interface(), &moved), "");
        assert_eq!(
            args(1200, &interface(), &moved),
            "peer k1 endpoint 192.0.2.9:1"
        );
        assert_eq!(args(1200, &interface(), &peers), "");
    }

    #[test]
    fn differences_are_set() {
        let peers = [
            peer("k1", "", &["10.77.0.1/32"], 25),
            peer("k3", "192.0.2.3:3", &["10.77.0.3/32"], 0),
        ];
        let other = DesiredInterface {
            private: "other",
            port: Some(1),
            ..interface()
        };
        assert_eq!(
            args(1010, &other, &peers),
            "private-key /f listen-port 1 peer k2 remove peer k1 allowed-ips 10.77.0.1/32 \
             peer k3 endpoint 192.0.2.3:3 persistent-keepalive 0 allowed-ips 10.77.0.3/32"
        );
    }

    #[test]
    fn truncated_and_hostile_dumps_are_errors() {
        for invalid in [
            "",
            "x",
            "a\tb\tc\td\n",
            "s\tp\t1\toff\nk1\t(none)\n",
            "s\tp\t1\toff\nk\t-\t-\t-\tx\t1\t1\toff",
        ] {
            assert!(parse(invalid, 0).is_err(), "{invalid:?}");
        }
        // A clock that was set back must not let a handshake appear old.
        assert_eq!(parse(DUMP, 5).unwrap().peers[0].age, Some(0));
    }
}
