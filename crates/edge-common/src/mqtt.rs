//! One MQTT 3.1.1 session with AWS IoT over mutual TLS.
//!
//! Trust: only the CA certificates that are given, never the system's store. The
//! C library below takes about a second to tear down its last client, and it
//! locks itself up if a client goes while a connection of it is still being
//! tried. So clients that are done with are put aside and dropped a minute
//! later, by the next connection; a program that ends leaves them.

mod diagnose;

use std::fmt;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use paho_mqtt as paho;

use crate::{Root, file, identity};

/// Port of AWS IoT for MQTT with client certificates.
pub const PORT: u16 = 8883;
/// The port that every firewall lets out; AWS tells MQTT there by its ALPN name.
const HTTPS: u16 = 443;
/// That name.
const ALPN: &str = "x-amzn-mqtt-ca";
/// Largest message that is looked at, in bytes: AWS allows 128 KiB.
const LARGEST: usize = 128 * 1024;

/// Whom to reach, and as whom.
pub struct Options<'a> {
    /// Host name of the endpoint; the server's certificate must bear it.
    pub endpoint: &'a str,
    /// TCP port.
    pub port: u16,
    /// `http://HOST:PORT` of a proxy that takes CONNECT.
    pub proxy: Option<&'a str>,
    /// Client id.
    pub client_id: &'a str,
    /// Client certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// CaBundle for the server's certificate.
    pub ca_bundle: &'a CaBundle,
    /// Limit of each step: connecting, subscribing, publishing.
    pub timeout: Duration,
    /// Published by the broker when the session ends without a word.
    pub will: Option<(&'a str, Vec<u8>)>,
}

/// All CA certificates of the image in one nameless file.
pub struct CaBundle(OwnedFd);

impl CaBundle {
    /// Gathers `/etc/edge-ai/ca/*.pem`.
    ///
    /// # Errors
    /// None is there, or one cannot be read.
    pub fn load(root: &Root) -> Result<Self> {
        let directory = root.path(identity::CA_BUNDLE);
        let context = || format!("reading {}", directory.display());
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&directory).with_context(context)? {
            let path = entry.with_context(context)?.path();
            if path.extension().is_some_and(|e| e == "pem") {
                names.push(path);
            }
        }
        if names.is_empty() {
            bail!(
                "reading {}: no certificate authority is there",
                directory.display()
            );
        }
        names.sort();
        let mut bundle = Vec::new();
        for name in names {
            bundle.extend(file::read(&name, identity::LARGEST)?);
            bundle.push(b'\n');
        }
        let memory = rustix::fs::memfd_create("ca.pem", rustix::fs::MemfdFlags::CLOEXEC)
            .context("making a file in memory")?;
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

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No address, no route, nobody listens, or silence.
    Network,
    /// The server is reached, but one side does not trust the other.
    Tls,
    /// The broker answered and said no.
    Refused,
}

/// A session that did not come about, or that ended.
#[derive(Debug)]
pub struct ConnectError {
    /// Its kind.
    pub trouble: Trouble,
    /// Was a server reached at all?
    pub reached: bool,
    message: String,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConnectError {}

/// A message that arrived.
#[derive(Debug, Clone)]
pub struct Message {
    /// Where it was published.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
}

/// What [`Session::receive`] found.
#[derive(Debug)]
pub enum Event {
    /// A message.
    Message(Message),
    /// Nothing within the limit.
    Silence,
    /// The connection is gone.
    Lost,
}

/// Clients that are done with, and since when.
static ASIDE: Mutex<Vec<(Instant, paho::Client)>> = Mutex::new(Vec::new());
/// After so long nothing of the library holds a client any more.
const SETTLED: Duration = Duration::from_secs(60);

fn put_aside(client: paho::Client) {
    let mut aside = ASIDE.lock().unwrap_or_else(PoisonError::into_inner);
    aside.push((Instant::now(), client));
}

/// Drops the clients that were put aside long enough ago.
fn drop_settled() {
    let mut aside = ASIDE.lock().unwrap_or_else(PoisonError::into_inner);
    aside.retain(|(since, _)| since.elapsed() < SETTLED);
}

/// A connection that is up.
pub struct Session {
    client: Option<paho::Client>,
    inbox: paho::SyncReceiver<Option<paho::Message>>,
}

impl Session {
    /// Connects and waits for the broker's answer.
    ///
    /// # Errors
    /// [`ConnectError`], or options that make no sense.
    pub fn connect(options: &Options) -> Result<Self> {
        let create = paho::CreateOptionsBuilder::new()
            .server_uri(format!("ssl://{}:{}", options.endpoint, options.port))
            .client_id(options.client_id)
            .persistence(None)
            .finalize();
        drop_settled();
        let mut client = paho::Client::new(create).context("making an MQTT client")?;
        client.set_timeout(options.timeout);
        let inbox = client.start_consuming();
        let connect = connect_options(options)?;
        match client.connect(connect) {
            Ok(_) => Ok(Self {
                client: Some(client),
                inbox,
            }),
            Err(error) => {
                put_aside(client);
                Err(diagnose::diagnose(options, &error).into())
            }
        }
    }

    fn client(&self) -> Result<&paho::Client> {
        self.client.as_ref().context("the session is over")
    }

    /// Subscribes to all `filters` in one packet, QoS 1.
    ///
    /// # Errors
    /// No answer in time, or the broker granted less.
    pub fn subscribe(&self, filters: &[&str]) -> Result<()> {
        let qos = vec![1; filters.len()];
        let answer = self.client()?.subscribe_many(filters, &qos);
        let answer = answer.with_context(|| format!("subscribing to {}", filters.join(", ")))?;
        let granted = answer.subscribe_many_response().unwrap_or_default();
        match granted.iter().position(|q| !(0..=2).contains(q)) {
            Some(index) => bail!(
                "subscribing to {}: refused",
                filters.get(index).unwrap_or(&"?")
            ),
            None => Ok(()),
        }
    }

    /// Publishes, QoS 1, and waits for the broker to have it.
    ///
    /// # Errors
    /// No acknowledgement in time.
    pub fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>) -> Result<()> {
        let message = paho::Message::new(topic, payload, 1);
        self.client()?
            .publish(message)
            .with_context(|| format!("publishing to {topic}"))
    }

    /// Waits at most `limit` for a message; oversized ones are passed over.
    pub fn receive(&self, limit: Duration) -> Event {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.inbox.recv_timeout(left) {
                Ok(Some(message)) if message.payload().len() > LARGEST => {}
                Ok(Some(message)) => {
                    let topic = message.topic().to_string();
                    return Event::Message(Message {
                        topic,
                        payload: message.payload().to_vec(),
                    });
                }
                Ok(None) => return Event::Lost,
                Err(_) if self.is_up() => return Event::Silence,
                Err(_) => return Event::Lost,
            }
        }
    }

    /// Is the connection still up, as far as one can know?
    pub fn is_up(&self) -> bool {
        self.client.as_ref().is_some_and(paho::Client::is_connected)
    }

    /// Says goodbye, so that the last will is not published.
    pub fn close(self) {
        if let Some(client) = &self.client {
            let _ = client.disconnect(None);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            put_aside(client);
        }
    }
}

fn connect_options(options: &Options) -> Result<paho::ConnectOptions> {
    let file = |path: &Path| format!("using {}", path.display());
    let mut tls = paho::SslOptionsBuilder::new();
    tls.trust_store(options.ca_bundle.path())
        .context("using the certificate ca_bundle")?;
    tls.key_store(&options.certificate)
        .with_context(|| file(&options.certificate))?;
    tls.private_key(&options.key)
        .with_context(|| file(&options.key))?;
    tls.verify(true)
        .enable_server_cert_auth(true)
        .disable_default_trust_store(true);
    if options.port == HTTPS {
        tls.alpn_protos(&[ALPN]);
    }
    let mut connect = paho::ConnectOptionsBuilder::new_v3();
    connect
        .ssl_options(tls.finalize())
        .keep_alive_interval(Duration::from_secs(60))
        .connect_timeout(options.timeout)
        .clean_session(true);
    if let Some(proxy) = options.proxy {
        connect.https_proxy(proxy);
    }
    if let Some((topic, payload)) = &options.will {
        connect.will_message(paho::Message::new(*topic, payload.clone(), 1));
    }
    Ok(connect.finalize())
}
