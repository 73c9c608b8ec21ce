//! Endpoints of the cloud in the device image.

use std::io::ErrorKind;

use anyhow::{Context, Result, ensure};
use edge_common::contract::limit::ANCHOR_BYTES;
use edge_common::contract::path::FLEET;
use edge_common::identity::valid_endpoint;
use edge_common::{Root, file};
use serde::Deserialize;

/// Contents of `/etc/edge-ai/fleet.json`. Unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudConfig {
    /// `HOST` or `HOST:PORT` of the credentials provider of AWS IoT.
    pub credentials_endpoint: String,
    /// `HOST` or `HOST:PORT` of the API of ECR.
    pub ecr_endpoint: String,
    /// Region of the registry.
    pub region: String,
    /// Alias of the role that may pull.
    pub role_alias: String,
}

impl CloudConfig {
    /// Reads the file; returns `None` for an image that was built without a cloud.
    ///
    /// # Errors
    /// The file cannot be read, or a value is invalid.
    pub fn load(root: &Root) -> Result<Option<Self>> {
        let path = root.path(FLEET);
        match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            _ => {}
        }
        let text = file::read(&path, ANCHOR_BYTES)?;
        Self::parse(&text)
            .with_context(|| format!("parsing {FLEET}"))
            .map(Some)
    }

    fn parse(text: &[u8]) -> Result<Self> {
        let config: Self = serde_json::from_slice(text)?;
        for (name, endpoint) in [
            ("credentials_endpoint", &config.credentials_endpoint),
            ("ecr_endpoint", &config.ecr_endpoint),
        ] {
            let (host, port) = endpoint.split_once(':').unwrap_or((endpoint, "443"));
            let digits = port.bytes().all(|b| b.is_ascii_digit());
            let is_port = digits && port.parse::<u16>().is_ok_and(|port| port > 0);
            ensure!(
                valid_endpoint(host) && is_port,
                "{name} is not HOST or HOST:PORT"
            );
        }
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let region = &config.region;
        ensure!(
            (1..=32).contains(&region.len()) && region.bytes().all(plain),
            "region is not [a-z0-9-]{{1,32}}"
        );
        let word = |b: u8| b.is_ascii_alphanumeric() || b"_=,@-".contains(&b);
        let alias = &config.role_alias;
        ensure!(
            (1..=128).contains(&alias.len()) && alias.bytes().all(word),
            "role_alias is not [A-Za-z0-9_=,@-]{{1,128}}"
        );
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn values_are_those_that_the_build_accepts() {
        let valid = json!({ "credentials_endpoint": "c.example", "region": "eu-central-1",
            "ecr_endpoint": "api.ecr.eu-central-1.amazonaws.com", "role_alias": "edge-ai-pull" });
        let parse = |value: &Value| CloudConfig::parse(value.to_string().as_bytes());
        assert!(parse(&valid).is_ok());
        let mut other = valid.clone();
        other["ecr_endpoint"] = json!("localhost:8443");
        assert!(parse(&other).is_ok());
        for (name, value) in [
            ("credentials_endpoint", json!("https://c.example")),
            ("credentials_endpoint", json!("")),
            ("credentials_endpoint", json!(7)),
            ("ecr_endpoint", json!("h:0")),
            ("ecr_endpoint", json!("h:+1")),
            ("ecr_endpoint", json!("h:1:2")),
            ("ecr_endpoint", json!("h/x")),
            ("ecr_endpoint", json!("h\r\nx")),
            ("region", json!("EU")),
            ("region", json!("")),
            ("role_alias", json!("a/b")),
            ("role_alias", json!("a".repeat(129))),
            ("role_alias", Value::Null),
            ("later", json!(1)),
        ] {
            let mut changed = valid.clone();
            changed[name] = value;
            assert!(parse(&changed).is_err(), "{changed}");
        }
        let mut less = valid;
        less.as_object_mut().unwrap().remove("region");
        assert!(parse(&less).is_err());
        assert!(CloudConfig::parse(b"").is_err());
    }

    #[test]
    fn an_image_without_a_cloud_has_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        assert_eq!(CloudConfig::load(&root).unwrap(), None);
        let path = root.path(FLEET);
        file::create_directory(path.parent().unwrap(), 0o755).unwrap();
        file::write(&path, b"{", 0o644).unwrap();
        let error = format!("{:#}", CloudConfig::load(&root).unwrap_err());
        assert!(error.contains(FLEET), "{error}");
        file::remove(&path).unwrap();
        std::os::unix::fs::symlink("/nowhere", &path).unwrap();
        assert!(CloudConfig::load(&root).is_err());
    }
}
