//! The claim: what every device of a batch has in its image.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use edge_common::{Root, file, identity, mqtt};
use openssl::x509::X509;
use serde::Deserialize;

use crate::pki;

/// Directory of the claim files.
const DIRECTORY: &str = "/etc/edge-ai/claim";
/// Longest spread that makes sense, in seconds.
const LONGEST_SPREAD: u64 = 3600;

/// Claim certificate, key and where to go with them.
pub struct Claim {
    /// Endpoint's host name.
    pub endpoint: String,
    /// Port.
    pub port: u16,
    /// `http://HOST:PORT` of a proxy.
    pub proxy: Option<String>,
    /// Name of the provisioning template.
    pub template: String,
    /// How far the first tries of a fleet are spread, if the image says so.
    pub spread: Option<Duration>,
    /// Path of the certificate.
    pub certificate: PathBuf,
    /// Path of the key.
    pub key: PathBuf,
    /// The certificate itself.
    pub parsed: X509,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    endpoint: String,
    template_name: String,
    #[serde(default = "default_port")]
    port: u16,
    proxy: Option<String>,
    spread_seconds: Option<u64>,
}

fn default_port() -> u16 {
    mqtt::PORT
}

/// Reads and checks the claim files.
///
/// # Errors
/// A file that is absent, oversized or malformed, by name; a key that is not
/// the certificate's.
pub fn load(root: &Root) -> Result<Claim> {
    let path = |name: &str| root.path(DIRECTORY).join(name);
    let text = file::read(&path("config.json"), identity::MAX_FILE_BYTES)?;
    let config: Config = serde_json::from_slice(&text)
        .with_context(|| format!("parsing {DIRECTORY}/config.json"))?;
    check(&config).with_context(|| format!("parsing {DIRECTORY}/config.json"))?;
    let parsed = pki::certificate(&file::read(&path("claim.crt"), identity::MAX_FILE_BYTES)?)
        .with_context(|| format!("parsing {DIRECTORY}/claim.crt"))?;
    let key = pki::private_key(&file::read(&path("claim.key"), identity::MAX_FILE_BYTES)?)
        .with_context(|| format!("parsing {DIRECTORY}/claim.key"))?;
    if !pki::belong_together(&parsed, &key) {
        bail!("{DIRECTORY}/claim.key is not the key of claim.crt");
    }
    Ok(Claim {
        endpoint: config.endpoint,
        port: config.port,
        proxy: config.proxy,
        template: config.template_name,
        spread: config.spread_seconds.map(Duration::from_secs),
        certificate: path("claim.crt"),
        key: path("claim.key"),
        parsed,
    })
}

fn check(config: &Config) -> Result<()> {
    if !identity::valid_endpoint(&config.endpoint) {
        bail!("endpoint is not a host name");
    }
    if config.port == 0 {
        bail!("port is not 1..=65535");
    }
    if !valid_template(&config.template_name) {
        bail!("template_name is not [0-9A-Za-z_-]{{1,36}}");
    }
    if config
        .proxy
        .as_deref()
        .is_some_and(|p| !identity::valid_proxy(p))
    {
        bail!("proxy is not http://HOST:PORT");
    }
    if config.spread_seconds.is_some_and(|s| s > LONGEST_SPREAD) {
        bail!("spread_seconds is not 0..={LONGEST_SPREAD}");
    }
    Ok(())
}

fn valid_template(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    (1..=36).contains(&name.len()) && name.chars().all(good)
}
