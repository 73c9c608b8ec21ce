//! HTTPS servers of a test: a registry, and the storage to which it redirects.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509NameBuilder};

/// Certificate of the servers, which devices trust, and its key.
pub struct Tls {
    pub certificate: X509,
    key: PKey<Private>,
}

impl Tls {
    pub fn new() -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", "localhost").unwrap();
        let name = name.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
        builder.set_serial_number(&serial).unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder.set_pubkey(&key).unwrap();
        let from = Asn1Time::from_unix(0).unwrap();
        builder.set_not_before(&from).unwrap();
        let to = Asn1Time::days_from_now(2).unwrap();
        builder.set_not_after(&to).unwrap();
        let names = SubjectAlternativeName::new()
            .dns("localhost")
            .build(&builder.x509v3_context(None, None))
            .unwrap();
        builder.append_extension(names).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self {
            certificate: builder.build(),
            key,
        }
    }

    /// Starts a server on localhost, whose answers depend on the head of a request.
    pub fn serve(&self, answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Server {
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
        acceptor.set_private_key(&self.key).unwrap();
        acceptor.set_certificate(&self.certificate).unwrap();
        let acceptor = Arc::new(acceptor.build());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = format!("localhost:{}", listener.local_addr().unwrap().port());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (heads.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (acceptor, seen, answer) = (acceptor.clone(), seen.clone(), answer.clone());
                std::thread::spawn(move || {
                    let Ok(stream) = acceptor.accept(stream.unwrap()) else {
                        return;
                    };
                    let mut stream = BufReader::new(stream);
                    // A client that streams sends many requests over a connection.
                    while let Some(head) = head(&mut stream) {
                        seen.lock().unwrap().push(head.clone());
                        if stream.get_mut().write_all(&answer(&head)).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Server { host, heads }
    }
}

fn head(stream: &mut impl BufRead) -> Option<String> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        let count = stream.take(8192).read_line(&mut line).ok()?;
        text += &line.to_ascii_lowercase();
        match (count, line.trim().is_empty()) {
            (0, _) => return None,
            (_, true) => return Some(text),
            _ => {}
        }
    }
}

/// Running server, with the heads of the requests that it has received, in lower case.
pub struct Server {
    pub host: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// Answer without a body.
pub fn status(status: &str, header: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{header}content-length: 0\r\n\r\n").into_bytes()
}

pub fn redirect(location: &str) -> Vec<u8> {
    status(
        "307 Temporary Redirect",
        &format!("location: {location}\r\n"),
    )
}

/// Answer to a request for a part of an object.
pub fn part(head: &str, object: &[u8]) -> Vec<u8> {
    let range = head.lines().find_map(|l| l.strip_prefix("range: bytes="));
    let (from, to) = range.unwrap().trim().split_once('-').unwrap();
    let from: usize = from.parse().unwrap();
    let to = to.parse().unwrap_or(usize::MAX).min(object.len() - 1);
    let (part, all) = (&object[from..=to], object.len());
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {from}-{to}/{all}\r\n\
         content-length: {}\r\n\r\n",
        part.len()
    );
    [head.as_bytes(), part].concat()
}
