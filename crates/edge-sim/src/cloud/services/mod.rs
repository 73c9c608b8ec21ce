//! Services that a device calls for itself over HTTPS: the credentials provider of AWS IoT with
//! mutual TLS, and the API of ECR with verified signatures.

mod credentials;
mod ecr;
mod fault;

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use edge_common::{file, log};
use openssl::ssl::{NameType, SslAcceptor, SslFiletype, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::X509;
use serde_json::{Value, json};

use super::http::{self, Request};
use credentials::Keys;
pub use fault::ServiceFault;
use fault::{Kind, Script, Service};

/// Limit for one read or write.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Limit for a fault that waits for the client to close the connection.
const PATIENCE: Duration = Duration::from_secs(120);
/// File with the script of faults of a running cloud, one per line.
const SCRIPT: &str = "service-faults";

/// Answer to a request before faults change it.
struct Answer {
    status: u16,
    error: Option<String>,
    body: Value,
}

impl Answer {
    fn accepted(body: Value) -> Self {
        Self {
            status: 200,
            error: None,
            body,
        }
    }

    fn refused(status: u16, error: &str, message: &str) -> Self {
        Self {
            status,
            error: Some(error.into()),
            body: json!({ "__type": error, "message": message }),
        }
    }
}

/// Request that a service received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRequest {
    /// Service: `credentials` or `ecr`.
    pub service: &'static str,
    /// Status of the answer, 0 if there was none.
    pub status: u16,
}

/// Running services. Dropping them closes their ports.
pub struct Services {
    ports: [u16; 2],
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    dir: PathBuf,
    keys: Mutex<Keys>,
    script: Mutex<Script>,
    /// Content of the file of faults when it was read last.
    written: Mutex<String>,
    requests: Mutex<Vec<ServiceRequest>>,
    over: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Services {
    /// Starts the services of the local cloud in `dir` on free ports of 127.0.0.1, beside those
    /// that the cloud itself runs.
    ///
    /// # Errors
    /// If a file in `dir` is missing.
    pub fn start(dir: &Path, faults: &[ServiceFault]) -> Result<Self> {
        let services = Self::listen(dir, [0, 0])?;
        services.play(faults);
        Ok(services)
    }

    /// Starts the services on the ports of credentials and ECR.
    pub(crate) fn listen(dir: &Path, ports: [u16; 2]) -> Result<Self> {
        let shared = Arc::new(Shared {
            dir: dir.into(),
            keys: Mutex::default(),
            script: Mutex::default(),
            written: Mutex::default(),
            requests: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let mut services = Self {
            ports,
            shared,
            threads: Vec::new(),
        };
        for (place, service) in [Service::Credentials, Service::Ecr].into_iter().enumerate() {
            let listener = TcpListener::bind(("127.0.0.1", ports[place])).context("listening")?;
            services.ports[place] = listener.local_addr()?.port();
            let acceptor = Arc::new(acceptor(dir, service)?);
            let shared = Arc::clone(&services.shared);
            let thread = std::thread::spawn(move || accept(&listener, service, &acceptor, &shared));
            services.threads.push(thread);
        }
        Ok(services)
    }

    /// Returns the port of the credentials provider.
    pub fn credentials_port(&self) -> u16 {
        self.ports[0]
    }

    /// Returns the port of the API of ECR.
    pub fn ecr_port(&self) -> u16 {
        self.ports[1]
    }

    /// Replaces the script of faults for the requests that follow.
    pub fn play(&self, faults: &[ServiceFault]) {
        *lock(&self.shared.script) = Script::new(faults);
    }

    /// Returns all requests received so far.
    pub fn requests(&self) -> Vec<ServiceRequest> {
        lock(&self.shared.requests).clone()
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // The threads block in `accept`: a connection wakes them, and they read `over`.
        for port in self.ports {
            let _ = TcpStream::connect(("127.0.0.1", port));
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Writes the script of faults of a running cloud, which replaces the one before.
pub(crate) fn script(dir: &Path, faults: &[String]) -> Result<()> {
    for fault in faults {
        fault.parse::<ServiceFault>()?;
    }
    // The number makes a script that is written again a new one.
    let number = super::pki::random_hex(4)?;
    let text = format!("# {number}\n{}\n", faults.join("\n"));
    file::write(&dir.join(SCRIPT), text.as_bytes(), 0o600)
}

fn acceptor(dir: &Path, service: Service) -> Result<SslAcceptor> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_certificate_chain_file(dir.join("server.crt"))?;
    builder.set_private_key_file(dir.join("server.key"), SslFiletype::PEM)?;
    if service == Service::Credentials {
        let clients = file::read(&dir.join("clients.pem"), 64 * 1024)?;
        for authority in X509::stack_from_pem(&clients)? {
            builder.cert_store_mut().add_cert(authority)?;
        }
        builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    }
    Ok(builder.build())
}

fn accept(
    listener: &TcpListener,
    service: Service,
    acceptor: &Arc<SslAcceptor>,
    shared: &Arc<Shared>,
) {
    for stream in listener.incoming() {
        if shared.over.load(Ordering::Relaxed) {
            return;
        }
        let (acceptor, shared) = (Arc::clone(acceptor), Arc::clone(shared));
        let Ok(stream) = stream else { continue };
        std::thread::spawn(move || {
            if let Err(error) = handle(stream, service, &acceptor, &shared) {
                log::warn(format_args!("{service:?}: {error:#}"));
            }
        });
    }
}

fn handle(
    stream: TcpStream,
    service: Service,
    acceptor: &SslAcceptor,
    shared: &Shared,
) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut tls = acceptor.accept(stream).context("handshake")?;
    let request = Request::read(&mut tls)?;
    let fault = shared.fault(service);
    // AWS finds the account by the server name of the handshake.
    let answer = match tls.ssl().servername(NameType::HOST_NAME) {
        Some(_) => shared.answer(service, &request, tls.ssl().peer_certificate(), &fault),
        None => Answer::refused(400, "InvalidRequestException", "no server name"),
    };
    log::info(format_args!(
        "{service:?}: {} {} → {}",
        request.method, request.path, answer.status
    ));
    let answered = !matches!(fault, Some(Kind::Silent | Kind::Dropped));
    lock(&shared.requests).push(ServiceRequest {
        service: match service {
            Service::Credentials => "credentials",
            Service::Ecr => "ecr",
        },
        status: if answered { answer.status } else { 0 },
    });
    respond(&mut tls, &answer, fault).context("responding")
}

impl Shared {
    /// Returns the fault of the next request; a script that was written meanwhile is read.
    fn fault(&self, service: Service) -> Option<Kind> {
        let text = file::read_text(&self.dir.join(SCRIPT), 64 * 1024).unwrap_or_default();
        let mut written = lock(&self.written);
        if *written != text {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            let faults = lines.filter_map(|line| line.parse().ok());
            *lock(&self.script) = Script::new(&faults.collect::<Vec<_>>());
            *written = text;
        }
        lock(&self.script).next(service)
    }

    fn answer(
        &self,
        service: Service,
        request: &Request,
        certificate: Option<X509>,
        fault: &Option<Kind>,
    ) -> Answer {
        if let Some(Kind::Error(status, code)) = fault {
            return Answer::refused(*status, code, "As the script of faults says");
        }
        let now = now(fault);
        let life = match fault {
            Some(Kind::Life(seconds)) => Some(*seconds),
            _ => None,
        };
        let mut keys = lock(&self.keys);
        let answer = match service {
            Service::Credentials => {
                let certificate = certificate.as_ref();
                credentials::answer(&self.dir, request, certificate, &mut keys, now, life)
            }
            Service::Ecr => ecr::answer(&self.dir, request, &keys, now),
        };
        answer.unwrap_or_else(|error| {
            log::error(format_args!("{error:#}"));
            Answer::refused(500, "ServerException", "Internal error")
        })
    }
}

/// Returns the time of a service that a fault may have put ahead.
fn now(fault: &Option<Kind>) -> u64 {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH);
    let ahead = match fault {
        Some(Kind::Ahead(seconds)) => *seconds,
        _ => 0,
    };
    clock.map_or(0, |clock| clock.as_secs()) + ahead
}

/// Writes an answer as a fault changes it.
fn respond(tls: &mut SslStream<TcpStream>, answer: &Answer, fault: Option<Kind>) -> io::Result<()> {
    let mut body = answer.body.to_string();
    match &fault {
        Some(Kind::Malformed) => body.truncate(body.len() / 2),
        Some(Kind::Incomplete) => body = r#"{"credentials":{},"authorizationData":[{}]}"#.into(),
        Some(Kind::Oversized) => body = format!("{}{body}", " ".repeat(2_000_000)),
        _ => {}
    }
    let error = answer.error.as_deref().filter(|code| !code.is_empty());
    let mut head = http::head(now(&fault), answer.status, error, body.len());
    match fault {
        Some(Kind::Dropped) => return Ok(()),
        Some(Kind::Silent) => return await_end(tls),
        Some(Kind::Late(time)) => std::thread::sleep(time),
        Some(Kind::Truncated) => body.truncate(body.len() / 2),
        Some(Kind::Redirect) => {
            head = "HTTP/1.1 302 -\r\nlocation: https://example.com/\r\ncontent-length: 0\r\n\r\n"
                .into();
            body.clear();
        }
        Some(Kind::Endless) => {
            tls.write_all(b"HTTP/1.1 200 -\r\n")?;
            // The client ends it: the write fails once the connection is closed.
            loop {
                tls.write_all(b"x-padding: 0123456789\r\n")?;
            }
        }
        Some(Kind::Slow(pause)) => {
            for byte in format!("{head}{body}").bytes() {
                std::thread::sleep(pause);
                tls.write_all(&[byte])?;
            }
            return Ok(());
        }
        _ => {}
    }
    tls.write_all(format!("{head}{body}").as_bytes())?;
    tls.flush()?;
    let _ = tls.shutdown();
    Ok(())
}

/// Waits until the client closes the connection.
fn await_end(tls: &mut SslStream<TcpStream>) -> io::Result<()> {
    tls.get_ref().set_read_timeout(Some(PATIENCE))?;
    let mut byte = [0];
    while tls.read(&mut byte).is_ok_and(|count| count > 0) {}
    Ok(())
}
