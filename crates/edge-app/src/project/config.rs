//! `edge-app.yaml`, the configuration of a project: repository, signing key, platform and
//! devices.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_app_spec::null_as_default;
use edge_common::exit::Failure;
use edge_common::file;
use edge_signature::set::Requires;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};

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
    /// Key that signs release sets. One key has one role.
    pub(crate) set_key: Option<SigningKey>,
    /// Key that signs images of the operating system.
    pub(crate) os_key: Option<SigningKey>,
    /// Platform for which `build` and `sandbox` build images.
    #[serde(default)]
    pub(crate) platform: Platform,
    /// Devices by name; a name without settings is used as the host.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) devices: BTreeMap<String, Option<Device>>,
    /// Groups of device names, selected with `--group`, with what `release` needs.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) groups: BTreeMap<String, Option<Group>>,
}

/// Group of devices: a list of names, or an object.
pub(crate) enum Group {
    /// Names of the devices.
    Devices(Vec<String>),
    /// Devices and the release set that they get.
    Release(GroupRelease),
}

impl<'de> Deserialize<'de> for Group {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GroupVisitor)
    }
}

/// Reader of a group. Not serde's untagged enum, which guesses the types of the values: a
/// version such as `2.10` would become a number.
struct GroupVisitor;

impl<'de> Visitor<'de> for GroupVisitor {
    type Value = Group;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of devices, or devices, apps and so on of a group")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Group, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(names)).map(Group::Devices)
    }

    fn visit_map<A: MapAccess<'de>>(self, group: A) -> Result<Group, A::Error> {
        Deserialize::deserialize(MapAccessDeserializer::new(group)).map(Group::Release)
    }
}

/// Devices of a group and the content of its release sets.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupRelease {
    /// Names of the devices.
    #[serde(default)]
    pub(crate) devices: Vec<String>,
    /// Patterns of thing names that the set is for. By default those of the devices.
    #[serde(default)]
    pub(crate) things: Vec<String>,
    /// Versions by app.
    #[serde(default)]
    pub(crate) apps: BTreeMap<String, String>,
    /// Apps that are switched first.
    #[serde(default)]
    pub(crate) order: Vec<String>,
    /// Time of the week at which apps may be switched: `[DAY] HH:MM LENGTH`.
    pub(crate) window: Option<String>,
    /// Seconds for which all apps have to be healthy before a set is committed.
    pub(crate) settle: Option<u32>,
    /// Seconds within which an app has to become healthy, by app.
    #[serde(default)]
    pub(crate) timeouts: BTreeMap<String, u32>,
    /// Conditions of the set.
    #[serde(default)]
    pub(crate) requires: Requires,
}

impl Group {
    /// Returns the names of the devices.
    pub(crate) fn devices(&self) -> &[String] {
        match self {
            Self::Devices(names) => names,
            Self::Release(group) => &group.devices,
        }
    }
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
    /// Thing name, for which release sets are.
    pub(crate) thing: Option<String>,
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

    /// Returns a group of `edge-app.yaml`; `None` for one without devices.
    ///
    /// # Errors
    /// There is no such group; the exit code is `code`, that of wrong usage where devices are
    /// selected, that of the configuration where it says what the group gets.
    pub(crate) fn group(&self, name: &str, code: u8) -> Result<Option<&Group>> {
        let groups = &self.config.groups;
        if let Some(group) = groups.get(name) {
            return Ok(group.as_ref());
        }
        let known: Vec<_> = groups.keys().map(String::as_str).collect();
        let known = match &known[..] {
            [] => format!("no groups: write groups: {{{name}: [DEVICE, …]}}"),
            known => format!("only {}", known.join(", ")),
        };
        let why = format!("{FILE_NAME} has no group {name:?}, it has {known}");
        Err(Failure::error(code, why))
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
