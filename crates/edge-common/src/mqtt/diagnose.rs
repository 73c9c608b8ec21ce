//! Diagnosis of a failed connection. Paho reports a rejected certificate with varying
//! errors, but an operator has to know which side does not trust the other. Therefore
//! name look-up, TCP, proxy and TLS are tried again one by one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::ssl::{HandshakeError, Ssl, SslContext, SslFiletype, SslMethod, SslVerifyMode};
use openssl::x509::X509VerifyResult;
use paho_mqtt as paho;

use super::{ConnectError, ConnectErrorKind, HTTPS_PORT, Options};

/// Time limit of each step: name look-up, TCP connection, and answer of the proxy.
const STEP_LIMIT: Duration = Duration::from_secs(5);

/// Repeats the steps of a failed connection and returns the one that fails, or `error`,
/// the report of Paho, if all steps succeed.
pub(super) fn diagnose(options: &Options, error: &paho::Error) -> ConnectError {
    let endpoint = format!("{}:{}", options.endpoint, options.port);
    let connect_error = |kind, reached, message| ConnectError {
        kind,
        reached,
        message,
    };
    if let paho::Error::ConnectReturn(code) = error {
        let message = format!("{endpoint} rejected the connection: {code}");
        // The return code 3 says that the server is overloaded or being maintained.
        let kind = match code {
            paho::ConnectReturnCode::ServerUnavailable => ConnectErrorKind::Network,
            _ => ConnectErrorKind::Rejected,
        };
        return connect_error(kind, true, message);
    }
    let next_hop = options.proxy.map_or(endpoint.as_str(), |proxy| {
        proxy.strip_prefix("http://").unwrap_or(proxy)
    });
    let addresses = match look_up(next_hop) {
        Ok(addresses) => addresses,
        Err(message) => return connect_error(ConnectErrorKind::Network, false, message),
    };
    let mut last = "the name has no address".to_string();
    let mut reached = false;
    for address in addresses {
        match TcpStream::connect_timeout(&address, STEP_LIMIT) {
            Ok(stream) => match through_proxy(options, stream) {
                Ok(stream) => {
                    reached = true;
                    match tls_error(options, stream) {
                        Some(cause) => {
                            let message = format!("{endpoint}: TLS failed: {cause}");
                            return connect_error(ConnectErrorKind::Tls, true, message);
                        }
                        None => last = error.to_string(),
                    }
                }
                Err(cause) => last = cause,
            },
            Err(e) => last = e.to_string(),
        }
    }
    let proxy = options
        .proxy
        .map_or(String::new(), |p| format!(" through {p}"));
    let message = format!("connecting to {endpoint}{proxy}: {last}");
    connect_error(ConnectErrorKind::Network, reached, message)
}

/// Resolves `HOST:PORT` to socket addresses within [`STEP_LIMIT`].
fn look_up(address: &str) -> Result<Vec<SocketAddr>, String> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let (sender, receiver) = mpsc::channel();
    let owned = address.to_string();
    // In a separate thread, because the time limits of the system's resolver add up to
    // half a minute and cannot be set for a single look-up.
    std::thread::spawn(move || {
        let found = owned.to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        let _ = sender.send(found);
    });
    match receiver.recv_timeout(STEP_LIMIT) {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(format!("looking up {host}: {error}")),
        Err(_) => Err(format!(
            "looking up {host}: no answer within {} s",
            STEP_LIMIT.as_secs()
        )),
    }
}

/// Requests a tunnel to the endpoint if a proxy is configured, otherwise returns
/// `stream` unchanged.
fn through_proxy(options: &Options, mut stream: TcpStream) -> Result<TcpStream, String> {
    if options.proxy.is_none() {
        return Ok(stream);
    }
    let endpoint = format!("{}:{}", options.endpoint, options.port);
    let mut request = || {
        stream.set_read_timeout(Some(STEP_LIMIT))?;
        write!(
            stream,
            "CONNECT {endpoint} HTTP/1.1\r\nHost: {endpoint}\r\n\r\n"
        )?;
        let mut head = Vec::new();
        // The response is read byte by byte, because the data after its head belongs to
        // TLS.
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && head.len() < 4096 {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&head).into_owned())
    };
    let head = request().map_err(|e| format!("the proxy does not answer: {e}"))?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    match status {
        "200" => Ok(stream),
        _ => Err(format!(
            "the proxy rejected the connection: {}",
            head.lines().next().unwrap_or_default()
        )),
    }
}

/// Repeats the TLS handshake. Returns its error, which shows the side that does not
/// trust the other, or `None` if TLS is not the cause.
fn tls_error(options: &Options, stream: TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let ssl = (|| {
        let mut context = SslContext::builder(SslMethod::tls_client())?;
        context.set_verify(SslVerifyMode::PEER);
        context.set_ca_file(options.ca_bundle.path())?;
        context.set_certificate_chain_file(&options.certificate)?;
        context.set_private_key_file(&options.key, SslFiletype::PEM)?;
        if options.port == HTTPS_PORT {
            context.set_alpn_protos(b"\x0ex-amzn-mqtt-ca")?;
        }
        let mut ssl = Ssl::new(&context.build())?;
        ssl.set_hostname(options.endpoint)?;
        ssl.param_mut().set_host(options.endpoint)?;
        Ok::<_, ErrorStack>(ssl)
    })();
    let ssl = match ssl {
        Ok(ssl) => ssl,
        Err(error) => return Some(reasons(&error)),
    };
    match ssl.connect(stream) {
        // In TLS 1.3 the server checks the client certificate after the client has
        // finished the handshake, so its alert comes with the first read.
        Ok(mut stream) => match stream.ssl_read(&mut [0]) {
            Err(error) => error.ssl_error().map(|stack| {
                format!(
                    "the server does not trust our certificate: {}",
                    reasons(stack)
                )
            }),
            Ok(_) => None,
        },
        Err(HandshakeError::Failure(handshake)) => handshake.error().ssl_error().map(|stack| {
            let verdict = handshake.ssl().verify_result();
            if verdict == X509VerifyResult::OK {
                reasons(stack)
            } else {
                format!("the server's certificate is not trusted: {verdict}")
            }
        }),
        Err(HandshakeError::SetupFailure(error)) => Some(reasons(&error)),
        Err(HandshakeError::WouldBlock(_)) => None,
    }
}

/// Returns the reasons of an OpenSSL error without its source lines, comma-separated.
fn reasons(stack: &ErrorStack) -> String {
    let reasons: Vec<_> = stack.errors().iter().filter_map(|e| e.reason()).collect();
    reasons.join(", ")
}
