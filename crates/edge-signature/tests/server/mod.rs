//! HTTPS server for tests: a registry in memory that records requests and can misbehave.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs
)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edge_signature::Digest;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use serde_json::{Value, json};

pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

/// Delivery of a response.
pub enum Delivery {
    Whole,
    /// One byte now and then, for ever.
    Drip,
    /// As fast as possible, for ever.
    Endless,
    /// Nothing at all.
    Silent,
    /// The first half, then the connection is closed.
    Cut,
}

pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub delivery: Delivery,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            delivery: Delivery::Whole,
        }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn delivered(delivery: Delivery) -> Self {
        Self {
            delivery,
            ..Self::new(200, b"{}".repeat(20))
        }
    }
}

type Hook = Box<dyn Fn(&Request) -> Option<Reply> + Send + Sync>;

#[derive(Default)]
pub struct State {
    manifests: Mutex<HashMap<String, (String, Vec<u8>)>>,
    blobs: Mutex<HashMap<String, Vec<u8>>>,
    hook: Mutex<Option<Hook>>,
    log: Mutex<Vec<String>>,
    /// Whether the server lists referrers, as newer registries do.
    pub referrers: std::sync::atomic::AtomicBool,
}

pub struct Server {
    pub address: SocketAddr,
    pub ca_certificate: Vec<u8>,
    pub state: Arc<State>,
}

/// Returns a certificate for `localhost`, and its key.
pub fn certificate() -> (X509, PKey<Private>) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    let mut serial = BigNum::new().unwrap();
    serial
        .rand(64, openssl::bn::MsbOption::MAYBE_ZERO, false)
        .unwrap();
    // OpenSSL finds the issuer of a certificate by its name: two servers in one test need two.
    let common = format!("test {}", serial.to_hex_str().unwrap());
    name.append_entry_by_text("CN", &common).unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder
        .set_serial_number(&serial.to_asn1_integer().unwrap())
        .unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(2).unwrap())
        .unwrap();
    let alternative = SubjectAlternativeName::new()
        .dns("localhost")
        .build(&builder.x509v3_context(None, None))
        .unwrap();
    builder.append_extension(alternative).unwrap();
    let basic = BasicConstraints::new().critical().ca().build().unwrap();
    builder.append_extension(basic).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (builder.build(), key)
}

impl Server {
    pub fn start() -> Self {
        let (certificate, key) = certificate();
        Self::with(&certificate, &key)
    }

    pub fn with(certificate: &X509, key: &PKey<Private>) -> Self {
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_private_key(key).unwrap();
        acceptor.set_certificate(certificate).unwrap();
        let acceptor = acceptor.build();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        // The threads end with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&shared));
                std::thread::spawn(move || drop(serve(&acceptor, stream.unwrap(), &state)));
            }
        });
        Self {
            address,
            ca_certificate: certificate.to_pem().unwrap(),
            state,
        }
    }

    /// Returns the repository on this server.
    pub fn repository(&self) -> String {
        format!("localhost:{}/team", self.address.port())
    }

    /// Sets a function that may answer in place of the registry.
    pub fn hook(&self, hook: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) {
        *self.state.hook.lock().unwrap() = Some(Box::new(hook));
    }

    /// Returns the requests since the last call, as `METHOD path`.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.state.log.lock().unwrap())
    }

    pub fn put_manifest(&self, name: &str, kind: &str, bytes: &[u8]) -> Digest {
        self.state.put_manifest(name, kind, bytes)
    }

    pub fn put_blob(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let mut blobs = self.state.blobs.lock().unwrap();
        blobs.insert(digest.to_string(), bytes.to_vec());
        digest
    }

    pub fn drop_manifest(&self, name: &str) {
        self.state.manifests.lock().unwrap().remove(name);
    }

    pub fn manifest(&self, name: &str) -> Option<Vec<u8>> {
        let manifests = self.state.manifests.lock().unwrap();
        manifests.get(name).map(|(_, bytes)| bytes.clone())
    }
}

fn serve(
    acceptor: &SslAcceptor,
    stream: TcpStream,
    state: &State,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut stream = BufReader::new(acceptor.accept(stream)?);
    loop {
        let request = read(&mut stream)?;
        let line = format!("{} {}", request.method, request.path);
        state.log.lock().unwrap().push(line);
        let hooked = state
            .hook
            .lock()
            .unwrap()
            .as_ref()
            .and_then(|h| h(&request));
        let reply = hooked.unwrap_or_else(|| state.answer(&request));
        send(stream.get_mut(), &request, &reply)?;
    }
}

pub fn read(stream: &mut impl BufRead) -> Result<Request, Box<dyn std::error::Error>> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let mut fields = line.split(' ');
    let method = fields.next().unwrap_or_default().to_string();
    let path = fields.next().ok_or("closed")?.to_string();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_string());
    }
    let length = headers.get("content-length").map_or(Ok(0), |l| l.parse())?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Request {
        method,
        path,
        headers,
        body,
    })
}

pub fn send<S: Read + Write>(
    stream: &mut S,
    request: &Request,
    reply: &Reply,
) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Test\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let open = matches!(reply.delivery, Delivery::Drip | Delivery::Endless);
    let sized = reply.headers.iter().any(|(n, _)| *n == "Content-Length");
    if !open && !sized {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    head += "\r\n";
    match reply.delivery {
        Delivery::Silent => {
            let _ = stream.read(&mut [0]);
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        Delivery::Whole => {
            stream.write_all(head.as_bytes())?;
            if request.method != "HEAD" {
                stream.write_all(&reply.body)?;
            }
        }
        Delivery::Cut => {
            stream.write_all(head.as_bytes())?;
            stream.write_all(&reply.body[..reply.body.len() / 2])?;
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        Delivery::Drip | Delivery::Endless => {
            stream.write_all(head.as_bytes())?;
            let block = if matches!(reply.delivery, Delivery::Drip) {
                1
            } else {
                65_536
            };
            loop {
                stream.write_all(&vec![b' '; block])?;
                if block == 1 {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
    stream.flush()
}

impl State {
    pub fn put_manifest(&self, name: &str, kind: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let mut manifests = self.manifests.lock().unwrap();
        for name in [name, digest.as_str()] {
            manifests.insert(name.into(), (kind.into(), bytes.to_vec()));
        }
        digest
    }

    fn answer(&self, request: &Request) -> Reply {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let rest = path.strip_prefix("/v2/team/").unwrap_or_default();
        let absent = || {
            Reply::new(
                404,
                br#"{"errors":[{"code":"UNKNOWN","message":"unknown"}]}"#.to_vec(),
            )
        };
        match (request.method.as_str(), rest.split_once('/')) {
            ("PUT", Some(("manifests", name))) => self.store(name, request),
            (_, Some(("manifests", name))) => match self.manifests.lock().unwrap().get(name) {
                Some((kind, bytes)) => Reply::new(200, bytes.clone()).with("Content-Type", kind),
                None => absent(),
            },
            ("POST", Some(("blobs", _))) => {
                Reply::new(202, "").with("Location", "/v2/team/blobs/uploads/1")
            }
            ("PATCH", Some(("blobs", upload))) => {
                let mut blobs = self.blobs.lock().unwrap();
                blobs.insert(upload.into(), request.body.clone());
                blobs.insert(Digest::of(&request.body).to_string(), request.body.clone());
                Reply::new(202, "")
                    .with("Location", request.path.clone())
                    .with("Range", format!("0-{}", request.body.len() - 1))
            }
            ("PUT", Some(("blobs", _))) => {
                let digest = query.replace("digest=", "").replace("%3A", ":");
                Reply::new(201, "").with("Location", format!("/v2/team/blobs/{digest}"))
            }
            (_, Some(("blobs", digest))) => match self.blobs.lock().unwrap().get(digest) {
                Some(bytes) => Reply::new(200, bytes.clone()),
                None => absent(),
            },
            (_, Some(("referrers", digest))) if self.keeps_referrers() => self.list(digest),
            (_, Some(("tags", "list"))) => Reply::new(200, br#"{"name":"team","tags":["v1"]}"#),
            _ => absent(),
        }
    }

    fn keeps_referrers(&self) -> bool {
        self.referrers.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Stores a manifest. As ECR, sends no `Location`.
    fn store(&self, name: &str, request: &Request) -> Reply {
        let kind = request.headers.get("content-type").unwrap();
        self.put_manifest(name, kind, &request.body);
        let document: Value = serde_json::from_slice(&request.body).unwrap();
        let reply = Reply::new(201, "");
        match document["subject"]["digest"].as_str() {
            Some(subject) if self.keeps_referrers() => reply.with("OCI-Subject", subject),
            _ => reply,
        }
    }

    fn list(&self, digest: &str) -> Reply {
        let manifests = self.manifests.lock().unwrap();
        let mut found = Vec::new();
        for (name, (kind, bytes)) in manifests.iter().filter(|(n, _)| n.starts_with("sha256:")) {
            let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
            if document["subject"]["digest"] == digest {
                found.push(json!({
                    "mediaType": kind, "digest": name, "size": bytes.len(),
                    "artifactType": document["artifactType"],
                }));
            }
        }
        let index = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": found,
        });
        Reply::new(200, index.to_string())
    }
}
