//! MQTT 3.1.1 session with AWS IoT over mutual TLS.
//!
//! The certificate of the server is verified only with the CA bundle of the device
//! image, never with the trust store of the system. The session has no thread of its own:
//! whoever holds it waits in it ([`Session::receive`], [`Session::idle`]), which also
//! answers and sends the keep-alive. Every step has one deadline. Why this is no client
//! library: `docs/decisions/0041-own-mqtt-session.md`.

mod packet;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use openssl::ssl::{ErrorCode, SslStream};

pub use crate::connect::{CaBundle, ConnectError, ConnectErrorKind};
use crate::connect::{HTTPS_PORT, Identity, Peer, Stream, dial, not_accepted};
use packet::Packet;

/// TCP port of AWS IoT for MQTT with client certificates.
pub const PORT: u16 = 8883;
/// ALPN protocol, with its length, that requests MQTT on the HTTPS port, which most
/// firewalls leave open.
const ALPN: &[u8] = b"\x0ex-amzn-mqtt-ca";
/// Size limit of a received payload, in bytes, equal to the limit of AWS IoT.
const MAX_MESSAGE_BYTES: usize = 128 * 1024;
/// Maximum number of received messages that wait for [`Session::receive`]; older ones
/// are dropped.
const MAX_WAITING: usize = 64;
/// Keep-alive that the broker is promised, in seconds. It closes the connection after
/// one and a half times as long without a packet.
const KEEP_ALIVE: u16 = 60;
/// Time within which a server that does not trust the client sends its alert.
const ALERT_LIMIT: Duration = Duration::from_secs(1);
/// Time without a packet in one direction after which PINGREQ is sent.
const PING_AFTER: Duration = Duration::from_secs(40);

/// Parameters of a [`Session`]: endpoint, credentials, time limit and last will.
pub struct Options<'a> {
    /// Host name of the endpoint, for which the server's certificate must be valid.
    pub endpoint: &'a str,
    /// TCP port of the endpoint; port 443 enables ALPN.
    pub port: u16,
    /// HTTP proxy, `http://HOST:PORT`, that tunnels the connection with CONNECT.
    pub proxy: Option<&'a str>,
    /// MQTT client ID. AWS IoT closes an older connection with the same ID.
    pub client_id: &'a str,
    /// Path of the client certificate, a PEM file.
    pub certificate: PathBuf,
    /// Path of the private key of the client certificate, a PEM file.
    pub key: PathBuf,
    /// CA certificates with which the server's certificate is verified.
    pub ca_bundle: &'a CaBundle,
    /// Time limit of each step: connecting, from the name look-up to the answer of the
    /// broker; subscribing; publishing.
    pub timeout: Duration,
    /// Topic and payload of the last will, published by the broker when the session
    /// ends without DISCONNECT.
    pub will: Option<(&'a str, Vec<u8>)>,
}

impl<'a> Options<'a> {
    fn peer(&'a self, identity: &'a Identity) -> Peer<'a> {
        Peer {
            host: self.endpoint,
            port: self.port,
            proxy: self.proxy,
            identity: Some(identity),
            ca_bundle: self.ca_bundle,
            alpn: (self.port == HTTPS_PORT).then_some(ALPN),
        }
    }
}

/// MQTT message that was received from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Topic to which the message was published.
    pub topic: String,
    /// Payload, at most 128 KiB.
    pub payload: Vec<u8>,
}

/// Event that ends [`Session::receive`].
#[derive(Debug)]
pub enum Event {
    /// A message was received within the time limit.
    Message(Message),
    /// The time limit was reached without a message.
    Timeout,
    /// The connection to the broker was lost.
    Disconnected,
}

/// Connected MQTT session with AWS IoT.
pub struct Session(RefCell<Connection>);

/// State of a session.
struct Connection {
    tls: SslStream<Stream>,
    buffer: Vec<u8>,
    inbox: VecDeque<Message>,
    last_id: u16,
    timeout: Duration,
    sent: Instant,
    received: Instant,
    pinged: Option<Instant>,
    open: bool,
}

/// The connection was lost.
#[derive(Debug)]
struct Lost(Option<openssl::ssl::Error>);

impl Session {
    /// Connects to the endpoint and waits until the broker has accepted the connection.
    ///
    /// # Errors
    /// [`ConnectError`], or the certificate, the key or the CA bundle cannot be used.
    pub fn connect(options: &Options) -> Result<Self> {
        let end = Instant::now() + options.timeout;
        let now = Instant::now();
        let identity = Identity {
            certificate: options.certificate.clone(),
            key: options.key.clone(),
        };
        let peer = options.peer(&identity);
        let mut connection = Connection {
            tls: dial(&peer, end)?,
            buffer: Vec::new(),
            inbox: VecDeque::new(),
            last_id: 0,
            timeout: options.timeout,
            sent: now,
            received: now,
            pinged: None,
            open: true,
        };
        let accepted = connection.request_connection(options, end);
        accepted.map_err(|error| diagnose(&peer, error, end).of(&peer))?;
        Ok(Self(RefCell::new(connection)))
    }

    /// Subscribes to all topic `filters` with QoS 1 in one packet, because a round trip
    /// on a mobile network may take a second.
    ///
    /// # Errors
    /// The broker does not answer in time or rejects a filter.
    pub fn subscribe(&self, filters: &[&str]) -> Result<()> {
        let context = || format!("subscribing to {}", filters.join(", "));
        let mut connection = self.0.borrow_mut();
        let id = connection.next_id();
        connection
            .send(&packet::subscribe(id, filters))
            .with_context(context)?;
        let codes = connection
            .wait_for(|packet| match packet {
                Packet::Subscribed(answered, codes) if answered == id => Some(codes),
                _ => None,
            })
            .with_context(context)?;
        let rejected = |index: &usize| codes.get(*index).is_none_or(|code| *code > 2);
        match (0..filters.len()).find(rejected) {
            Some(index) => bail!(
                "subscribing to {}: rejected",
                filters.get(index).unwrap_or(&"?")
            ),
            None => Ok(()),
        }
    }

    /// Publishes `payload` with QoS 1 and waits for the broker's acknowledgement. If
    /// AWS replies to a request with a message, that message may arrive before the
    /// acknowledgement.
    ///
    /// # Errors
    /// The broker does not acknowledge in time.
    pub fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>) -> Result<()> {
        let context = || format!("publishing to {topic}");
        let mut connection = self.0.borrow_mut();
        let id = connection.next_id();
        let publish = packet::publish(id, topic, &payload.into());
        connection.send(&publish).with_context(context)?;
        connection
            .wait_for(|packet| (packet == Packet::Published(id)).then_some(()))
            .with_context(context)
    }

    /// Waits at most `limit` for a message. Payloads of more than 128 KiB are skipped.
    pub fn receive(&self, limit: Duration) -> Event {
        let end = Instant::now() + limit;
        let mut connection = self.0.borrow_mut();
        loop {
            if let Some(message) = connection.inbox.pop_front() {
                return Event::Message(message);
            }
            match connection.step(end) {
                Ok(Some(_)) => {}
                Ok(None) => return Event::Timeout,
                Err(_) if connection.inbox.is_empty() => return Event::Disconnected,
                Err(_) => {}
            }
        }
    }

    /// Keeps the session alive for `time`; messages that arrive wait for
    /// [`Session::receive`].
    pub fn idle(&self, time: Duration) {
        let end = Instant::now() + time;
        let mut connection = self.0.borrow_mut();
        while let Ok(Some(_)) = connection.step(end) {}
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
    }

    /// Returns whether the connection is up. A broken network is noticed only by the
    /// keep-alive.
    pub fn is_connected(&self) -> bool {
        let end = Instant::now() + Duration::from_millis(1);
        let mut connection = self.0.borrow_mut();
        while let Ok(Some(_)) = connection.step(end) {}
        connection.open
    }

    /// Sends DISCONNECT, which cancels the last will.
    pub fn close(self) {
        let mut connection = self.0.into_inner();
        if connection.open && connection.send(&packet::DISCONNECT).is_ok() {
            let _ = connection.tls.shutdown();
        }
        connection.tls.get_ref().shut_down();
    }
}

/// Returns the error of a connection that was closed before the server accepted it. A
/// server that does not trust the client sends an alert, which is lost if CONNECT arrives
/// after it; so another connection waits for the alert and sends nothing.
fn diagnose(peer: &Peer, error: ConnectError, end: Instant) -> ConnectError {
    let probed = (error.kind == ConnectErrorKind::Network && Instant::now() < end)
        .then(|| dial(peer, end).ok())
        .flatten();
    let Some(mut stream) = probed else {
        return error;
    };
    stream.get_mut().deadline = end.min(Instant::now() + ALERT_LIMIT);
    match stream.ssl_read(&mut [0]) {
        Err(refusal) => {
            let refusal = not_accepted(&refusal);
            let alert = refusal.kind == ConnectErrorKind::Tls;
            if alert { refusal } else { error }
        }
        Ok(_) => error,
    }
}

impl Connection {
    /// Sends CONNECT and waits for CONNACK until `end`.
    fn request_connection(&mut self, options: &Options, end: Instant) -> Result<(), ConnectError> {
        let will = options.will.as_ref();
        let will = will.map(|(topic, payload)| (*topic, payload.as_slice()));
        let connect = packet::connect(options.client_id, KEEP_ALIVE, will);
        self.tls.get_mut().deadline = end;
        let closed = "closed by the server before it answered";
        // If the server has closed the connection, its alert can still be read.
        let _ = self.tls.write_all(&connect);
        match self.step(end) {
            Ok(Some(Packet::Connected(0))) => Ok(()),
            Ok(Some(Packet::Connected(code))) => Err(ConnectError::return_code(code)),
            Ok(Some(_)) | Err(Lost(None)) => Err(ConnectError::network(true, closed.into())),
            Ok(None) => {
                let silent = "the server does not answer CONNECT in time";
                Err(ConnectError::network(true, silent.into()))
            }
            Err(Lost(Some(error))) => Err(not_accepted(&error)),
        }
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.wrapping_add(1).max(1);
        self.last_id
    }

    fn send(&mut self, packet: &[u8]) -> Result<()> {
        if !self.open {
            bail!("the connection was lost");
        }
        self.tls.get_mut().deadline = Instant::now() + self.timeout;
        if let Err(error) = self.tls.write_all(packet) {
            self.lose();
            bail!("the connection was lost: {error}");
        }
        self.sent = Instant::now();
        Ok(())
    }

    fn lose(&mut self) {
        self.open = false;
        self.tls.get_ref().shut_down();
    }

    /// Waits until `find` returns a value for a packet of the broker.
    fn wait_for<T>(&mut self, find: impl Fn(Packet) -> Option<T>) -> Result<T> {
        let end = Instant::now() + self.timeout;
        loop {
            match self.step(end) {
                Ok(Some(packet)) => {
                    if let Some(found) = find(packet) {
                        return Ok(found);
                    }
                }
                Ok(None) => bail!("no answer within {} s", self.timeout.as_secs_f32()),
                Err(_) => bail!("the connection was lost"),
            }
        }
    }

    /// Waits until `end` for a packet, keeps the connection alive meanwhile, and returns
    /// the packet; a message is put into the inbox.
    fn step(&mut self, end: Instant) -> Result<Option<Packet>, Lost> {
        let packet = self.read_packet(end);
        match packet {
            Ok(Some(Packet::Message(message, id))) => {
                // A connection that is lost here is noticed by the next step.
                if let Some(id) = id {
                    let _ = self.send(&packet::acknowledge(id));
                }
                if message.payload.len() <= MAX_MESSAGE_BYTES {
                    if self.inbox.len() == MAX_WAITING {
                        self.inbox.pop_front();
                    }
                    self.inbox.push_back(message);
                }
                Ok(Some(Packet::Pong))
            }
            Ok(packet) => Ok(packet),
            Err(lost) => {
                self.lose();
                Err(lost)
            }
        }
    }

    fn read_packet(&mut self, end: Instant) -> Result<Option<Packet>, Lost> {
        loop {
            if !self.open {
                return Err(Lost(None));
            }
            if let Some(packet) = packet::take(&mut self.buffer).map_err(|_| Lost(None))? {
                return Ok(Some(packet));
            }
            let alive = self.keep_alive()?;
            let deadline = end
                .min(alive)
                .max(Instant::now() + Duration::from_millis(1));
            self.tls.get_mut().deadline = deadline;
            let mut chunk = [0; 4096];
            match self.tls.ssl_read(&mut chunk) {
                Ok(0) => return Err(Lost(None)),
                Ok(count) => {
                    self.buffer.extend(&chunk[..count]);
                    self.received = Instant::now();
                    self.pinged = None;
                }
                Err(e) if matches!(e.code(), ErrorCode::WANT_READ | ErrorCode::WANT_WRITE) => {
                    if Instant::now() >= end {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(Lost(Some(error))),
            }
        }
    }

    /// Sends PINGREQ if it is due, and returns when to look again. Fails if the last one
    /// was not answered in time.
    fn keep_alive(&mut self) -> Result<Instant, Lost> {
        if let Some(pinged) = self.pinged {
            let end = pinged + self.timeout;
            return if Instant::now() < end {
                Ok(end)
            } else {
                Err(Lost(None))
            };
        }
        let due = self.sent.min(self.received) + PING_AFTER;
        if Instant::now() < due {
            return Ok(due);
        }
        self.send(&packet::PING).map_err(|_| Lost(None))?;
        let now = Instant::now();
        self.pinged = Some(now);
        Ok(now + self.timeout)
    }
}
