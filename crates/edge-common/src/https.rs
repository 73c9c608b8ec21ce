//! HTTPS client: one request, one response and one deadline for both.
//!
//! The response is read strictly, because two readers that disagree about its end disagree
//! about what follows: see [`Client::send`]. Redirects are returned, not followed. Why this
//! is no client library: `docs/decisions/0063-own-https-client.md`.

mod error;
mod message;
mod request;
mod response;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::time::{Duration, Instant};

use crate::connect::{CaBundle, HTTPS_PORT, Identity, Peer, dial};
pub use error::{Error, ErrorKind};
pub use request::{Method, Request};
pub use response::Response;

/// Sender of requests: credentials, proxy and time limits.
pub struct Client<'a> {
    /// CA certificates with which the server's certificate is verified.
    pub ca_bundle: &'a CaBundle,
    /// HTTP proxy, `http://HOST:PORT`, that tunnels the connection with CONNECT.
    pub proxy: Option<&'a str>,
    /// Client certificate, if the server demands one.
    pub identity: Option<&'a Identity>,
    /// Time limit of the connection, from the name look-up to the end of the TLS handshake.
    pub connect_timeout: Duration,
    /// Time limit of everything, from the name look-up to the last byte of the response.
    pub timeout: Duration,
}

impl Client<'_> {
    /// Sends a request over a connection of its own and returns the response, whatever its
    /// status is. A redirect is returned with its `Location`.
    ///
    /// The body ends where `Content-Length` or the last chunk says. A response with both,
    /// with two lengths, with neither, with another encoding or with bytes after its end is
    /// an error, and so is one of more than [`Request::limit`] bytes.
    ///
    /// # Errors
    /// [`Error`], whose kind says whether another attempt is of use.
    pub fn send(&self, request: &Request) -> Result<Response, Error> {
        let end = Instant::now() + self.timeout;
        let head = request.head()?;
        let (host, port) = request.peer()?;
        let peer = Peer {
            host,
            port: port.unwrap_or(HTTPS_PORT),
            proxy: self.proxy,
            identity: self.identity,
            ca_bundle: self.ca_bundle,
            alpn: None,
        };
        let mut tls = dial(&peer, end.min(Instant::now() + self.connect_timeout))?;
        tls.get_mut().deadline = end;
        // A server that refuses early has answered, although it did not read everything.
        let sent = tls
            .write_all(&head)
            .and_then(|()| tls.write_all(request.body));
        let received = response::read(&mut tls, request);
        let response = match (received, sent) {
            // In TLS 1.3 the server rejects a client certificate only after the handshake.
            (Err(error), Err(cause)) if error.kind == ErrorKind::Network => {
                Err(Error::of_io(cause))
            }
            (received, _) => received,
        };
        // The response is complete: whether the server learns that is of no interest.
        let _ = tls.shutdown();
        response.map_err(|error| error.of(request))
    }
}
