//! `edge-app.yaml`: repository, signing key, platform and devices of a project.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_app_spec::null_as_default;
use edge_common::exit::Failure;
use edge_common::file;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::exit_code::CONFIGURATION;

/// File name of the configuration.
pub(crate) const FILE_NAME: &str = "edge-app.yaml";
/// Size limit of configuration files: a larger one is not what it claims to be.
pub(crate) const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Content of `edge-app.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) registry: RepositoryName,
    /// PEM file of the registry's CA, if the system does not know it.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) credentials: Option<Login>,
    /// Key that signs images.
    pub(crate) signing_key: Option<SigningKey>,
    /// Platform of built images.
    #[serde(default)]
    pub(crate) platform: Platform,
    /// Devices by name; a name without settings is a host of that name.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) devices: BTreeMap<String, Option<Device>>,
    /// Names for several devices.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) groups: BTreeMap<String, Option<Vec<String>>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "registry must be HOST/NAME, or ssm: PARAMETER")]
pub(crate) enum RepositoryName {
    Text(String),
    Parameter(SsmParameter),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SsmParameter {
    pub(crate) ssm: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password_file: PathBuf,
}

/// Place of a signing key.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "signing_key must be FILE (PKCS#8 PEM), or kms: ALIAS"
)]
pub(crate) enum SigningKey {
    /// PKCS#8 PEM file.
    File(PathBuf),
    /// Key in AWS KMS, which never leaves it.
    Kms(KmsAlias),
}

/// Key in AWS KMS.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KmsAlias {
    /// Alias, with or without `alias/`.
    pub(crate) kms: String,
}

/// `linux/arm64` (the default, as on the Jetson) or `linux/amd64`.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Platform(pub String);

impl Default for Platform {
    fn default() -> Self {
        Self("linux/arm64".into())
    }
}

impl TryFrom<String> for Platform {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "linux/amd64" | "linux/arm64" => Ok(Self(text)),
            _ => Err(format!(
                "platform {text:?} is not linux/arm64 or linux/amd64"
            )),
        }
    }
}

/// Address of a device.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Device {
    /// Host or alias of the ssh configuration; the name of the device if absent.
    pub(crate) host: Option<String>,
    /// User; `edge` if absent.
    pub(crate) user: Option<String>,
    /// Configuration file that ssh reads instead of the user's.
    pub(crate) ssh_config: Option<PathBuf>,
}

/// Directory with an `edge-app.yaml`.
pub(crate) struct Project {
    /// Directory of the project.
    pub(crate) directory: PathBuf,
    /// Content of its `edge-app.yaml`.
    pub(crate) config: Config,
}

impl Project {
    /// Loads the project in `directory`, or else the nearest one from the current
    /// directory upwards, as git finds its repository.
    pub(crate) fn find(directory: Option<&Path>) -> Result<Self> {
        let current = std::env::current_dir().context("finding the current directory")?;
        let directory = match directory {
            Some(directory) => current.join(directory),
            None => current
                .ancestors()
                .find(|d| d.join(FILE_NAME).exists())
                .map(Path::to_path_buf)
                .ok_or_else(|| {
                    let why = format!(
                        "no {FILE_NAME} here or above: `edge-app init APP` writes one, or give --project DIR"
                    );
                    Failure::error(CONFIGURATION, why)
                })?,
        };
        Ok(Self {
            config: parse(&directory.join(FILE_NAME), FILE_NAME)?,
            directory,
        })
    }

    /// Resolves a path of the configuration against the project's directory: the same
    /// file must work from each directory below.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }
}

/// Parses a YAML file; errors begin with `name:LINE:COLUMN:`.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, name: &str) -> Result<T> {
    let text =
        file::read_text(path, MAX_FILE_BYTES).map_err(|e| Failure::wrap(CONFIGURATION, e))?;
    edge_app_spec::parse_yaml(&text, name).map_err(|why| Failure::error(CONFIGURATION, why))
}
