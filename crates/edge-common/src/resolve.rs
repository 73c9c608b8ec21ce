//! Look-up of the addresses of a host, IPv6 and IPv4 side by side.
//!
//! One look-up for both families returns only when both are answered: glibc waits for an
//! AAAA answer that never comes as long as for a server that is dead, several seconds even
//! though it has the IPv4 addresses. See `docs/decisions/0053-side-by-side-look-ups.md`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use dns_lookup::{AddrFamily, AddrInfoHints, SockType, getaddrinfo};

/// Time for the other family after the answer of one, as RFC 8305 recommends for IPv6
/// after IPv4.
pub const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// Time for the other family where an address is chosen once and kept.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answer of one look-up: addresses of one family.
pub type Answer = io::Result<Vec<SocketAddr>>;

/// Starts to look up `host` in both families and returns the number of answers, each of
/// which is passed to `answered`, from another thread or before the function returns.
///
/// The time limits of the system's resolver add up to half a minute and cannot be set for
/// a single look-up: a caller with a limit of its own stops to wait, and the threads end
/// with the look-ups.
pub fn look_up(host: &str, port: u16, answered: impl Fn(Answer) + Clone + Send + 'static) -> usize {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        answered(Ok(vec![SocketAddr::new(address, port)]));
        return 1;
    }
    let families = [AddrFamily::Inet6, AddrFamily::Inet];
    for family in families {
        let (host, inside) = (host.to_string(), answered.clone());
        let thread = std::thread::Builder::new().name("look-up".into());
        if let Err(error) = thread.spawn(move || inside(addresses(&host, port, family))) {
            answered(Err(error));
        }
    }
    families.len()
}

/// Returns the address of `host` to which this device has a route, IPv6 before IPv4, for a
/// peer whose address is configured and not tried.
///
/// # Errors
/// No family has an address, or none is answered until `end`.
pub fn reachable(host: &str, port: u16, end: Instant) -> io::Result<SocketAddr> {
    let (sender, receiver) = channel();
    let mut pending = look_up(host, port, move |answer| drop(sender.send(answer)));
    let (mut found, mut failed, mut end) = (Vec::new(), Vec::new(), end);
    while pending > 0
        && !found
            .iter()
            .any(|a: &SocketAddr| a.is_ipv6() && has_route(*a))
    {
        let left = end.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left) {
            Ok(Ok(addresses)) => {
                found.extend(addresses);
                end = end.min(Instant::now() + PATIENCE);
            }
            Ok(Err(error)) => failed.push(error),
            Err(_) => break,
        }
        pending -= 1;
    }
    found.sort_by_key(SocketAddr::is_ipv4);
    let routed = found.iter().find(|address| has_route(**address));
    match routed.or(found.first()) {
        Some(address) => Ok(*address),
        None if pending > 0 => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
        None => Err(io::Error::other(failure(&failed))),
    }
}

/// Joins the errors of a name that no family has: one of them is often the cause (a server
/// that is dead) and the other is not (no such address).
pub fn failure(errors: &[io::Error]) -> String {
    let mut texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    texts.dedup();
    match texts.is_empty() {
        true => "no address".into(),
        false => texts.join("; "),
    }
}

/// Asks the kernel for a route; a UDP socket sends nothing to connect.
fn has_route(address: SocketAddr) -> bool {
    let any = match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    UdpSocket::bind((any, 0)).is_ok_and(|socket| socket.connect(address).is_ok())
}

fn addresses(host: &str, port: u16, family: AddrFamily) -> Answer {
    let hints = AddrInfoHints {
        address: family.into(),
        socktype: SockType::Stream.into(),
        ..AddrInfoHints::default()
    };
    let found = getaddrinfo(Some(host), None, Some(hints))?;
    let mut addresses = Vec::new();
    for info in found {
        let mut address = info?.sockaddr;
        address.set_port(port);
        addresses.push(address);
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_ten_seconds() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn an_address_needs_no_look_up() {
        for (host, expected) in [
            ("192.0.2.1", "192.0.2.1:5"),
            ("[fd00::1]", "[fd00::1]:5"),
            ("fd00::1", "[fd00::1]:5"),
        ] {
            let (sender, receiver) = channel();
            assert_eq!(look_up(host, 5, move |a| drop(sender.send(a))), 1);
            let found = receiver.try_recv().unwrap().unwrap();
            assert_eq!(found, [expected.parse().unwrap()]);
        }
    }

    #[test]
    fn names_have_an_address_or_an_error() {
        let found = reachable("localhost", 5, in_ten_seconds()).unwrap();
        assert!(found.ip().is_loopback() && found.port() == 5, "{found}");
        for host in ["", "a\0b", "nothing.invalid", &"x".repeat(5000)] {
            let error = reachable(host, 5, in_ten_seconds()).unwrap_err();
            assert!(!error.to_string().is_empty(), "{host:?}");
        }
    }

    #[test]
    fn errors_of_both_families_are_named_once() {
        let error = |text: &str| io::Error::other(text.to_string());
        assert_eq!(failure(&[error("a"), error("a")]), "a");
        assert_eq!(failure(&[error("a"), error("b")]), "a; b");
        assert_eq!(failure(&[]), "no address");
    }
}
