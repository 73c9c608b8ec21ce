//! `edge-app.yaml`, the configuration of a project: repository, signing key, platform and
//! devices.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_app_spec::null_as_default;
use edge_common::exit::Failure;
use edge_common::file;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::exit_code::CONFIGURATION;

/// File name of a project's configuration; a directory with this file is a project.
pub(crate) const FILE_NAME: &str = "edge-app.yaml";
/// Size limit of configuration files in bytes, so that a wrong path cannot fill the
/// memory.
pub(crate) const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Content of `edge-app.yaml`; unknown keys are errors.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) registry: RepositoryName,
    /// PEM file with the CA certificate of the registry, if the system does not trust it.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) credentials: Option<Login>,
    /// Signing key, with which `push` signs and `verify` verifies images.
    pub(crate) signing_key: Option<SigningKey>,
    /// Key that signs break-glass tickets. One key has one role.
    pub(crate) engineer_key: Option<SigningKey>,
    /// Platform for which `build` and `sandbox` build images.
    #[serde(default)]
    pub(crate) platform: Platform,
    /// Devices by name; a name without settings is used as the host.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) devices: BTreeMap<String, Option<Device>>,
    /// Groups of device names, selected with `--group`.
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

/// Location of the signing key: a file or AWS KMS.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "signing_key must be FILE (PKCS#8 PEM), or kms: ALIAS"
)]
pub(crate) enum SigningKey {
    /// Path of a PKCS#8 PEM file, relative to the project's directory.
    File(PathBuf),
    /// Key in AWS KMS; the private key never leaves KMS.
    Kms(KmsAlias),
}

/// Reference to a signing key in AWS KMS, written as `kms: ALIAS`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KmsAlias {
    /// Alias with or without the prefix `alias/`, or an ARN.
    pub(crate) kms: String,
}

/// Platform of built images: `linux/arm64` (the default, for the Jetson) or
/// `linux/amd64`.
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

/// ssh settings of a device, each of which may be absent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Device {
    /// Host name, address or alias of the ssh configuration; by default the device's
    /// name.
    pub(crate) host: Option<String>,
    /// User name for ssh; by default `edge`.
    pub(crate) user: Option<String>,
    /// ssh configuration file (`ssh -F`) that replaces the user's.
    pub(crate) ssh_config: Option<PathBuf>,
}

/// Project: a directory with an `edge-app.yaml` and a subdirectory for each app.
pub(crate) struct Project {
    /// Absolute path of the project's directory, to which the paths in `edge-app.yaml`
    /// are relative.
    pub(crate) directory: PathBuf,
    /// Parsed content of the project's `edge-app.yaml`.
    pub(crate) config: Config,
}

impl Project {
    /// Loads the project in `directory`. Without it, the project is the nearest directory
    /// with an `edge-app.yaml`, from the current directory upwards, as git finds its
    /// repository.
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

    /// Resolves a path of `edge-app.yaml` relative to the project's directory, so that it
    /// is valid from each current directory.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }
}

/// Reads and parses a YAML file; messages about its content begin with
/// `name:LINE:COLUMN:`.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, name: &str) -> Result<T> {
    let text =
        file::read_text(path, MAX_FILE_BYTES).map_err(|e| Failure::wrap(CONFIGURATION, e))?;
    edge_app_spec::parse_yaml(&text, name).map_err(|why| Failure::error(CONFIGURATION, why))
}
