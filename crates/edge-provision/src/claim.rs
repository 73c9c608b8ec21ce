//! Claim of the device image: endpoint, provisioning template, and claim certificate.
//! All devices of a batch share this certificate, which permits nothing but requesting
//! an identity.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use edge_common::{Root, file, identity, mqtt};
use openssl::x509::X509;
use serde::Deserialize;

use crate::pki;

/// Directory of the claim files `config.json`, `claim.crt` and `claim.key`.
const DIRECTORY: &str = "/etc/edge-ai/claim";
/// Upper limit of `spread_seconds` in `config.json`.
const MAX_SPREAD_SECONDS: u64 = 3600;

/// Validated content of the claim files.
pub(crate) struct Claim {
    /// Host name of the AWS IoT endpoint.
    pub endpoint: String,
    /// TCP port of the endpoint, by default 8883.
    pub port: u16,
    /// HTTP proxy, `http://HOST:PORT`. Only the device image configures it, because an
    /// environment variable could redirect the device.
    pub proxy: Option<String>,
    /// Name of the fleet provisioning template in AWS IoT.
    pub template: String,
    /// Longest random wait before the first attempt, which overrides `--spread`.
    pub spread: Option<Duration>,
    /// Path of the claim certificate, `claim.crt`.
    pub certificate: PathBuf,
    /// Path of the private key of the claim certificate, `claim.key`.
    pub key: PathBuf,
    /// Parsed claim certificate, for checking the clock against its validity.
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

/// Reads and validates the claim files in [`DIRECTORY`]. An error names the file.
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
        // Set on the device itself, it counts before the image's.
        proxy: identity::proxy_of_settings(root).or(config.proxy),
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
    // The error does not quote the value, which may contain a password.
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
    // Rule of AWS. The name becomes part of MQTT topics, so it must not contain a slash
    // or a wildcard.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    (1..=36).contains(&name.len()) && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_units_outlast_every_spread_that_is_accepted() {
        for unit in [
            include_str!("../systemd/edge-bootstrap.service"),
            include_str!("../systemd/edge-provision-check.service"),
        ] {
            let value = |name: &str| {
                let line = unit.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_else(|| panic!("no {name}")).to_string()
            };
            let limit: u64 = value("TimeoutStartSec=").parse().unwrap();
            // The default budget, and two minutes for the last attempt.
            assert!(limit >= MAX_SPREAD_SECONDS + 240 + 120, "{limit}");
            assert!(!value("ExecStart=").contains("--budget"));
        }
    }
}
