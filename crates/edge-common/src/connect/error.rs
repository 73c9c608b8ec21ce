//! Errors of a connection, with the stage that failed.

use std::fmt;
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

/// Error of a connection, with the stage that failed.
#[derive(Debug)]
pub struct ConnectError {
    /// Stage that failed.
    pub kind: ConnectErrorKind,
    /// Whether the server accepted a TCP connection, directly or through the proxy.
    pub reached: bool,
    message: String,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConnectError {}

impl ConnectError {
    pub(crate) fn network(reached: bool, message: String) -> Self {
        Self {
            kind: ConnectErrorKind::Network,
            reached,
            message,
        }
    }

    pub(super) fn tls(message: String) -> Self {
        Self {
            kind: ConnectErrorKind::Tls,
            reached: true,
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
            message,
        }
    }

    /// Returns how far the connection came: the error that came farthest is reported.
    pub(super) fn progress(&self) -> u8 {
        u8::from(self.reached) + u8::from(self.kind != ConnectErrorKind::Network)
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
