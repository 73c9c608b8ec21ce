//! TLS on a connected stream. An operator has to know which side does not trust the
//! other, so errors say it.

use std::net::IpAddr;

use anyhow::{Context, Result};
use openssl::error::ErrorStack;
use openssl::ssl::{
    HandshakeError, Ssl, SslContext, SslFiletype, SslMethod, SslStream, SslVerifyMode, SslVersion,
};
use openssl::x509::X509VerifyResult;
use openssl::x509::store::X509StoreBuilder;

use super::stream::Stream;
use super::{ConnectError, Identity, Peer};

/// Creates the TLS configuration of a connection, verified with the CA bundle of the image
/// only.
pub(super) fn context(peer: &Peer) -> Result<SslContext> {
    let mut context = SslContext::builder(SslMethod::tls_client())?;
    context.set_verify(SslVerifyMode::PEER);
    context.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    let mut store = X509StoreBuilder::new()?;
    for certificate in &peer.ca_bundle.0 {
        store.add_cert(certificate.clone())?;
    }
    context.set_cert_store(store.build());
    if let Some(Identity { certificate, key }) = peer.identity {
        context
            .set_certificate_chain_file(certificate)
            .with_context(|| format!("using {}", certificate.display()))?;
        context
            .set_private_key_file(key, SslFiletype::PEM)
            .with_context(|| format!("using {}", key.display()))?;
    }
    if let Some(protocol) = peer.alpn {
        context.set_alpn_protos(protocol)?;
    }
    Ok(context.build())
}

/// Returns the parameters of one connection to `endpoint`.
pub(super) fn client(context: &SslContext, endpoint: &str) -> Result<Ssl> {
    let mut ssl = Ssl::new(context)?;
    match endpoint.parse::<IpAddr>() {
        Ok(address) => ssl.param_mut().set_ip(address)?,
        Err(_) => {
            ssl.set_hostname(endpoint)?;
            ssl.param_mut().set_host(endpoint)?;
        }
    }
    Ok(ssl)
}

/// Performs the TLS handshake until the deadline of `stream`.
pub(super) fn handshake(ssl: Ssl, stream: Stream) -> Result<SslStream<Stream>, ConnectError> {
    match ssl.connect(stream) {
        Ok(stream) => Ok(stream),
        Err(HandshakeError::Failure(handshake)) => {
            let verdict = handshake.ssl().verify_result();
            let error = handshake.error();
            Err(match error.ssl_error() {
                Some(_) if verdict != X509VerifyResult::OK => ConnectError::tls(format!(
                    "TLS failed: the server's certificate is not trusted: {verdict}"
                )),
                Some(stack) => ConnectError::tls(format!("TLS failed: {}", reasons(stack))),
                None => ConnectError::network(true, "closed during the TLS handshake".into()),
            })
        }
        Err(HandshakeError::WouldBlock(handshake)) => Err(stalled(handshake.get_ref().received)),
        Err(HandshakeError::SetupFailure(stack)) => Err(ConnectError::tls(format!(
            "TLS failed: {}",
            reasons(&stack)
        ))),
    }
}

/// Returns the error of a handshake that did not end in time. A path that loses large
/// packets looks the same as a silent server, because certificates fill whole packets.
fn stalled(received: u64) -> ConnectError {
    let what = match received {
        0 => "TCP connected, but TLS did not begin".to_string(),
        bytes => format!("TLS stopped after {bytes} bytes"),
    };
    ConnectError::network(
        true,
        format!(
            "{what}: the server is silent, or large packets are lost on the way (MTU black \
             hole): lower the MTU of the interface, or permit ICMP \"packet too big\""
        ),
    )
}

/// Offset of the alerts of the peer among the reasons of OpenSSL's errors.
const ALERTS: std::ops::Range<i32> = 1000..1256;

/// Returns the error of a connection that ended before the server accepted it. In TLS 1.3
/// the server checks the client's certificate after the handshake.
pub(crate) fn not_accepted(error: &openssl::ssl::Error) -> ConnectError {
    let alert = |stack: &&ErrorStack| {
        let mut codes = stack
            .errors()
            .iter()
            .map(openssl::error::Error::reason_code);
        codes.any(|code| ALERTS.contains(&code))
    };
    match error.ssl_error().filter(alert) {
        Some(stack) => ConnectError::tls(format!(
            "TLS failed: the server does not trust our certificate: {}",
            reasons(stack)
        )),
        None => ConnectError::network(true, "closed by the server before it answered".into()),
    }
}

/// Returns the reasons of an OpenSSL error without its source lines, comma-separated.
fn reasons(stack: &ErrorStack) -> String {
    let reasons: Vec<_> = stack.errors().iter().filter_map(|e| e.reason()).collect();
    reasons.join(", ")
}
