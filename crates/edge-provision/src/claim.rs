//! Claim of the image: endpoint, template and a certificate that every device of a batch
//! shares and that permits nothing but requesting an identity.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use edge_common::{Root, file, identity, mqtt};
use openssl::x509::X509;
use serde::Deserialize;

use crate::pki;

/// Directory of the claim files.
const DIRECTORY: &str = "/etc/edge-ai/claim";
/// Longest spread of the first attempts, in seconds.
const MAX_SPREAD_SECONDS: u64 = 3600;

/// Claim certificate and key, and the endpoint that accepts them.
pub(crate) struct Claim {
    /// Host name of the endpoint.
    pub endpoint: String,
    /// Port of the endpoint.
    pub port: u16,
    /// `http://HOST:PORT` of a proxy. From the image only: an environment variable could
    /// redirect the device.
    pub proxy: Option<String>,
    /// Name of the provisioning template.
    pub template: String,
    /// Interval over which the first attempts of a fleet are spread, if the image has one.
    pub spread: Option<Duration>,
    /// Path of the certificate.
    pub certificate: PathBuf,
    /// Path of the key.
    pub key: PathBuf,
    /// Parsed certificate.
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

/// Reads and validates the claim files. An error names the file.
pub(crate) fn load(root: &Root) -> Result<Claim> {
    let path = |name: &str| root.path(DIRECTORY).join(name);
    let text = file::read(&path("config.json"), identity::MAX_FILE_BYTES)?;
    let config: Config = serde_json::from_slice(&text)
        .with_context(|| format!("parsing {DIRECTORY}/config.json"))?;
    validate(&config).with_context(|| format!("parsing {DIRECTORY}/config.json"))?;
    let parsed = pki::certificate(&file::read(&path("claim.crt"), identity::MAX_FILE_BYTES)?)
        .with_context(|| format!("parsing {DIRECTORY}/claim.crt"))?;
    let key = pki::private_key(&file::read(&path("claim.key"), identity::MAX_FILE_BYTES)?)
        .with_context(|| format!("parsing {DIRECTORY}/claim.key"))?;
    if !pki::is_key_of(&key, &parsed) {
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

fn validate(config: &Config) -> Result<()> {
    if !identity::valid_endpoint(&config.endpoint) {
        bail!("endpoint is not a host name: {:?}", config.endpoint);
    }
    if config.port == 0 {
        bail!("port is not 1..=65535");
    }
    if !valid_template(&config.template_name) {
        let name = &config.template_name;
        bail!("template_name is not [0-9A-Za-z_-]{{1,36}}: {name:?}");
    }
    // Without its value, which may hold a password.
    if config
        .proxy
        .as_deref()
        .is_some_and(|p| !identity::valid_proxy(p))
    {
        bail!("proxy is not http://HOST:PORT");
    }
    if let Some(seconds) = config.spread_seconds.filter(|s| *s > MAX_SPREAD_SECONDS) {
        bail!("spread_seconds is not 0..={MAX_SPREAD_SECONDS}: {seconds}");
    }
    Ok(())
}

fn valid_template(name: &str) -> bool {
    // AWS's rule. The name becomes a part of topics, so no slash or wildcard may pass.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    (1..=36).contains(&name.len()) && name.chars().all(allowed)
}
