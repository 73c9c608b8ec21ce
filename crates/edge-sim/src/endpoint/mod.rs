//! The strict endpoint: AWS IoT's rules for fleet provisioning and shadows
//! where mosquitto cannot keep them, with scripted faults and quotas.
//!
//! An answer goes to the connection that asked, and to no other. A forbidden
//! publish or subscribe hangs up. A certificate that is not registered cannot
//! connect. A second connection with a client id ends the first.

mod connection;
pub mod fault;
mod packet;
pub mod quota;

use std::collections::HashMap;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail};
use openssl::ssl::{
    AlpnError, SslAcceptor, SslMethod, SslVerifyMode, SslVersion, select_next_proto,
};
use openssl::x509::X509;

use crate::cloud::pki;
use crate::cloud::provisioning::{Grants, Provisioning};
use fault::{Fault, Script};
use quota::Quotas;

/// What the server's certificate is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Server {
    /// As it should be.
    #[default]
    Proper,
    /// Of an authority that no device knows.
    Unknown,
    /// Of the right authority, for another host.
    Elsewhere,
}

/// Which version of TLS it speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tls {
    /// 1.2 and 1.3.
    #[default]
    Both,
    /// Only this one.
    Only(SslVersion),
}

/// How the endpoint behaves.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Provisionings a second; `None`: no quotas.
    pub rate: Option<u32>,
    /// The server's certificate.
    pub server: Server,
    /// Versions of TLS.
    pub tls: Tls,
    /// Port; 0: a free one.
    pub port: u16,
}

impl FromStr for Server {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "proper" => Self::Proper,
            "unknown" => Self::Unknown,
            "elsewhere" => Self::Elsewhere,
            _ => bail!("the server is proper, unknown or elsewhere"),
        })
    }
}

/// A strict endpoint on this machine.
#[derive(clap::Args)]
pub struct Args {
    /// Directory for its state; may be one that `cloud up` made
    #[arg(long)]
    dir: PathBuf,
    /// Port on 127.0.0.1; 0: a free one, which is printed
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Provisionings a second; without it there are no quotas
    #[arg(long)]
    rate: Option<u32>,
    /// `proper`, `unknown` (its authority) or `elsewhere` (its name)
    #[arg(long, default_value = "proper")]
    server: Server,
    /// STAGE:KIND[*TIMES], as create:silent*1; may be given again. Stages:
    /// connect, create, register. Kinds: refused throttled broken silent late=MS
    /// dropped lost cut twice malformed oversized incomplete other-key over
    /// other-thing expired
    #[arg(long)]
    fault: Vec<Fault>,
}

/// Serves until it is stopped.
///
/// # Errors
/// The directory cannot be written, or the port is taken.
pub fn run(args: &Args) -> Result<()> {
    edge_common::file::create_directory(&args.dir, 0o700)?;
    if !args.dir.join("allowlist").exists() {
        crate::cloud::found(&args.dir, &[])?;
    }
    let behaviour = Behaviour {
        faults: args.fault.clone(),
        rate: args.rate,
        server: args.server,
        port: args.port,
        ..Behaviour::default()
    };
    let endpoint = Endpoint::start(&args.dir, &behaviour)?;
    println!("{}", endpoint.port());
    loop {
        std::thread::park();
    }
}

/// Something that was asked for.
#[derive(Debug, Clone)]
pub struct Event {
    /// Since the start.
    pub at: Duration,
    /// `connect`, `create`, `register`.
    pub what: &'static str,
    /// Was it done?
    pub good: bool,
}

/// A running endpoint; it ends with its owner.
pub struct Endpoint {
    port: u16,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

/// What all connections share.
struct Shared {
    dir: PathBuf,
    start: Instant,
    acceptor: SslAcceptor,
    authority: pki::Authority,
    provisioning: Mutex<Provisioning>,
    script: Mutex<Script>,
    quotas: Mutex<Quotas>,
    sessions: Mutex<HashMap<String, TcpStream>>,
    events: Mutex<Vec<Event>>,
    over: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Endpoint {
    /// Starts one on a directory that [`crate::cloud::found`] made.
    ///
    /// # Errors
    /// The directory lacks something, or the port is taken.
    pub fn start(dir: &Path, behaviour: &Behaviour) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", behaviour.port)).context("listening")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            dir: dir.into(),
            start: Instant::now(),
            acceptor: acceptor(dir, behaviour)?,
            authority: pki::Authority::load(dir, "device-ca")?,
            provisioning: Mutex::new(Provisioning::load(dir, Grants::Here)?),
            script: Mutex::new(Script::new(&behaviour.faults)),
            quotas: Mutex::new(Quotas::new(behaviour.rate)),
            sessions: Mutex::default(),
            events: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || accept(&listener, &accepting));
        Ok(Self {
            port,
            shared,
            accepting: Some(accepting),
        })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Puts another script in place of what is left of the old one.
    pub fn play(&self, faults: &[Fault]) {
        *lock(&self.shared.script) = Script::new(faults);
    }

    /// All that was asked for so far.
    pub fn events(&self) -> Vec<Event> {
        lock(&self.shared.events).clone()
    }

    /// How long it runs.
    pub fn elapsed(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// How many different keys certificates were issued for.
    pub fn keys_seen(&self) -> usize {
        lock(&self.shared.provisioning).keys_seen()
    }

    /// Ends every connection, as a provider does when it maintains something.
    pub fn hang_up(&self) {
        for (_, stream) in lock(&self.shared.sessions).drain() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        self.hang_up();
        // It looks at `over` once somebody comes.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.over.load(Ordering::Relaxed) {
            return;
        }
        let shared = Arc::clone(shared);
        if let Ok(stream) = stream {
            std::thread::spawn(move || connection::serve(stream, &shared));
        }
    }
}

fn acceptor(dir: &Path, behaviour: &Behaviour) -> Result<SslAcceptor> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    match behaviour.server {
        Server::Proper => {
            builder.set_certificate_chain_file(dir.join("server.crt"))?;
            builder.set_private_key_file(dir.join("server.key"), openssl::ssl::SslFiletype::PEM)?;
        }
        wrong => {
            let unknown = wrong == Server::Unknown;
            let host = if unknown {
                "localhost"
            } else {
                "elsewhere.edge.test"
            };
            let (certificate, key) = pki::wrong_server(dir, host, unknown)?;
            builder.set_certificate(&certificate)?;
            builder.set_private_key(&key)?;
        }
    }
    if let Tls::Only(version) = behaviour.tls {
        builder.set_min_proto_version(Some(version))?;
        builder.set_max_proto_version(Some(version))?;
    }
    let clients = std::fs::read(dir.join("clients.pem")).context("reading clients.pem")?;
    for authority in X509::stack_from_pem(&clients)? {
        builder.cert_store_mut().add_cert(authority)?;
    }
    builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    // No session tickets, as with AWS.
    builder.set_options(openssl::ssl::SslOptions::NO_TICKET);
    builder.set_num_tickets(0)?;
    builder.set_alpn_select_callback(|_, offered| {
        select_next_proto(b"\x0ex-amzn-mqtt-ca", offered).ok_or(AlpnError::ALERT_FATAL)
    });
    Ok(builder.build())
}
