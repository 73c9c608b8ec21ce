//! A WireGuard interface: what it is, what it should be, and the difference.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use edge_common::Root;

use crate::tool;

/// Limit of one `wg`.
const LIMIT: Duration = Duration::from_secs(10);
/// A handshake is renewed every two minutes; one that is older is over.
pub const FRESH: u64 = 180;

/// What `wg show … dump` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// Secret.
    pub private: String,
    /// Port that is listened on.
    pub port: u16,
    /// The others.
    pub peers: Vec<Known>,
}

/// One of them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its key.
    pub key: String,
    /// Where it was heard last, or is thought to be.
    pub endpoint: Option<SocketAddr>,
    /// Addresses behind it.
    pub allowed: BTreeSet<String>,
    /// Seconds since the last handshake.
    pub age: Option<u64>,
    /// Seconds between signs of life; 0 for none.
    pub keepalive: u16,
}

impl Known {
    /// Was there a handshake not long ago?
    pub fn fresh(&self) -> bool {
        self.age.is_some_and(|age| age <= FRESH)
    }
}

/// What a peer should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its key.
    pub key: String,
    /// Where it is, if that is known.
    pub endpoint: Option<SocketAddr>,
    /// Addresses behind it.
    pub allowed: BTreeSet<String>,
    /// Seconds between signs of life; 0 for none.
    pub keepalive: u16,
}

/// Asks for the state of an interface.
///
/// # Errors
/// It is no WireGuard interface.
pub fn dump(root: &Root, interface: &str) -> Result<Dump> {
    let mut command = tool::program(root, "wg");
    let answer = tool::ask(command.args(["show", interface, "dump"]), "", LIMIT)?;
    if !answer.good() {
        bail!("asking {interface} for its state: {}", answer.err.trim());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    parse(&answer.out, now.map_or(0, |n| n.as_secs()))
        .with_context(|| format!("reading the state of {interface}"))
}

fn parse(text: &str, now: u64) -> Result<Dump> {
    let mut lines = text.lines().map(|l| l.split('\t').collect::<Vec<_>>());
    let Some([private, _, port, _]) = lines.next().as_deref().and_then(|l| l.get(..4)).map(four)
    else {
        bail!("no line of the interface");
    };
    let peer = |line: Vec<&str>| {
        let [key, _, endpoint, allowed, last, _, _, keepalive] = line[..] else {
            bail!("a line of {} fields", line.len());
        };
        let last: u64 = last.parse().context("a time of handshake")?;
        Ok(Known {
            key: key.into(),
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
    Ok(Dump {
        private: private.into(),
        port: port.parse().context("a port")?,
        peers: lines.map(peer).collect::<Result<_>>()?,
    })
}

fn four<'a>(words: &[&'a str]) -> [&'a str; 4] {
    [words[0], words[1], words[2], words[3]]
}

/// Words for `wg set` behind the interface that make `is` into what is wanted:
/// none if nothing differs. The endpoint of a peer that was heard not long ago
/// is left alone: it may have moved. The private key is named by its file.
pub fn changes(is: &Dump, own: &Own, peers: &[Wanted]) -> Vec<String> {
    let mut words = Vec::new();
    let mut say = |parts: &[&str]| words.extend(parts.iter().map(ToString::to_string));
    if is.private != own.private {
        say(&["private-key", own.key_file]);
    }
    if let Some(port) = own.port.filter(|p| *p != is.port) {
        say(&["listen-port", &port.to_string()]);
    }
    for old in &is.peers {
        if !peers.iter().any(|p| p.key == old.key) {
            say(&["peer", &old.key, "remove"]);
        }
    }
    for peer in peers {
        let old = is.peers.iter().find(|p| p.key == peer.key);
        let moved = |e: &SocketAddr| old.is_none_or(|o| !o.fresh() && o.endpoint != Some(*e));
        let endpoint = peer.endpoint.filter(moved);
        let other_ips = old.is_none_or(|o| o.allowed != peer.allowed);
        let other_pace = old.is_none_or(|o| o.keepalive != peer.keepalive);
        if endpoint.is_none() && !other_ips && !other_pace {
            continue;
        }
        say(&["peer", &peer.key]);
        if let Some(endpoint) = endpoint {
            say(&["endpoint", &endpoint.to_string()]);
        }
        if other_pace {
            say(&["persistent-keepalive", &peer.keepalive.to_string()]);
        }
        if other_ips {
            let list: Vec<_> = peer.allowed.iter().map(String::as_str).collect();
            say(&["allowed-ips", &list.join(",")]);
        }
    }
    words
}

/// What the interface itself should be.
pub struct Own<'a> {
    /// Secret.
    pub private: &'a str,
    /// The file that holds it.
    pub key_file: &'a str,
    /// Port, if it matters.
    pub port: Option<u16>,
}

/// Applies words of [`changes`].
///
/// # Errors
/// `wg` does not take them.
pub fn set(root: &Root, interface: &str, words: &[String]) -> Result<()> {
    let mut command = tool::program(root, "wg");
    let answer = tool::ask(command.args(["set", interface]).args(words), "", LIMIT)?;
    if !answer.good() {
        bail!("setting {interface}: {}", answer.last());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "sec\tpub\t51820\toff\n\
        k1\t(none)\t192.0.2.1:51820\t10.77.0.0/16\t1000\t1\t2\t25\n\
        k2\t(none)\t(none)\t(none)\t0\t0\t0\toff\n";

    fn own() -> Own<'static> {
        Own {
            private: "sec",
            key_file: "/f",
            port: None,
        }
    }

    fn wanted(key: &str, endpoint: &str, allowed: &[&str], keepalive: u16) -> Wanted {
        Wanted {
            key: key.into(),
            endpoint: endpoint.parse().ok(),
            allowed: allowed.iter().map(ToString::to_string).collect(),
            keepalive,
        }
    }

    fn words(now: u64, own: &Own, peers: &[Wanted]) -> String {
        changes(&parse(DUMP, now).unwrap(), own, peers).join(" ")
    }

    #[test]
    fn what_is_as_wanted_is_left_alone() {
        let peers = [
            wanted("k1", "192.0.2.1:51820", &["10.77.0.0/16"], 25),
            wanted("k2", "", &[], 0),
        ];
        assert_eq!(words(1010, &own(), &peers), "");
        // One that roams is let roam, until it is silent.
        let moved = [
            wanted("k1", "192.0.2.9:1", &["10.77.0.0/16"], 25),
            peers[1].clone(),
        ];
        assert_eq!(words(1010, &own(), &moved), "");
        assert_eq!(words(1200, &own(), &moved), "peer k1 endpoint 192.0.2.9:1");
        assert_eq!(words(1200, &own(), &peers), "");
    }

    #[test]
    fn what_differs_is_set() {
        let peers = [
            wanted("k1", "", &["10.77.0.1/32"], 25),
            wanted("k3", "192.0.2.3:3", &["10.77.0.3/32"], 0),
        ];
        let other = Own {
            private: "other",
            port: Some(1),
            ..own()
        };
        assert_eq!(
            words(1010, &other, &peers),
            "private-key /f listen-port 1 peer k2 remove peer k1 allowed-ips 10.77.0.1/32 \
             peer k3 endpoint 192.0.2.3:3 persistent-keepalive 0 allowed-ips 10.77.0.3/32"
        );
    }

    #[test]
    fn cut_or_hostile_dumps_are_errors() {
        for bad in [
            "",
            "x",
            "a\tb\tc\td\n",
            "s\tp\t1\toff\nk1\t(none)\n",
            "s\tp\t1\toff\nk\t-\t-\t-\tx\t1\t1\toff",
        ] {
            assert!(parse(bad, 0).is_err(), "{bad:?}");
        }
        // A clock that was set back makes no handshake old.
        assert_eq!(parse(DUMP, 5).unwrap().peers[0].age, Some(0));
    }
}
