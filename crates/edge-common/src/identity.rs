//! Identity of the device on `/data`, as edge-provision commits it.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{Root, file};

/// Private key of the device, PEM, mode 0600.
pub const KEY: &str = "/data/config/aws-iot/private.key";
/// Certificate of the device, PEM.
pub const CERTIFICATE: &str = "/data/config/aws-iot/device.crt";
/// [`DeviceConfig`]. It is written last, so that its presence means "committed".
pub const CONFIG: &str = "/data/config/aws-iot/config.json";
/// Largest key, certificate or configuration that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Contents of [`CONFIG`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceConfig {
    /// Host name of the endpoint of the AWS account.
    pub endpoint: String,
    /// Name of the thing, also the MQTT client id.
    pub thing_name: String,
    /// Path of the certificate.
    pub cert_path: String,
    /// Path of the private key.
    pub key_path: String,
    /// Path of the CA bundle, for other readers: our tools take the one of the image
    /// whatever is written here.
    pub ca_path: String,
    /// Port, if not 8883.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `http://HOST:PORT` of the proxy, if the image names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
}

impl DeviceConfig {
    /// Reads and validates the committed configuration.
    ///
    /// # Errors
    /// The file is absent, truncated or oversized, or a value is invalid.
    pub fn load(root: &Root) -> Result<Self> {
        let text = file::read(&root.path(CONFIG), MAX_FILE_BYTES)?;
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

/// Whether `proxy` is `http://HOST:PORT`. User and password are not accepted: the
/// configuration can be read by every user.
pub fn valid_proxy(proxy: &str) -> bool {
    let parts = proxy
        .strip_prefix("http://")
        .and_then(|p| p.split_once(':'));
    parts.is_some_and(|(host, port)| {
        valid_endpoint(host) && port.parse::<u16>().is_ok_and(|p| p > 0)
    })
}

/// Whether AWS accepts `name` for a thing: `[a-zA-Z0-9:_-]{1,128}`.
pub fn valid_thing_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":_-".contains(c);
    (1..=128).contains(&name.len()) && name.chars().all(allowed)
}

/// Whether `host` is a host name or an address and nothing more of a URL.
pub fn valid_endpoint(host: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    (1..=253).contains(&host.len()) && !host.starts_with(['.', '-']) && host.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_a_host_and_a_port() {
        for valid in ["http://proxy:3128", "http://10.0.0.1:80"] {
            assert!(valid_proxy(valid), "{valid}");
        }
        for invalid in [
            "proxy:3128",
            "https://proxy:1",
            "http://u:p@proxy:1",
            "http://proxy",
            "http://proxy:0",
            "http://a:1/x",
        ] {
            assert!(!valid_proxy(invalid), "{invalid}");
        }
    }
}
