//! `edge-app.yaml`: where the project's images go, who signs, which devices.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_app_spec::text::from_text;
use edge_common::exit::Failure;
use edge_common::file;
use edge_signature::{Credentials, Digest, ImageRef, Registry, Repository};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{CONFIGURATION, REGISTRY, aws};

/// Name of the project's file.
pub const NAME: &str = "edge-app.yaml";
/// Largest file that is read, in bytes.
const LARGEST: u64 = 256 * 1024;

from_text!(Platform);

/// What `edge-app.yaml` says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    registry: Place,
    ca: Option<PathBuf>,
    credentials: Option<Login>,
    /// Who signs.
    pub signing_key: Option<Key>,
    /// What images are built for.
    #[serde(default)]
    pub platform: Platform,
    /// Devices by name.
    #[serde(default)]
    pub devices: BTreeMap<String, Device>,
    /// Names for several devices.
    #[serde(default)]
    pub groups: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "registry must be HOST/NAME, or ssm: PARAMETER")]
enum Place {
    Here(String),
    Parameter(Ssm),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ssm {
    ssm: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    username: String,
    password_file: PathBuf,
}

/// A key that signs.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "signing_key must be FILE (PKCS#8 PEM), or kms: ALIAS"
)]
pub enum Key {
    /// A PKCS#8 PEM file.
    File(PathBuf),
    /// A key of AWS KMS.
    Kms(Kms),
}

/// A key of AWS KMS.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kms {
    /// Its alias, with or without `alias/`.
    pub kms: String,
}

/// `linux/amd64` or `linux/arm64`.
pub struct Platform(pub String);

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
            _ => Err("must be linux/arm64 or linux/amd64".into()),
        }
    }
}

/// How a device is reached.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Host, or an alias of the ssh configuration; its name if absent.
    pub host: Option<String>,
    /// User; `edge` if absent.
    pub user: Option<String>,
    /// Another ssh configuration than the user's.
    pub ssh_config: Option<PathBuf>,
}

/// A directory with an `edge-app.yaml`.
pub struct Project {
    /// The directory.
    pub directory: PathBuf,
    /// What the file says.
    pub config: Config,
}

impl Project {
    /// The project in `directory`, or the next one from here upwards.
    ///
    /// # Errors
    /// None, or a malformed file, with line and column.
    pub fn find(directory: Option<&Path>) -> Result<Self> {
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

    /// The team's repository.
    ///
    /// # Errors
    /// SSM, or a value that is no repository.
    pub async fn repository(&self) -> Result<Repository> {
        let text = match &self.config.registry {
            Place::Here(text) => text.clone(),
            Place::Parameter(Ssm { ssm }) => aws::parameter(ssm).await?,
        };
        text.trim()
            .parse()
            .map_err(|e| Failure::error(CONFIGURATION, format_args!("{NAME}: registry: {e}")))
    }

    /// Name of a version of an app in the registry.
    ///
    /// # Errors
    /// As [`Project::repository`].
    pub async fn image(&self, app: &str, version: &str) -> Result<ImageRef> {
        Ok(ImageRef {
            repository: self.repository().await?,
            tag: Some(format!("{app}-{version}")),
            digest: None::<Digest>,
        })
    }

    /// User and password of `repository`: a file that the project names, ECR's
    /// token, or what docker's own login kept.
    ///
    /// # Errors
    /// A password file that cannot be read; AWS.
    pub async fn credentials(&self, repository: &Repository) -> Result<Option<Credentials>> {
        if let Some(login) = &self.config.credentials {
            let password = file::read_text(&self.path(&login.password_file), 64 * 1024)
                .map_err(|e| Failure::wrap(CONFIGURATION, e))?;
            return Ok(Some(Credentials {
                username: login.username.clone(),
                password: password.trim_end().into(),
            }));
        }
        if aws::is_ecr(repository.host()) {
            return aws::ecr_token().await.map(Some);
        }
        Ok(docker_login(repository.host()))
    }

    /// The team's repository in its registry, with credentials.
    ///
    /// # Errors
    /// As [`Project::credentials`]; a `ca` that cannot be read.
    pub async fn registry(&self) -> Result<Registry> {
        let repository = self.repository().await?;
        let credentials = self.credentials(&repository).await?;
        self.open(&repository, credentials)
    }

    /// Somebody else's repository: what the project keeps for its own registry
    /// goes to no other host.
    ///
    /// # Errors
    /// AWS; a `ca` that cannot be read.
    pub async fn foreign(&self, repository: &Repository) -> Result<Registry> {
        let host = repository.host();
        let credentials = if host == self.repository().await?.host() {
            self.credentials(repository).await?
        } else if aws::is_ecr(host) {
            Some(aws::ecr_token().await?)
        } else {
            docker_login(host)
        };
        self.open(repository, credentials)
    }

    fn open(&self, repository: &Repository, credentials: Option<Credentials>) -> Result<Registry> {
        let ca_bundle = match &self.config.ca {
            Some(path) => vec![
                file::read(&self.path(path), LARGEST)
                    .map_err(|e| Failure::wrap(CONFIGURATION, e))?,
            ],
            None => Vec::new(),
        };
        Registry::new(repository, credentials, &ca_bundle).map_err(registry_error)
    }

    /// A path of the configuration, seen from the project's directory.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }
}

/// What docker's own client keeps in plain; credential helpers are not asked.
fn docker_login(host: &str) -> Option<Credentials> {
    use base64::Engine as _;
    let directory = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let directory =
        directory.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")))?;
    let text = file::read(&directory.join("config.json"), LARGEST).ok()?;
    let value: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let auth = value["auths"][host]["auth"].as_str()?;
    let pair = base64::prelude::BASE64_STANDARD.decode(auth).ok()?;
    let (username, password) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
    Some(Credentials {
        username: username.into(),
        password: password.into(),
    })
}

/// Gives a registry's error its exit code.
pub fn registry_error(error: edge_signature::Error) -> anyhow::Error {
    use edge_signature::Error as E;
    let code = match error {
        E::Unsigned(_) | E::Untrusted(_) => crate::SIGNATURE,
        _ => REGISTRY,
    };
    match error {
        E::Unauthorized(_) => Failure::error(
            code,
            format_args!("{error}: check credentials in {NAME}, or docker login"),
        ),
        _ => Failure::error(code, error),
    }
}

/// Reads a YAML file; errors begin with `shown:LINE:COLUMN:`.
///
/// # Errors
/// Absent, oversized, not UTF-8, malformed: all with [`CONFIGURATION`].
pub fn parse<T: DeserializeOwned>(path: &Path, shown: &str) -> Result<T> {
    let text = file::read_text(path, LARGEST).map_err(|e| Failure::wrap(CONFIGURATION, e))?;
    edge_app_spec::yaml(&text, shown).map_err(|why| Failure::error(CONFIGURATION, why))
}
