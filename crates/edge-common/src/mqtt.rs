//! MQTT 3.1.1 session with AWS IoT over mutual TLS.
//!
//! The certificate of the server is verified only with the CA bundle of the device
//! image, never with the trust store of the system. The MQTT client is the Paho C
//! library: it supports mutual TLS with the system's OpenSSL, proxies and ALPN, and
//! needs no asynchronous runtime.
//!
//! Dropping the last Paho client blocks for about a second, and dropping a client that
//! is still trying to connect deadlocks the library. Therefore unused clients are put
//! into a list and are dropped at a later connection, at least a minute after their
//! last use. Clients that are left at the end of the program are freed by the kernel.

mod diagnose;

use std::fmt;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use paho_mqtt as paho;

use crate::contract::path;
use crate::{Root, file, identity};

/// TCP port of AWS IoT for MQTT with client certificates.
pub const PORT: u16 = 8883;
/// HTTPS port, which most firewalls leave open. AWS IoT accepts MQTT on this port if
/// the client requests [`ALPN`].
const HTTPS_PORT: u16 = 443;
/// ALPN protocol name that requests MQTT with client certificates on [`HTTPS_PORT`].
const ALPN: &str = "x-amzn-mqtt-ca";
/// Size limit of a received payload, in bytes, equal to the limit of AWS IoT.
const MAX_MESSAGE_BYTES: usize = 128 * 1024;

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
    /// Time limit of each step: connecting, subscribing, publishing.
    pub timeout: Duration,
    /// Topic and payload of the last will, published by the broker when the session
    /// ends without DISCONNECT.
    pub will: Option<(&'a str, Vec<u8>)>,
}

/// CA certificates of the device image, concatenated in a memfd: Paho reads a single
/// file, and the device image may have several.
pub struct CaBundle(OwnedFd);

impl CaBundle {
    /// Reads and concatenates `/etc/edge-ai/ca/*.pem`.
    ///
    /// # Errors
    /// The directory contains no `*.pem` file, or a file cannot be read.
    pub fn load(root: &Root) -> Result<Self> {
        let directory = root.path(path::CA);
        let context = || format!("reading {}", directory.display());
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&directory).with_context(context)? {
            let path = entry.with_context(context)?.path();
            if path.extension().is_some_and(|e| e == "pem") {
                names.push(path);
            }
        }
        if names.is_empty() {
            bail!("reading {}: no CA certificate found", directory.display());
        }
        names.sort();
        let mut bundle = Vec::new();
        for name in names {
            bundle.extend(file::read(&name, identity::MAX_FILE_BYTES)?);
            bundle.push(b'\n');
        }
        let memory = rustix::fs::memfd_create("ca.pem", rustix::fs::MemfdFlags::CLOEXEC)
            .context("creating a file in memory")?;
        let mut memory = std::fs::File::from(memory);
        memory
            .write_all(&bundle)
            .context("writing a file in memory")?;
        Ok(Self(memory.into()))
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

/// Stage at which a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectErrorKind {
    /// Name look-up, TCP or proxy failed, or the endpoint did not answer.
    Network,
    /// The TLS handshake failed, usually because one side does not trust the other.
    Tls,
    /// The broker rejected the MQTT CONNECT request.
    Rejected,
}

/// Error of [`Session::connect`], with the stage that failed.
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

/// MQTT message that was received from the broker.
#[derive(Debug, Clone)]
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

/// Clients that are no longer used, each with the time of its retirement.
static RETIRED: Mutex<Vec<(Instant, paho::Client)>> = Mutex::new(Vec::new());
/// Time after which a retired client is dropped: twice the longest time for which Paho
/// tries to connect, so that none of its threads uses the client any more.
const RETIREMENT: Duration = Duration::from_secs(60);

fn retire(client: paho::Client) {
    let mut retired = RETIRED.lock().unwrap_or_else(PoisonError::into_inner);
    retired.push((Instant::now(), client));
}

/// Drops the clients that were retired more than [`RETIREMENT`] ago, so that they do
/// not accumulate in a process that reconnects for years.
fn drop_retired() {
    let mut retired = RETIRED.lock().unwrap_or_else(PoisonError::into_inner);
    retired.retain(|(since, _)| since.elapsed() < RETIREMENT);
}

/// Connected MQTT session with AWS IoT.
pub struct Session {
    client: Option<paho::Client>,
    inbox: paho::SyncReceiver<Option<paho::Message>>,
}

impl Session {
    /// Connects to the endpoint and waits until the broker has accepted the connection.
    ///
    /// # Errors
    /// [`ConnectError`], or the certificate, the key or the CA bundle cannot be used.
    pub fn connect(options: &Options) -> Result<Self> {
        let create = paho::CreateOptionsBuilder::new()
            .server_uri(format!("ssl://{}:{}", options.endpoint, options.port))
            .client_id(options.client_id)
            .persistence(None)
            .finalize();
        drop_retired();
        let mut client = paho::Client::new(create).context("creating an MQTT client")?;
        client.set_timeout(options.timeout);
        let inbox = client.start_consuming();
        let connect = connect_options(options)?;
        match client.connect(connect) {
            Ok(_) => Ok(Self {
                client: Some(client),
                inbox,
            }),
            Err(error) => {
                retire(client);
                Err(diagnose::diagnose(options, &error).into())
            }
        }
    }

    fn client(&self) -> Result<&paho::Client> {
        self.client.as_ref().context("the session has ended")
    }

    /// Subscribes to all topic `filters` with QoS 1 in one packet, because a round trip
    /// on a mobile network may take a second.
    ///
    /// # Errors
    /// The broker does not answer in time or rejects a filter.
    pub fn subscribe(&self, filters: &[&str]) -> Result<()> {
        let qos = vec![1; filters.len()];
        let answer = self.client()?.subscribe_many(filters, &qos);
        let answer = answer.with_context(|| format!("subscribing to {}", filters.join(", ")))?;
        let granted = answer.subscribe_many_response().unwrap_or_default();
        match granted.iter().position(|q| !(0..=2).contains(q)) {
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
        let message = paho::Message::new(topic, payload, 1);
        self.client()?
            .publish(message)
            .with_context(|| format!("publishing to {topic}"))
    }

    /// Waits at most `limit` for a message. Payloads of more than 128 KiB are skipped.
    pub fn receive(&self, limit: Duration) -> Event {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.inbox.recv_timeout(left) {
                Ok(Some(message)) if message.payload().len() > MAX_MESSAGE_BYTES => {}
                Ok(Some(message)) => {
                    let topic = message.topic().to_string();
                    return Event::Message(Message {
                        topic,
                        payload: message.payload().to_vec(),
                    });
                }
                Ok(None) => return Event::Disconnected,
                Err(_) if self.is_connected() => return Event::Timeout,
                Err(_) => return Event::Disconnected,
            }
        }
    }

    /// Returns whether the connection is up. A broken network is noticed only by the
    /// MQTT keep-alive, which is sent every 60 seconds.
    pub fn is_connected(&self) -> bool {
        self.client.as_ref().is_some_and(paho::Client::is_connected)
    }

    /// Sends DISCONNECT, which cancels the last will.
    pub fn close(self) {
        if let Some(client) = &self.client {
            let _ = client.disconnect(None);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            retire(client);
        }
    }
}

fn connect_options(options: &Options) -> Result<paho::ConnectOptions> {
    let file = |path: &Path| format!("using {}", path.display());
    let mut tls = paho::SslOptionsBuilder::new();
    tls.trust_store(options.ca_bundle.path())
        .context("using the CA bundle")?;
    tls.key_store(&options.certificate)
        .with_context(|| file(&options.certificate))?;
    tls.private_key(&options.key)
        .with_context(|| file(&options.key))?;
    tls.verify(true)
        .enable_server_cert_auth(true)
        .disable_default_trust_store(true);
    if options.port == HTTPS_PORT {
        tls.alpn_protos(&[ALPN]);
    }
    let mut connect = paho::ConnectOptionsBuilder::new_v3();
    connect
        .ssl_options(tls.finalize())
        .keep_alive_interval(Duration::from_secs(60))
        .connect_timeout(options.timeout)
        // The tools subscribe and request the desired state again after each
        // connection, so the broker need not keep messages for a disconnected device.
        .clean_session(true);
    if let Some(proxy) = options.proxy {
        connect.https_proxy(proxy);
    }
    if let Some((topic, payload)) = &options.will {
        connect.will_message(paho::Message::new(*topic, payload.clone(), 1));
    }
    Ok(connect.finalize())
}
