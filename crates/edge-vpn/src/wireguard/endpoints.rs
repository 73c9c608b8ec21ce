//! Look-up of the endpoints that have a host name, all at once and within one time limit:
//! the system's resolver may take half a minute for a single dead name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use edge_common::resolve;

use super::interface::DesiredPeer;
use crate::net;

/// Time limit of all look-ups together.
const LIMIT: Duration = Duration::from_secs(15);

/// Running look-ups, one thread for each name.
pub(super) struct Lookup {
    pending: BTreeSet<String>,
    receiver: Receiver<(String, Result<SocketAddr>)>,
    end: Instant,
}

/// Returns the address of an endpoint that contains one.
pub(super) fn literal(endpoint: &str) -> Option<SocketAddr> {
    let (host, port) = net::endpoint(endpoint)?;
    Some(SocketAddr::new(host.parse().ok()?, port))
}

impl Lookup {
    /// Starts to look up the names of all peers without an address.
    pub(super) fn start(peers: &[DesiredPeer]) -> Self {
        let unknown = peers.iter().filter(|peer| peer.endpoint.is_none());
        let names: BTreeSet<_> = unknown.filter_map(|peer| peer.name.clone()).collect();
        let (sender, receiver) = channel();
        for name in names.clone() {
            let sender = sender.clone();
            // A thread that outlives the limit ends with the program. One that cannot be
            // started counts as a name that is not answered.
            let _ = std::thread::Builder::new().spawn(move || {
                let address = resolve(&name, Instant::now() + LIMIT);
                let _ = sender.send((name, address));
            });
        }
        Self {
            pending: names,
            receiver,
            end: Instant::now() + LIMIT,
        }
    }

    /// Sets the addresses of the names that are answered before `end`; returns a message
    /// about the first that is not.
    pub(super) fn finish(mut self, peers: &mut [DesiredPeer], end: Instant) -> Option<String> {
        let end = self.end.min(end);
        let (mut found, mut first) = (BTreeMap::new(), None);
        while !self.pending.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            let Ok((name, address)) = self.receiver.recv_timeout(left) else {
                break;
            };
            self.pending.remove(&name);
            match address {
                Ok(address) => {
                    found.insert(name, address);
                }
                Err(error) => {
                    first.get_or_insert(format!("looking up {name}: {error:#}"));
                }
            }
        }
        for peer in peers.iter_mut().filter(|peer| peer.endpoint.is_none()) {
            peer.endpoint = peer.name.as_ref().and_then(|name| found.get(name).copied());
        }
        let silent = self.pending.first();
        first.or_else(|| Some(format!("looking up {}: no answer in time", silent?)))
    }
}

fn resolve(endpoint: &str, end: Instant) -> Result<SocketAddr> {
    let (host, port) = net::endpoint(endpoint).context("not HOST:PORT")?;
    Ok(resolve::reachable(host, port, end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: Option<&str>) -> DesiredPeer {
        DesiredPeer {
            key: "k".into(),
            preshared: None,
            name: name.map(String::from),
            endpoint: name.and_then(literal),
            allowed: BTreeSet::new(),
            keepalive: 0,
        }
    }

    #[test]
    fn addresses_need_no_look_up() {
        let names = ["192.0.2.1:5", "[fd00::1]:5"];
        let mut peers = names.map(|name| peer(Some(name)));
        let lookup = Lookup::start(&peers);
        assert!(lookup.pending.is_empty());
        assert_eq!(lookup.finish(&mut peers, Instant::now()), None);
        assert_eq!(peers[1].endpoint.unwrap().to_string(), "[fd00::1]:5");
        assert_eq!(Lookup::start(&[peer(None)]).pending.len(), 0);
    }

    #[test]
    fn a_name_without_an_answer_delays_no_other_for_longer_than_the_limit() {
        let mut peers = [peer(Some("localhost:5")), peer(Some("nothing.invalid:5"))];
        let lookup = Lookup::start(&peers);
        let end = Instant::now() + Duration::from_secs(10);
        let message = lookup.finish(&mut peers, end).unwrap();
        assert!(message.contains("nothing.invalid:5"), "{message}");
        assert!(peers[0].endpoint.unwrap().ip().is_loopback());
        assert!(Instant::now() < end + Duration::from_secs(1));
    }
}
