//! `edge-app.yaml`: where the project's images go, who signs, which devices.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_app_spec::null_as_default;
use edge_common::exit::Failure;
use edge_common::file;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::exit_code::CONFIGURATION;

/// Name of the project's file.
pub(crate) const NAME: &str = "edge-app.yaml";
/// Largest file that is read, in bytes.
pub(crate) const MAX_FILE_BYTES: u64 = 256 * 1024;

/// What `edge-app.yaml` says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) registry: Place,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) credentials: Option<Login>,
    /// Who signs.
    pub(crate) signing_key: Option<Key>,
    /// What images are built for.
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
pub(crate) enum Place {
    Here(String),
    Parameter(Ssm),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ssm {
    pub(crate) ssm: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password_file: PathBuf,
}

/// A key that signs.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "signing_key must be FILE (PKCS#8 PEM), or kms: ALIAS"
)]
pub(crate) enum Key {
    /// A PKCS#8 PEM file.
    File(PathBuf),
    /// A key of AWS KMS.
    Kms(Kms),
}

/// A key of AWS KMS.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kms {
    /// Its alias, with or without `alias/`.
    pub(crate) kms: String,
}

/// `linux/amd64` or `linux/arm64`.
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

/// How a device is reached.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Device {
    /// Host, or an alias of the ssh configuration; its name if absent.
    pub(crate) host: Option<String>,
    /// User; `edge` if absent.
    pub(crate) user: Option<String>,
    /// Another ssh configuration than the user's.
    pub(crate) ssh_config: Option<PathBuf>,
}

/// A directory with an `edge-app.yaml`.
pub(crate) struct Project {
    /// The directory.
    pub(crate) directory: PathBuf,
    /// What the file says.
    pub(crate) config: Config,
}

impl Project {
    /// The project in `directory`, or the next one from here upwards.
    ///
    /// # Errors
    /// None, or a malformed file, with line and column.
    pub(crate) fn find(directory: Option<&Path>) -> Result<Self> {
        let here = std::env::current_dir().context("finding the current directory")?;
        let directory = match directory {
            Some(directory) => here.join(directory),
            None => here
                .ancestors()
                .find(|f| f.join(NAME).exists())
                .map(Path::to_path_buf)
                .ok_or_else(|| {
                    let why = format!(
                        "no {NAME} here or above: `edge-app init APP` writes one, or give --project DIR"
                    );
                    Failure::error(CONFIGURATION, why)
                })?,
        };
        Ok(Self {
            config: parse(&directory.join(NAME), NAME)?,
            directory,
        })
    }

    /// A path of the configuration, seen from the project's directory.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }
}

/// Reads a YAML file; errors begin with `shown:LINE:COLUMN:`.
///
/// # Errors
/// Absent, oversized, not UTF-8, malformed: all with [`CONFIGURATION`].
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, shown: &str) -> Result<T> {
    let text =
        file::read_text(path, MAX_FILE_BYTES).map_err(|e| Failure::wrap(CONFIGURATION, e))?;
    edge_app_spec::parse_yaml(&text, shown).map_err(|why| Failure::error(CONFIGURATION, why))
}
