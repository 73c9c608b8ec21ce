//! Errors of a connection, with the stage that failed.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use super::Peer;

/// Stage at which a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectErrorKind {
    /// Name look-up, TCP or proxy failed, or the endpoint did not answer or is
    /// unavailable.
    Network,
    /// The TLS handshake failed, usually because one side does not trust the other.
    Tls,
    /// The broker rejected the MQTT CONNECT request.
    Rejected,
}

/// Last stage that an attempt reached, from the least telling error to the most telling one. A device
/// without IPv6 fails at once on each IPv6 address, which says nothing of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Progress {
    /// This device has no route to the address.
    NoRoute,
    /// Nothing answered.
    Silent,
    /// The address answered that it accepts no connection.
    Refused,
    /// The proxy answered, and made no tunnel.
    Proxy,
    /// The server accepted the TCP connection.
    Reached,
    /// The server answered in TLS, or rejected the MQTT session.
    Answered,
}

/// Error of a connection, with the stage that failed.
#[derive(Debug)]
pub struct ConnectError {
    /// Stage that failed.
    pub kind: ConnectErrorKind,
    /// Whether the server accepted a TCP connection, directly or through the proxy.
    pub reached: bool,
    progress: Progress,
    message: String,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConnectError {}

impl ConnectError {
    /// Returns an error of the network behind TCP, or of what has no address.
    pub(crate) fn network(reached: bool, message: String) -> Self {
        Self {
            kind: ConnectErrorKind::Network,
            reached,
            progress: match reached {
                true => Progress::Reached,
                false => Progress::Silent,
            },
            message,
        }
    }

    /// Returns the error of an address to which TCP did not connect.
    pub(super) fn unreached(address: SocketAddr, error: &io::Error) -> Self {
        let progress = match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Progress::Refused,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Progress::Silent,
            _ => Progress::NoRoute,
        };
        Self {
            progress,
            ..Self::network(false, format!("{address}: {error}"))
        }
    }

    /// Returns the error of a proxy that is connected and makes no tunnel.
    pub(super) fn proxy(address: SocketAddr, cause: &str) -> Self {
        Self {
            progress: Progress::Proxy,
            ..Self::network(false, format!("{address}: {cause}"))
        }
    }

    pub(super) fn tls(message: String) -> Self {
        Self {
            kind: ConnectErrorKind::Tls,
            reached: true,
            progress: Progress::Answered,
            message,
        }
    }

    /// Converts a return code of CONNACK. Code 3 says that the server is overloaded or
    /// being maintained, which passes.
    #[cfg(feature = "mqtt")]
    pub(crate) fn return_code(code: u8) -> Self {
        let cause = match code {
            1 => "protocol version not supported",
            2 => "client ID rejected",
            3 => "server unavailable",
            4 => "invalid user name or password",
            5 => "not authorized",
            _ => "unknown reason",
        };
        let message = format!("rejected the connection: {cause} (return code {code})");
        Self {
            kind: match code {
                3 => ConnectErrorKind::Network,
                _ => ConnectErrorKind::Rejected,
            },
            reached: true,
            progress: Progress::Answered,
            message,
        }
    }

    /// Returns how far the connection came: the error that came farthest is reported.
    pub(super) fn progress(&self) -> Progress {
        self.progress
    }

    /// Prepends the address.
    pub(super) fn at(mut self, address: SocketAddr) -> Self {
        self.message = format!("{address}: {}", self.message);
        self
    }

    /// Prepends the server and the proxy.
    pub(crate) fn of(mut self, peer: &Peer) -> Self {
        let through = peer
            .proxy
            .map_or(String::new(), |p| format!(" through {p}"));
        let (host, port) = (peer.host, peer.port);
        self.message = format!("connecting to {host}:{port}{through}: {}", self.message);
        self
    }
}
