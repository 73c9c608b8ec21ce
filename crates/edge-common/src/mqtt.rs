//! MQTT 3.1.1 session with AWS IoT over mutual TLS.
//!
//! The server is trusted by the CA bundle of the image alone, never by the system's
//! store. The client is paho's C library, because mutual TLS through the system's
//! OpenSSL, proxies and ALPN come with it, without an asynchronous runtime.
//!
//! Dropping its last client takes the library about a second, and dropping a client
//! whose connection is still being tried locks the library up. So clients that are no
//! longer used are retired, and the next connection drops them a minute later; at the
//! end of the program they are left to the kernel.

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

/// Port of AWS IoT for MQTT with client certificates.
pub const PORT: u16 = 8883;
/// Port that firewalls leave open; AWS recognises MQTT there by [`ALPN`].
const HTTPS_PORT: u16 = 443;
/// ALPN name of MQTT with client certificates.
const ALPN: &str = "x-amzn-mqtt-ca";
/// Largest message that is received, in bytes: AWS allows 128 KiB.
const MAX_MESSAGE_BYTES: usize = 128 * 1024;

/// Endpoint, identity and limits of a session.
pub struct Options<'a> {
    /// Host name of the endpoint, which the server's certificate has to name.
    pub endpoint: &'a str,
    /// TCP port.
    pub port: u16,
    /// `http://HOST:PORT` of a proxy for CONNECT.
    pub proxy: Option<&'a str>,
    /// Client id.
    pub client_id: &'a str,
    /// Client certificate, PEM.
    pub certificate: PathBuf,
    /// Private key of the certificate, PEM.
    pub key: PathBuf,
    /// CA bundle for the server's certificate.
    pub ca_bundle: &'a CaBundle,
    /// Time limit of each step: connecting, subscribing, publishing.
    pub timeout: Duration,
    /// Topic and payload of the last will, published by the broker when the session
    /// ends without DISCONNECT.
    pub will: Option<(&'a str, Vec<u8>)>,
}

/// CA certificates of the image, joined in a file in memory: the library reads one
/// file, and the image has several.
pub struct CaBundle(OwnedFd);

impl CaBundle {
    /// Reads `/etc/edge-ai/ca/*.pem`.
    ///
    /// # Errors
    /// There is no certificate, or one cannot be read.
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

/// Kind of a [`ConnectError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectErrorKind {
    /// The endpoint has no address, or nothing answers there.
    Network,
    /// The server is reached, but one side does not trust the other.
    Tls,
    /// The broker rejected the connection.
    Rejected,
}

/// Failed connection.
#[derive(Debug)]
pub struct ConnectError {
    /// Kind of the failure.
    pub kind: ConnectErrorKind,
    /// Whether any server was reached.
    pub reached: bool,
    message: String,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConnectError {}

/// Received message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Topic of the message.
    pub topic: String,
    /// Payload of the message.
    pub payload: Vec<u8>,
}

/// Event that ends a wait.
#[derive(Debug)]
pub enum Event {
    /// A message was received.
    Message(Message),
    /// The time limit was reached.
    Timeout,
    /// The connection was lost.
    Disconnected,
}

/// Clients that are no longer used, with the times of their last use.
static RETIRED: Mutex<Vec<(Instant, paho::Client)>> = Mutex::new(Vec::new());
/// Time after which no thread of the library uses a retired client any more: twice its
/// longest wait for a connection.
const RETIREMENT: Duration = Duration::from_secs(60);

fn retire(client: paho::Client) {
    let mut retired = RETIRED.lock().unwrap_or_else(PoisonError::into_inner);
    retired.push((Instant::now(), client));
}

/// Drops the clients that were retired long enough ago, so that a device that connects
/// for years does not collect them.
fn drop_retired() {
    let mut retired = RETIRED.lock().unwrap_or_else(PoisonError::into_inner);
    retired.retain(|(since, _)| since.elapsed() < RETIREMENT);
}

/// Connected session.
pub struct Session {
    client: Option<paho::Client>,
    inbox: paho::SyncReceiver<Option<paho::Message>>,
}

impl Session {
    /// Connects and waits for the broker's answer.
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

    /// Subscribes to all `filters` with QoS 1, in one packet: a round trip on a mobile
    /// network may take a second.
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

    /// Publishes with QoS 1 and waits for the broker's acknowledgement. AWS answers a
    /// request by a message, which may arrive before the acknowledgement.
    ///
    /// # Errors
    /// The broker does not acknowledge in time.
    pub fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>) -> Result<()> {
        let message = paho::Message::new(topic, payload, 1);
        self.client()?
            .publish(message)
            .with_context(|| format!("publishing to {topic}"))
    }

    /// Waits at most `limit` for a message. Oversized messages are skipped.
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

    /// Whether the connection is still up, as far as the keep-alive has shown.
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
        // Answers and desired state are requested after each connection, so the broker
        // needs to keep nothing for a device that is away.
        .clean_session(true);
    if let Some(proxy) = options.proxy {
        connect.https_proxy(proxy);
    }
    if let Some((topic, payload)) = &options.will {
        connect.will_message(paho::Message::new(*topic, payload.clone(), 1));
    }
    Ok(connect.finalize())
}
