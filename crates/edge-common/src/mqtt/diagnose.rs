//! Why a connection did not come about.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::ssl::{HandshakeError, Ssl, SslContext, SslFiletype, SslMethod, SslVerifyMode};
use openssl::x509::X509VerifyResult;
use paho_mqtt as paho;

use super::{ConnectError, HTTPS, Options, Trouble};

/// Limit of a look-up and of a connection while a failure is examined.
const EXAMINE: Duration = Duration::from_secs(5);

/// Finds out what kind of trouble it is: the library does not tell.
pub(super) fn diagnose(options: &Options, error: &paho::Error) -> ConnectError {
    let place = format!("{}:{}", options.endpoint, options.port);
    let answer = |trouble, reached, message| ConnectError {
        trouble,
        reached,
        message,
    };
    if let paho::Error::ConnectReturn(code) = error {
        let message = format!("{place} refused the connection: {code}");
        return answer(Trouble::Refused, true, message);
    }
    let first = options.proxy.map_or(place.as_str(), |proxy| {
        proxy.strip_prefix("http://").unwrap_or(proxy)
    });
    let addresses = match look_up(first) {
        Ok(addresses) => addresses,
        Err(message) => return answer(Trouble::Network, false, message),
    };
    let mut last = "it has no address".to_string();
    let mut reached = false;
    for address in addresses {
        match TcpStream::connect_timeout(&address, EXAMINE) {
            Ok(stream) => match behind_proxy(options, stream) {
                Ok(stream) => {
                    reached = true;
                    match tls_trouble(options, stream) {
                        Some(why) => {
                            let message = format!("{place} is reached, but TLS fails: {why}");
                            return answer(Trouble::Tls, true, message);
                        }
                        None => last = error.to_string(),
                    }
                }
                Err(why) => last = why,
            },
            Err(e) => last = e.to_string(),
        }
    }
    let way = options
        .proxy
        .map_or(String::new(), |p| format!(" through {p}"));
    let message = format!("connecting to {place}{way}: {last}");
    answer(Trouble::Network, reached, message)
}

/// The addresses of `HOST:PORT`. The resolver's own limits add up to half a
/// minute; nobody waits so long here.
fn look_up(place: &str) -> Result<Vec<SocketAddr>, String> {
    let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
    let (answer, answered) = mpsc::channel();
    let wanted = place.to_string();
    std::thread::spawn(move || {
        let found = wanted.to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        let _ = answer.send(found);
    });
    match answered.recv_timeout(EXAMINE) {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(format!("looking up {host}: {error}")),
        Err(_) => Err(format!(
            "looking up {host}: no answer within {} s",
            EXAMINE.as_secs()
        )),
    }
}

/// Asks the proxy, if there is one, for the way to the endpoint.
fn behind_proxy(options: &Options, mut stream: TcpStream) -> Result<TcpStream, String> {
    if options.proxy.is_none() {
        return Ok(stream);
    }
    let place = format!("{}:{}", options.endpoint, options.port);
    let mut ask = || {
        stream.set_read_timeout(Some(EXAMINE))?;
        write!(stream, "CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n")?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && head.len() < 4096 {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&head).into_owned())
    };
    let head = ask().map_err(|e| format!("the proxy does not answer: {e}"))?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    match status {
        "200" => Ok(stream),
        _ => Err(format!(
            "the proxy refuses: {}",
            head.lines().next().unwrap_or_default()
        )),
    }
}

/// Shakes hands again, by ourselves, to learn who does not trust whom. In TLS
/// 1.3 a server judges our certificate only after our half is done, so that
/// its alert is read behind the handshake.
fn tls_trouble(options: &Options, stream: TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let ssl = (|| {
        let mut context = SslContext::builder(SslMethod::tls_client())?;
        context.set_verify(SslVerifyMode::PEER);
        context.set_ca_file(options.ca_bundle.path())?;
        context.set_certificate_chain_file(&options.certificate)?;
        context.set_private_key_file(&options.key, SslFiletype::PEM)?;
        if options.port == HTTPS {
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
        Ok(mut stream) => match stream.ssl_read(&mut [0]) {
            Err(error) => error.ssl_error().map(|why| {
                format!(
                    "the server does not trust our certificate: {}",
                    reasons(why)
                )
            }),
            Ok(_) => None,
        },
        Err(HandshakeError::Failure(middle)) => middle.error().ssl_error().map(|why| {
            let verdict = middle.ssl().verify_result();
            if verdict == X509VerifyResult::OK {
                reasons(why)
            } else {
                format!("the server's certificate is not trusted: {verdict}")
            }
        }),
        Err(HandshakeError::SetupFailure(error)) => Some(reasons(&error)),
        Err(HandshakeError::WouldBlock(_)) => None,
    }
}

/// What OpenSSL says, without its source lines.
fn reasons(stack: &ErrorStack) -> String {
    let words: Vec<_> = stack.errors().iter().filter_map(|e| e.reason()).collect();
    words.join(", ")
}
