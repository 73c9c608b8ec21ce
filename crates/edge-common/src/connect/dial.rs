//! Connection to the endpoint: name look-up, TCP, proxy and TLS, over all addresses at
//! once by Happy Eyeballs (<https://www.rfc-editor.org/rfc/rfc8305>), until one deadline.
//! Addresses of one family are tried while the look-up of the other still runs.
//!
//! The race includes TLS: an address on which TCP connects and TLS does not begin is as
//! dead as one that does not answer.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use openssl::ssl::{SslContext, SslStream};

use super::error::Progress;
use super::stream::Stream;
use super::{ConnectError, Peer, tls};
use crate::resolve::{self, RESOLUTION_DELAY};

/// Pause before the next address is tried while the last one has not connected, as
/// RFC 8305 recommends.
const STAGGER: Duration = Duration::from_millis(250);
/// Pause before another connection is tried while TCP is connected and TLS has not ended:
/// several round trips of a slow mobile network.
const TLS_PATIENCE: Duration = Duration::from_secs(3);
/// Time for the attempts to report why they ended at the deadline.
const GRACE: Duration = Duration::from_millis(500);
/// Maximum number of addresses of a family that are tried.
const MAX_ADDRESSES: usize = 16;
/// Size limit of the head of a proxy's answer, in bytes.
const MAX_HEAD_BYTES: usize = 4096;

/// Parameters that all attempts share.
#[derive(Clone)]
struct Target {
    context: SslContext,
    endpoint: String,
    port: u16,
    through_proxy: bool,
    end: Instant,
}

/// Event of a look-up or of an attempt.
enum Event {
    /// A look-up has ended.
    Answered(resolve::Answer),
    /// TCP is connected to this address.
    Connected(SocketAddr),
    /// The attempt has ended.
    Done(SocketAddr, Result<SslStream<Stream>, ConnectError>),
}

/// Connects to `peer` until `end` and returns the first stream whose TLS handshake
/// succeeds.
pub(crate) fn dial(peer: &Peer, end: Instant) -> Result<SslStream<Stream>> {
    let target = Target {
        context: tls::context(peer)?,
        endpoint: peer.host.into(),
        port: peer.port,
        through_proxy: peer.proxy.is_some(),
        end,
    };
    let endpoint = format!("{}:{}", peer.host, peer.port);
    let next_hop = peer.proxy.map_or(endpoint.as_str(), |proxy| {
        proxy.strip_prefix("http://").unwrap_or(proxy)
    });
    let (host, port) = host_and_port(next_hop)?;
    Ok(race(&target, host, port).map_err(|error| error.of(peer))?)
}

/// Splits `HOST:PORT` of the endpoint or the proxy.
fn host_and_port(address: &str) -> Result<(&str, u16)> {
    let parts = address.trim_end_matches('/').rsplit_once(':');
    parts
        .and_then(|(host, port)| Some((host, port.parse().ok()?)))
        .with_context(|| format!("{address} is not HOST:PORT"))
}

/// Orders addresses so that the families alternate, beginning with IPv6: a device with one
/// working family then waits for one address only.
fn interleave(addresses: impl IntoIterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let (one, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(SocketAddr::is_ipv6);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut ordered = VecDeque::new();
    loop {
        let pair = [one.next(), other.next()];
        if pair == [None, None] {
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

/// Race over addresses: attempts that run, and addresses that wait for their turn.
struct Race {
    /// Look-ups that run.
    pending: usize,
    /// Errors of the look-ups that have ended.
    unresolved: Vec<io::Error>,
    /// Addresses that were found.
    known: Vec<SocketAddr>,
    queue: VecDeque<SocketAddr>,
    /// Addresses that connected and whose TLS has not ended. Each is tried a second time:
    /// a server may have lost the first connection.
    stalled: Vec<SocketAddr>,
    repeated: Vec<SocketAddr>,
    running: usize,
    next_start: Instant,
    error: Option<ConnectError>,
}

fn race(target: &Target, host: &str, port: u16) -> Result<SslStream<Stream>, ConnectError> {
    let (sender, receiver) = mpsc::channel();
    let answers = sender.clone();
    let answered = move |answer| drop(answers.send(Event::Answered(answer)));
    let mut race = Race::new(resolve::look_up(host, port, answered));
    loop {
        race.start_due(target, &sender);
        if let Some(stream) = race.wait(&receiver, target.end) {
            return Ok(stream);
        }
        if race.is_over(target.end) {
            return Err(race.failure(host));
        }
    }
}

impl Race {
    /// Creates a race without addresses, for which `pending` look-ups run.
    fn new(pending: usize) -> Self {
        Self {
            pending,
            unresolved: Vec::new(),
            known: Vec::new(),
            queue: VecDeque::new(),
            stalled: Vec::new(),
            repeated: Vec::new(),
            running: 0,
            next_start: Instant::now(),
            error: None,
        }
    }

    /// Puts the addresses of a look-up into the queue.
    fn add(&mut self, answer: resolve::Answer) {
        self.pending -= 1;
        for address in answer.unwrap_or_else(|error| {
            self.unresolved.push(error);
            Vec::new()
        }) {
            let same = |a: &&SocketAddr| a.is_ipv6() == address.is_ipv6();
            let of_family = self.known.iter().filter(same).count();
            if of_family < MAX_ADDRESSES && !self.known.contains(&address) {
                self.known.push(address);
                self.queue.push_back(address);
            }
        }
        self.queue = interleave(self.queue.drain(..));
        if self.running == 0 {
            let wait = self.pending > 0 && self.queue.front().is_some_and(SocketAddr::is_ipv4);
            let delay = if wait {
                RESOLUTION_DELAY
            } else {
                Duration::ZERO
            };
            self.next_start = Instant::now() + delay;
        }
    }

    /// Returns whether nothing is left to wait for.
    fn is_over(&self, end: Instant) -> bool {
        let now = Instant::now();
        let left = self.running + self.pending + self.queue.len();
        left == 0 || now >= end + GRACE || (now >= end && self.running == 0)
    }

    /// Returns the error of the attempt that came farthest, or else that of the look-ups.
    fn failure(self, host: &str) -> ConnectError {
        let cause = match (self.known.is_empty(), self.pending) {
            (true, 0) => format!("looking up {host}: {}", resolve::failure(&self.unresolved)),
            (true, _) => format!("looking up {host}: no answer in time"),
            (false, _) => "no answer in time".into(),
        };
        // An attempt that still runs says more than a missing route.
        let silent = self.running > 0;
        let told = |error: &ConnectError| !silent || error.progress() > Progress::NoRoute;
        let error = self.error.filter(told);
        error.unwrap_or_else(|| ConnectError::network(false, cause))
    }

    fn start_due(&mut self, target: &Target, sender: &Sender<Event>) {
        let now = Instant::now();
        if now < self.next_start || now >= target.end {
            return;
        }
        if self.queue.is_empty()
            && let Some(address) = self.stalled.pop()
        {
            self.repeated.push(address);
            self.queue.push_back(address);
        }
        let Some(address) = self.queue.pop_front() else {
            return;
        };
        let (target, sender) = (target.clone(), sender.clone());
        std::thread::spawn(move || {
            let result = attempt(&target, address, &sender);
            let _ = sender.send(Event::Done(address, result));
        });
        self.running += 1;
        self.next_start = now + STAGGER;
    }

    /// Waits for an event, or until the next attempt is due.
    fn wait(&mut self, receiver: &Receiver<Event>, end: Instant) -> Option<SslStream<Stream>> {
        let now = Instant::now();
        let more = !self.queue.is_empty() || !self.stalled.is_empty();
        let until = if more && self.next_start < end {
            self.next_start
        } else if self.running == 0 {
            end
        } else {
            end + GRACE
        };
        match receiver.recv_timeout(until.saturating_duration_since(now)) {
            Ok(Event::Answered(answer)) => self.add(answer),
            Ok(Event::Connected(address)) => {
                if !self.repeated.contains(&address) {
                    self.stalled.push(address);
                }
                self.next_start = Instant::now() + TLS_PATIENCE;
            }
            Ok(Event::Done(_, Ok(stream))) => return Some(stream),
            Ok(Event::Done(address, Err(error))) => {
                self.running -= 1;
                self.stalled.retain(|a| *a != address);
                self.next_start = Instant::now();
                let worse = |old: &ConnectError| old.progress() < error.progress();
                if self.error.as_ref().is_none_or(worse) {
                    self.error = Some(error);
                }
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        None
    }
}

/// Connects to one address, directly or as the proxy, and performs the TLS handshake.
fn attempt(
    target: &Target,
    address: SocketAddr,
    sender: &Sender<Event>,
) -> Result<SslStream<Stream>, ConnectError> {
    let left = target.end.saturating_duration_since(Instant::now());
    let tcp = TcpStream::connect_timeout(&address, left.max(Duration::from_millis(1)))
        .map_err(|error| ConnectError::unreached(address, &error))?;
    let _ = sender.send(Event::Connected(address));
    let mut stream = Stream::new(tcp, target.end);
    if target.through_proxy {
        let tunnel = request_tunnel(&mut stream, target);
        tunnel.map_err(|cause| ConnectError::proxy(address, &cause))?;
        stream.received = 0;
    }
    let ssl = tls::client(&target.context, &target.endpoint);
    let ssl = ssl.map_err(|error| ConnectError::tls(format!("{error:#}")))?;
    tls::handshake(ssl, stream).map_err(|error| error.at(address))
}

/// Requests a tunnel to the endpoint from the proxy.
fn request_tunnel(stream: &mut Stream, target: &Target) -> Result<(), String> {
    let endpoint = format!("{}:{}", target.endpoint, target.port);
    let mut request = || {
        let request = format!("CONNECT {endpoint} HTTP/1.1\r\nHost: {endpoint}\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut head = Vec::new();
        // The response is read byte by byte, because the data after its head belongs to
        // TLS.
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_HEAD_BYTES {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&head).into_owned())
    };
    let head = request().map_err(|e| match e.kind() {
        std::io::ErrorKind::WouldBlock => "the proxy does not answer in time".to_string(),
        _ => format!("the proxy does not answer: {e}"),
    })?;
    if !head.ends_with("\r\n\r\n") {
        return Err("the proxy's answer is too long".into());
    }
    let status = head.split(' ').nth(1).unwrap_or_default();
    if head.starts_with("HTTP/1.") && status.len() == 3 && status.starts_with('2') {
        return Ok(());
    }
    let line = head.lines().next().unwrap_or_default();
    Err(format!(
        "the proxy rejected the connection: {}",
        crate::log::printable(line)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle() -> Race {
        let known = vec!["[2001:db8::1]:1".parse().unwrap()];
        Race {
            known,
            ..Race::new(0)
        }
    }

    /// Returns the message after attempts that end with these errors, in this order, while
    /// others still run.
    fn message(errors: Vec<ConnectError>, running: usize) -> String {
        let (mut race, (sender, receiver)) = (idle(), mpsc::channel());
        race.running = errors.len() + running;
        let (address, count) = (race.known[0], errors.len());
        for error in errors {
            sender.send(Event::Done(address, Err(error))).unwrap();
        }
        for _ in 0..count {
            assert!(race.wait(&receiver, Instant::now()).is_none());
        }
        race.failure("x").to_string()
    }

    #[test]
    fn the_most_telling_error_is_reported_in_any_order() {
        let at = |kind: io::ErrorKind| {
            ConnectError::unreached("[2001:db8::1]:1".parse().unwrap(), &io::Error::from(kind))
        };
        // From the least telling one.
        let errors: [&dyn Fn() -> ConnectError; 6] = [
            &|| at(io::ErrorKind::NetworkUnreachable),
            &|| at(io::ErrorKind::TimedOut),
            &|| at(io::ErrorKind::ConnectionRefused),
            &|| ConnectError::proxy("192.0.2.1:1".parse().unwrap(), "rejected: 407"),
            &|| ConnectError::network(true, "TLS did not begin".into()),
            &|| ConnectError::tls("not trusted".into()),
        ];
        for (rank, more) in errors.iter().enumerate() {
            for less in &errors[..rank] {
                let expected = more().to_string();
                assert_eq!(message(vec![less(), more()], 0), expected);
                assert_eq!(message(vec![more(), less()], 0), expected);
            }
        }
        let route = || errors[0]();
        assert_eq!(message(vec![route()], 0), route().to_string());
        assert_eq!(message(vec![route()], 1), "no answer in time");
        assert_eq!(message(vec![errors[2]()], 1), errors[2]().to_string());
    }

    #[test]
    fn families_alternate_from_ipv6() {
        let parse = |text: &&str| text.parse::<SocketAddr>().unwrap();
        let found = ["10.0.0.1:1", "10.0.0.2:1", "[::1]:1", "[::2]:1"];
        let ordered: Vec<_> = interleave(found.iter().map(parse)).into();
        let expected = ["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1"];
        assert_eq!(ordered, expected.iter().map(parse).collect::<Vec<_>>());
        assert!(interleave(Vec::new()).is_empty());
    }
}
