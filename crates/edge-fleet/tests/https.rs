//! HTTPS client of the device tools against servers and proxies that break the rules.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::io::{Read, Write, copy};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use edge_common::Root;
use edge_common::connect::{CaBundle, Identity};
use edge_common::https::{Client, Error, ErrorKind, Request, Response};
use edge_sim::cloud;
use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::X509;
use tempfile::TempDir;

/// Time limit of a request, and of the machine of the test on top.
const LIMIT: Duration = Duration::from_secs(3);
const SLACK: Duration = Duration::from_secs(4);

/// Certificates of a local cloud, and a device root that trusts them.
struct Site {
    directory: TempDir,
    bundle: CaBundle,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        cloud::create(directory.path(), &[]).unwrap();
        let ca = directory.path().join("root/etc/edge-ai/ca");
        std::fs::create_dir_all(&ca).unwrap();
        std::fs::copy(directory.path().join("ca.pem"), ca.join("root.pem")).unwrap();
        let bundle = CaBundle::load(&Root::at(directory.path().join("root"))).unwrap();
        Self { directory, bundle }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn client(&self) -> Client<'_> {
        Client {
            ca_bundle: &self.bundle,
            proxy: None,
            identity: None,
            connect_timeout: LIMIT,
            timeout: LIMIT,
        }
    }

    /// Listens with TLS; each request is read up to its empty line and handled with its
    /// number.
    fn server(
        &self,
        demands_certificate: bool,
        handle: impl Fn(usize, &mut SslStream<TcpStream>) + Send + Sync + 'static,
    ) -> u16 {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        let file = |name: &str| self.path().join(name);
        (builder.set_certificate_chain_file(file("server.crt"))).unwrap();
        (builder.set_private_key_file(file("server.key"), SslFiletype::PEM)).unwrap();
        if demands_certificate {
            let clients = std::fs::read(file("clients.pem")).unwrap();
            for authority in X509::stack_from_pem(&clients).unwrap() {
                builder.cert_store_mut().add_cert(authority).unwrap();
            }
            builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        }
        let acceptor = builder.build();
        raw(move |number, stream| {
            let Ok(mut tls) = acceptor.accept(stream) else {
                return;
            };
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && tls.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            handle(number, &mut tls);
        })
    }

    fn send(&self, port: u16) -> (Result<Response, Error>, Duration) {
        timed(&self.client(), &format!("localhost:{port}"))
    }

    /// Returns kind and text of the error, which must come within the limit.
    fn failure(&self, port: u16) -> (ErrorKind, String) {
        let (result, time) = self.send(port);
        let error = result.err().unwrap();
        assert!(time < LIMIT + SLACK, "{time:?}: {error}");
        (error.kind, error.to_string())
    }
}

fn timed(client: &Client, host: &str) -> (Result<Response, Error>, Duration) {
    let begin = Instant::now();
    let result = client.send(&Request::get(host, "/credentials?signature=secret", 1000));
    if let Err(error) = &result {
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    (result, begin.elapsed())
}

/// Listens and handles each connection in a thread, with its number.
fn raw(handle: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let handle = Arc::new(handle);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let handle = Arc::clone(&handle);
            std::thread::spawn(move || handle(number, stream));
        }
    });
    port
}

/// Waits until the other side closes the connection.
fn wait(stream: &mut impl Read) {
    let _ = copy(stream, &mut std::io::sink());
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ndate: today\r\n\r\nok";

#[test]
fn a_response_is_read_whatever_its_pieces_are() {
    let site = Site::new();
    let port = site.server(false, |_, tls| {
        for byte in ANSWER.bytes() {
            tls.write_all(&[byte]).unwrap();
        }
        wait(tls);
    });
    let (response, _) = site.send(port);
    let response = response.unwrap();
    assert_eq!(
        (response.status, response.body.as_slice()),
        (200, &b"ok"[..])
    );
    assert_eq!(response.header("date"), Some("today"));
}

#[test]
fn servers_that_do_not_end_do_not_delay() {
    let site = Site::new();
    let repeat = |text: &'static str| {
        move |_: usize, tls: &mut SslStream<TcpStream>| {
            tls.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n")
                .unwrap();
            while tls.write_all(text.as_bytes()).is_ok() {}
        }
    };
    let slow = |_: usize, tls: &mut SslStream<TcpStream>| {
        for byte in ANSWER.bytes() {
            if tls.write_all(&[byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    for (port, kind, message) in [
        (
            site.server(false, |_, tls| wait(tls)),
            ErrorKind::Network,
            "in time",
        ),
        (site.server(false, slow), ErrorKind::Network, "in time"),
        (
            site.server(false, repeat("x: y\r\n")),
            ErrorKind::Response,
            "too many headers",
        ),
        (
            site.server(false, repeat("x")),
            ErrorKind::Response,
            "too long",
        ),
        (
            site.server(false, repeat("\r\n1\r\na")),
            ErrorKind::Response,
            "larger than 1000",
        ),
        (
            raw(|_, mut stream| wait(&mut stream)),
            ErrorKind::Network,
            "TLS did not begin",
        ),
        (
            raw(|_, mut stream| {
                for byte in b"\x16\x03\x03\x3f\xff\x02\x00".iter().cycle() {
                    if stream.write_all(&[*byte]).is_err() {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
            }),
            ErrorKind::Network,
            "TLS stopped after",
        ),
    ] {
        let (seen, error) = site.failure(port);
        assert_eq!(seen, kind, "{message}: {error}");
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn responses_that_are_no_whole_one_are_errors() {
    let site = Site::new();
    let large = "x".repeat(1001);
    for (text, kind, message) in [
        (String::new(), ErrorKind::Network, "closed the connection"),
        (
            ANSWER[..ANSWER.len() - 1].into(),
            ErrorKind::Network,
            "closed the connection",
        ),
        (
            ANSWER[..20].into(),
            ErrorKind::Network,
            "closed the connection",
        ),
        (
            format!("{ANSWER}HTTP/1.1 200 OK"),
            ErrorKind::Response,
            "bytes follow",
        ),
        (
            format!("HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n{large}"),
            ErrorKind::Response,
            "larger than 1000",
        ),
        (
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n{large}\r\n"),
            ErrorKind::Response,
            "larger than 1000",
        ),
        (
            ANSWER.replace("date: today", "transfer-encoding: chunked"),
            ErrorKind::Response,
            "two lengths",
        ),
        (
            ANSWER.replace("date: today", "content-length: 2"),
            ErrorKind::Response,
            "twice",
        ),
        (
            "220 mail.example ESMTP\r\n".into(),
            ErrorKind::Response,
            "HTTP/1.1",
        ),
    ] {
        let sent = text.clone();
        let port = site.server(false, move |_, tls| {
            tls.write_all(sent.as_bytes()).unwrap();
            let _ = tls.shutdown();
        });
        let (seen, error) = site.failure(port);
        assert_eq!(seen, kind, "{text:.60}: {error}");
        assert!(error.contains(message), "{text:.60}: {error}");
    }
}

#[test]
fn redirects_are_not_followed() {
    let site = Site::new();
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let port = site.server(false, move |_, tls| {
        seen.fetch_add(1, Ordering::SeqCst);
        let answer = "HTTP/1.1 302 -\r\nlocation: /again\r\ncontent-length: 0\r\n\r\n";
        tls.write_all(answer.as_bytes()).unwrap();
    });
    let response = site.send(port).0.unwrap();
    assert_eq!(
        (response.status, response.header("location")),
        (302, Some("/again"))
    );
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn both_sides_must_trust_each_other() {
    let (site, other) = (Site::new(), Site::new());
    let answer = |_: usize, tls: &mut SslStream<TcpStream>| drop(tls.write_all(ANSWER.as_bytes()));
    let port = site.server(true, answer);
    let (kind, error) = site.failure(port);
    assert!(
        kind == ErrorKind::Tls && error.contains("our certificate"),
        "{error}"
    );
    let identity = Identity {
        certificate: site.path().join("claim.crt"),
        key: site.path().join("claim.key"),
    };
    let client = Client {
        identity: Some(&identity),
        ..site.client()
    };
    let host = format!("localhost:{port}");
    assert_eq!(timed(&client, &host).0.unwrap().status, 200);
    let absent = Identity {
        key: site.path().join("absent.key"),
        ..identity.clone()
    };
    let client = Client {
        identity: Some(&absent),
        ..site.client()
    };
    let error = timed(&client, &host).0.err().unwrap();
    assert!(error.kind == ErrorKind::Request && error.to_string().contains("absent.key"));

    let port = site.server(false, answer);
    let (kind, error) = other.failure(port);
    assert!(
        kind == ErrorKind::Tls && error.contains("not trusted"),
        "{error}"
    );
    let error = timed(&site.client(), &format!("127.0.0.2:{port}"))
        .0
        .err()
        .unwrap();
    assert!(
        matches!(error.kind, ErrorKind::Tls | ErrorKind::Network),
        "{error}"
    );
    let plain = raw(|_, mut stream| drop(stream.write_all(ANSWER.as_bytes())));
    assert_eq!(site.failure(plain).0, ErrorKind::Tls);
}

#[test]
fn proxies_in_pieces_are_understood_and_endless_ones_end() {
    let site = Site::new();
    let target = site.server(false, |_, tls| drop(tls.write_all(ANSWER.as_bytes())));
    let proxy = |pause: u64, head: &'static str| {
        raw(move |_, mut stream| {
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                request.push(byte[0]);
            }
            for byte in head.bytes() {
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(pause));
            }
            let mut other = TcpStream::connect(("127.0.0.1", target)).unwrap();
            let (mut from, mut to) = (other.try_clone().unwrap(), stream.try_clone().unwrap());
            std::thread::spawn(move || copy(&mut from, &mut to));
            let _ = copy(&mut stream, &mut other);
        })
    };
    let send = |port: u16| {
        let proxy = format!("http://127.0.0.1:{port}");
        let client = Client {
            proxy: Some(&proxy),
            ..site.client()
        };
        timed(&client, &format!("localhost:{target}"))
    };
    let established = "HTTP/1.1 200 Connection established\r\nx: y\r\n\r\n";
    assert_eq!(send(proxy(5, established)).0.unwrap().status, 200);
    for (port, message) in [
        (proxy(300, established), "does not answer in time"),
        (
            proxy(0, "HTTP/1.1 403 Forbidden\r\n\r\n"),
            "rejected the connection",
        ),
        (
            proxy(0, "HTTP/1.1 302 -\r\nlocation: http://portal/\r\n\r\n"),
            "rejected the connection",
        ),
        (raw(|_, stream| drop(stream)), "proxy does not answer"),
    ] {
        let (result, time) = send(port);
        let error = result.err().unwrap();
        assert_eq!(error.kind, ErrorKind::Network, "{error}");
        assert!(error.to_string().contains(message), "{error}");
        assert!(time < LIMIT + SLACK, "{time:?}: {error}");
    }
}
