//! TLS connections to servers of the cloud, for MQTT and HTTPS.
//!
//! The certificate of the server is verified only with the CA bundle of the device image,
//! never with the trust store of the system. Each connection has one deadline.

mod dial;
mod error;
mod stream;
mod tls;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use openssl::x509::X509;

use crate::contract::path;
use crate::{Root, file, identity};
pub(crate) use dial::dial;
pub use error::{ConnectError, ConnectErrorKind};
#[cfg(feature = "mqtt")]
pub(crate) use stream::Stream;
pub(crate) use tls::not_accepted;

/// Port of HTTPS, which most firewalls leave open.
pub(crate) const HTTPS_PORT: u16 = 443;

/// Server, and what a connection to it needs.
pub(crate) struct Peer<'a> {
    /// Host name, for which the server's certificate must be valid.
    pub(crate) host: &'a str,
    /// TCP port.
    pub(crate) port: u16,
    /// HTTP proxy, `http://HOST:PORT`, that tunnels the connection with CONNECT.
    pub(crate) proxy: Option<&'a str>,
    /// Client certificate, if the server demands one.
    pub(crate) identity: Option<&'a Identity>,
    /// CA certificates with which the server's certificate is verified.
    pub(crate) ca_bundle: &'a CaBundle,
    /// Requested protocol in the form of ALPN, with its length.
    pub(crate) alpn: Option<&'static [u8]>,
}

/// Files of a client certificate.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Path of the client certificate, a PEM file.
    pub certificate: PathBuf,
    /// Path of the private key of the client certificate, a PEM file.
    pub key: PathBuf,
}

impl Identity {
    /// Returns the files of the device identity.
    pub fn of_device(root: &Root) -> Self {
        Self {
            certificate: root.path(identity::CERTIFICATE),
            key: root.path(identity::KEY),
        }
    }
}

/// CA certificates of the device image.
pub struct CaBundle(Vec<X509>);

impl CaBundle {
    /// Reads `/etc/edge-ai/ca/*.pem`.
    ///
    /// # Errors
    /// The directory contains no `*.pem` file, or a file cannot be read or parsed.
    pub fn load(root: &Root) -> Result<Self> {
        let directory = root.path(path::CA);
        let context = || format!("reading {}", directory.display());
        let mut certificates = Vec::new();
        for entry in std::fs::read_dir(&directory).with_context(context)? {
            let path = entry.with_context(context)?.path();
            if path.extension().is_some_and(|e| e == "pem") {
                let pem = file::read(&path, identity::MAX_FILE_BYTES)?;
                let parsed = X509::stack_from_pem(&pem);
                certificates.extend(parsed.with_context(|| format!("parsing {}", path.display()))?);
            }
        }
        if certificates.is_empty() {
            bail!("reading {}: no CA certificate found", directory.display());
        }
        Ok(Self(certificates))
    }
}
