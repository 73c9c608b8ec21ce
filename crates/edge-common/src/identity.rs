//! Device identity on `/data`: key, certificate and configuration, which edge-provision
//! writes and other tools read.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::contract::path::NETWORK_PROXY;
use crate::{Root, file};

/// Path of the private key of the device, a PEM file with mode 0600.
pub const KEY: &str = "/data/config/aws-iot/private.key";
/// Path of the client certificate of the device, a PEM file.
pub const CERTIFICATE: &str = "/data/config/aws-iot/device.crt";
/// Path of the JSON file with [`DeviceConfig`]. edge-provision writes this file last,
/// so its presence means that the identity is complete.
pub const CONFIG: &str = "/data/config/aws-iot/config.json";
/// Size limit of a key, certificate or configuration that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Parameters of the connection to AWS IoT: the contents of [`CONFIG`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceConfig {
    /// Host name of the AWS account's IoT endpoint.
    pub endpoint: String,
    /// Name of the device in AWS IoT (thing name), also its MQTT client ID.
    pub thing_name: String,
    /// Path of the client certificate; edge-provision accepts only [`CERTIFICATE`].
    pub cert_path: String,
    /// Path of the private key; edge-provision accepts only [`KEY`].
    pub key_path: String,
    /// Path of the CA bundle, for third-party programs. The tools of this repository
    /// ignore it and always read `/etc/edge-ai/ca`.
    pub ca_path: String,
    /// TCP port of the endpoint; `None` means 8883.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// HTTP proxy for the connection, `http://HOST:PORT`, if the device image
    /// configures one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
}

impl DeviceConfig {
    /// Reads [`CONFIG`] and validates the endpoint, the thing name and the proxy.
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
        Ok(Self {
            proxy: proxy_of_settings(root).or(config.proxy),
            ..config
        })
    }
}

/// Returns the proxy of the device's network settings, which counts before the image's;
/// `None` if there is none, or the file is invalid. A proxy is no trust anchor: the
/// endpoint's certificate is verified through it.
pub fn proxy_of_settings(root: &Root) -> Option<String> {
    let text = file::read(&root.path(NETWORK_PROXY), MAX_FILE_BYTES).ok()?;
    let file: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let proxy = file["proxy"].as_str()?;
    valid_proxy(proxy).then(|| proxy.to_string())
}

/// Returns whether `proxy` is `http://HOST:PORT`. User and password are not accepted,
/// because every user of the device can read the configuration.
pub fn valid_proxy(proxy: &str) -> bool {
    let parts = proxy
        .strip_prefix("http://")
        .and_then(|p| p.split_once(':'));
    parts.is_some_and(|(host, port)| {
        valid_endpoint(host) && port.parse::<u16>().is_ok_and(|p| p > 0)
    })
}

/// Returns whether AWS accepts `name` as a thing name: `[a-zA-Z0-9:_-]{1,128}`.
pub fn valid_thing_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":_-".contains(c);
    (1..=128).contains(&name.len()) && name.chars().all(allowed)
}

/// Returns whether `host` has the form of a host name or an IPv4 address, without any
/// other part of a URL such as a port or a path.
pub fn valid_endpoint(host: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    (1..=253).contains(&host.len()) && !host.starts_with(['.', '-']) && host.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_of_the_device_counts_and_a_damaged_one_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        let path = root.path(NETWORK_PROXY);
        file::create_directory(path.parent().unwrap(), 0o755).unwrap();
        for (text, expected) in [
            (
                r#"{"v":1,"proxy":"http://p:1","later":2}"#,
                Some("http://p:1"),
            ),
            (r#"{"v":1,"proxy":"http://u:p@p:1"}"#, None),
            (r#"{"v":1}"#, None),
            ("[]", None),
            ("", None),
        ] {
            file::write(&path, text.as_bytes(), 0o644).unwrap();
            assert_eq!(proxy_of_settings(&root).as_deref(), expected, "{text}");
        }
        file::remove(&path).unwrap();
        assert_eq!(proxy_of_settings(&root), None);
    }

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
