//! The device's identity on `/data`, as edge-provision commits it.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{Root, file};

/// Where the identity lies.
pub const DIRECTORY: &str = "/data/config/aws-iot";
/// Its private key, PEM, mode 0600.
pub const KEY: &str = "/data/config/aws-iot/private.key";
/// Its certificate, PEM.
pub const CERTIFICATE: &str = "/data/config/aws-iot/device.crt";
/// [`DeviceConfig`]; written last, so that its presence means "committed".
pub const CONFIG: &str = "/data/config/aws-iot/config.json";
/// Certificate CA certificates that a server must have, in the image: what
/// `ca_path` in [`CONFIG`] says is for other readers.
pub const CA_BUNDLE: &str = "/etc/edge-ai/ca";
/// Largest file of the identity that is read, in bytes.
pub const LARGEST: u64 = 64 * 1024;

/// `config.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceConfig {
    /// Host name of the account's endpoint.
    pub endpoint: String,
    /// Name of the thing, also its client id.
    pub thing_name: String,
    /// Path of the certificate.
    pub cert_path: String,
    /// Path of the private key.
    pub key_path: String,
    /// Path of the certificate CA certificates.
    pub ca_path: String,
    /// Port if it is not 8883.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `http://HOST:PORT` of the proxy, if the image names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
}

impl DeviceConfig {
    /// Reads and checks the committed configuration.
    ///
    /// # Errors
    /// Absent, truncated, oversized, or values that cannot be right.
    pub fn load(root: &Root) -> Result<Self> {
        let text = file::read(&root.path(CONFIG), LARGEST)?;
        let config: Self =
            serde_json::from_slice(&text).with_context(|| format!("parsing {CONFIG}"))?;
        if !valid_endpoint(&config.endpoint) {
            bail!("parsing {CONFIG}: endpoint is not a host name");
        }
        if !valid_thing_name(&config.thing_name) {
            bail!("parsing {CONFIG}: thing_name is not [a-zA-Z0-9:_-]{{1,128}}");
        }
        if config.proxy.as_deref().is_some_and(|p| !valid_proxy(p)) {
            bail!("parsing {CONFIG}: proxy is not http://HOST:PORT");
        }
        Ok(config)
    }
}

/// `http://HOST:PORT`, nothing else: a name and a password would be readable.
pub fn valid_proxy(proxy: &str) -> bool {
    let parts = proxy
        .strip_prefix("http://")
        .and_then(|p| p.split_once(':'));
    parts.is_some_and(|(host, port)| {
        valid_endpoint(host) && port.parse::<u16>().is_ok_and(|p| p > 0)
    })
}

/// AWS: `[a-zA-Z0-9:_-]{1,128}`.
pub fn valid_thing_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || ":_-".contains(c);
    (1..=128).contains(&name.len()) && name.chars().all(good)
}

/// A host name or address, nothing that could be read as more of a URL.
pub fn valid_endpoint(host: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    (1..=253).contains(&host.len()) && !host.starts_with(['.', '-']) && host.chars().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_a_host_and_a_port() {
        for good in ["http://proxy:3128", "http://10.0.0.1:80"] {
            assert!(valid_proxy(good), "{good}");
        }
        for bad in [
            "proxy:3128",
            "https://proxy:1",
            "http://u:p@proxy:1",
            "http://proxy",
            "http://proxy:0",
            "http://a:1/x",
        ] {
            assert!(!valid_proxy(bad), "{bad}");
        }
    }
}
