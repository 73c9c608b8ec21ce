//! Strict endpoint: an MQTT broker for fleet provisioning and shadows with the
//! rules of AWS IoT that mosquitto cannot apply, scripted faults and quotas.
//!
//! An answer is delivered only to the connection of its request. A forbidden
//! publish or subscribe closes the connection. A certificate that is not registered
//! cannot connect. A second connection with the same client id closes the first.

mod connection;
pub(crate) mod fault;
mod jobs;
mod operators;
mod packet;
pub mod published;
mod quota;
mod sessions;

use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
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

use crate::cloud::jobs::{Call, Publication, Response};
use crate::cloud::jobs_service::JobsService;
use crate::cloud::pki;
use crate::cloud::provisioning::{Provisioning, Rights};
use fault::{Fault, Script};
use quota::Quotas;
use sessions::Sessions;

/// Address on which the endpoint listens by default.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Certificate that the endpoint presents to its clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Server {
    /// Valid certificate for the endpoint's host name.
    #[default]
    Proper,
    /// Certificate by an authority that no device trusts.
    Unknown,
    /// Certificate by the right authority for another host name.
    Elsewhere,
}

/// TLS versions that the endpoint accepts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tls {
    /// TLS 1.2 and 1.3.
    #[default]
    Both,
    /// Only this TLS version.
    Only(SslVersion),
}

/// Configuration of an endpoint: faults, quotas, certificate, TLS versions and
/// port.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// Script of faults, in the order in which they occur.
    pub faults: Vec<Fault>,
    /// Quota of provisionings per second; `None` disables all quotas.
    pub rate: Option<u32>,
    /// Certificate of the server, which can be one that clients must refuse.
    pub server: Server,
    /// TLS versions that clients may use; by default 1.2 and 1.3.
    pub tls: Tls,
    /// Address to listen on, by default 127.0.0.1.
    pub address: Option<IpAddr>,
    /// Port to listen on; 0 selects a free port.
    pub port: u16,
    /// Port of the control plane; 0 selects a free port.
    pub control: u16,
}

impl FromStr for Server {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "proper" => Self::Proper,
            "unknown" => Self::Unknown,
            "elsewhere" => Self::Elsewhere,
            _ => bail!("{text} is none of proper, unknown, elsewhere"),
        })
    }
}

/// Arguments of `edge-sim endpoint`, which serves fleet provisioning with scripted
/// faults.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory of the endpoint's state; can be the directory of a local cloud
    #[arg(long)]
    dir: PathBuf,
    /// Address of this machine to listen on
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// Port to listen on; 0 selects a free port. The port is printed
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Port of the control plane of jobs; 0 selects a free port. The port is printed
    /// on a second line
    #[arg(long)]
    control_port: Option<u16>,
    /// Quota of provisionings per second; without this option there are no quotas
    #[arg(long)]
    rate: Option<u32>,
    /// Certificate of the server: `proper`, `unknown` (by an unknown issuer) or
    /// `elsewhere` (for another host)
    #[arg(long, default_value = "proper")]
    server: Server,
    /// Fault STAGE:KIND[*TIMES], for example create:silent*1; can be repeated.
    /// Stages: connect, create, register, shadow, jobs-list, jobs-describe,
    /// jobs-update, jobs-notify, control. Kinds: refused throttled broken
    /// rejected=STATUS/CODE return=N silent late=MS dropped lost cut twice malformed
    /// oversized incomplete other-key over other-thing expired; of jobs also
    /// stale gone hostile code=CODE
    #[arg(long)]
    fault: Vec<Fault>,
}

/// Starts the endpoint, prints its port and accepts connections until the process
/// is killed.
pub(crate) fn run(args: &Args) -> Result<()> {
    edge_common::file::create_directory(&args.dir, 0o700)?;
    if !args.dir.join("allowlist").exists() {
        crate::cloud::create(&args.dir, &[])?;
    }
    let behaviour = Behaviour {
        faults: args.fault.clone(),
        rate: args.rate,
        server: args.server,
        address: Some(args.address),
        port: args.port,
        control: args.control_port.unwrap_or(0),
        ..Behaviour::default()
    };
    let endpoint = Endpoint::start(&args.dir, &behaviour)?;
    println!("{}", endpoint.port());
    if args.control_port.is_some() {
        println!("{}", endpoint.control_port());
    }
    loop {
        std::thread::park();
    }
}

/// Request that the endpoint received, for the statistics of tests and benchmarks.
#[derive(Debug, Clone)]
pub struct Event {
    /// Time since the start of the endpoint.
    pub at: Duration,
    /// Kind of the request: `connect`, `create`, `register`, `shadow`, `jobs` or
    /// `control`.
    pub kind: &'static str,
    /// Whether the request was accepted.
    pub succeeded: bool,
}

/// Running endpoint. Dropping it closes its connections and its port.
pub struct Endpoint {
    address: IpAddr,
    port: u16,
    control: u16,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// State that all connections share.
struct Shared {
    dir: PathBuf,
    start: Instant,
    acceptor: SslAcceptor,
    authority: pki::Authority,
    provisioning: Mutex<Provisioning>,
    script: Arc<Mutex<Script>>,
    quotas: Mutex<Quotas>,
    sessions: Arc<Sessions>,
    jobs: JobsService,
    events: Mutex<Vec<Event>>,
    over: AtomicBool,
}

impl Shared {
    /// Records a request.
    fn note(&self, kind: &'static str, succeeded: bool) {
        let at = self.start.elapsed();
        lock(&self.events).push(Event {
            at,
            kind,
            succeeded,
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Endpoint {
    /// Starts an endpoint with the state in `dir`, which [`crate::cloud::create`]
    /// wrote.
    ///
    /// # Errors
    /// If a file in `dir` is missing, or the port is in use.
    pub fn start(dir: &Path, behaviour: &Behaviour) -> Result<Self> {
        let address = behaviour.address.unwrap_or(LOOPBACK);
        let listener = TcpListener::bind((address, behaviour.port)).context("listening")?;
        let port = listener.local_addr()?.port();
        let control = TcpListener::bind((address, behaviour.control)).context("listening")?;
        let script = Arc::new(Mutex::new(Script::new(&behaviour.faults)));
        let sessions = Arc::<Sessions>::default();
        let delivery = jobs::delivery(
            Arc::clone(&sessions),
            Arc::clone(&script),
            pki::Authority::load(dir, "device-ca")?,
        );
        let shared = Arc::new(Shared {
            dir: dir.into(),
            start: Instant::now(),
            acceptor: acceptor(dir, behaviour)?,
            authority: pki::Authority::load(dir, "device-ca")?,
            provisioning: Mutex::new(Provisioning::load(dir, Rights::Memory)?),
            script,
            quotas: Mutex::new(Quotas::new(behaviour.rate)),
            sessions,
            jobs: JobsService::load(dir, Box::new(delivery))?,
            events: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let control_port = control.local_addr()?.port();
        let [devices, operators, clock] = [(); 3].map(|()| Arc::clone(&shared));
        let threads = vec![
            std::thread::spawn(move || accept(&listener, &devices)),
            std::thread::spawn(move || operators::accept(&control, &operators)),
            std::thread::spawn(move || clock.jobs.keep_time()),
        ];
        Ok(Self {
            address,
            port,
            control: control_port,
            shared,
            threads,
        })
    }

    /// Returns the port on which the endpoint listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the port of the control plane of jobs and thing groups.
    pub fn control_port(&self) -> u16 {
        self.control
    }

    /// Handles a request to the control plane, without a connection and without faults.
    pub fn call(&self, call: &Call) -> Response {
        self.shared.jobs.call(call)
    }

    /// Handles a message about jobs that a device published, without a connection and without
    /// faults; returns the answer.
    pub fn receive(&self, topic: &str, payload: &[u8]) -> Option<Publication> {
        self.shared.jobs.receive(topic, payload, |answer| answer)
    }

    /// Turns the clock of jobs ahead.
    pub fn pass(&self, seconds: u64) {
        self.shared.jobs.pass(seconds);
    }

    /// Replaces the script of faults for the requests that follow.
    pub fn play(&self, faults: &[Fault]) {
        *lock(&self.shared.script) = Script::new(faults);
    }

    /// Returns all requests received so far.
    pub fn events(&self) -> Vec<Event> {
        lock(&self.shared.events).clone()
    }

    /// Returns the time since the start of the endpoint.
    pub(crate) fn elapsed(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// Returns the number of different keys for which certificates were issued.
    pub fn keys_seen(&self) -> usize {
        lock(&self.shared.provisioning).keys_seen()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        self.shared.sessions.close();
        self.shared.jobs.end();
        // The threads block in `accept`: a connection wakes them, and they read `over`.
        for port in [self.port, self.control] {
            let _ = TcpStream::connect((self.address, port));
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
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
    // AWS IoT issues no TLS session tickets.
    builder.set_options(openssl::ssl::SslOptions::NO_TICKET);
    builder.set_num_tickets(0)?;
    builder.set_alpn_select_callback(|_, offered| {
        select_next_proto(b"\x0ex-amzn-mqtt-ca", offered).ok_or(AlpnError::ALERT_FATAL)
    });
    Ok(builder.build())
}
