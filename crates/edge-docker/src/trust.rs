//! The trust anchors: all of them in the read-only image.

use std::fs;

use anyhow::{Context, Result};
use edge_common::{Root, file};
use edge_signature::{Keys, Repository};
use serde::Deserialize;

use edge_docker_policy::grants::Table;
use edge_docker_policy::refusal::refuse;

/// Where they lie.
const DIRECTORY: &str = "/etc/edge-ai/container-config";
/// Largest of them, in bytes.
const LARGEST: u64 = 64 * 1024;

/// Board's table of grants.
const GRANTS: &str = "/etc/edge-ai/devices.json";
/// Largest table of grants, in bytes.
const MAX_GRANTS_BYTES: u64 = 256 * 1024;

/// Keys, repository and policy.
pub struct Trust {
    /// Keys of which one must have signed.
    pub keys: Keys,
    /// The one repository.
    pub repository: Repository,
    /// May unsigned images called `sandbox/…` run?
    pub sandbox: bool,
}

impl Trust {
    /// Fails where the image of the device allows no sandboxes.
    ///
    /// # Errors
    /// Refused, naming `what`.
    pub fn sandbox_allowed(&self, what: &str) -> Result<()> {
        if self.sandbox {
            return Ok(());
        }
        Err(refuse(format_args!(
            "{what} is refused: this image of the device runs signed containers only"
        )))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    #[serde(default)]
    sandbox: bool,
    /// Where SSH is let in: edge-vpn's to judge.
    #[serde(default, rename = "ssh")]
    _ssh: Option<serde::de::IgnoredAny>,
}

/// Reads the anchors.
///
/// # Errors
/// One that is absent or malformed: nothing runs then.
pub fn load(root: &Root) -> Result<Trust> {
    let text = file::read_text(&root.path(DIRECTORY).join("ecr-url.txt"), LARGEST)?;
    let policy = file::read(&root.path(DIRECTORY).join("policy.json"), LARGEST)?;
    let policy: Policy = serde_json::from_slice(&policy)
        .with_context(|| format!("parsing {DIRECTORY}/policy.json"))?;
    Ok(Trust {
        keys: Keys::from_pems(&keys(root)?)
            .with_context(|| format!("reading keys of {DIRECTORY}"))?,
        repository: text
            .trim()
            .parse()
            .with_context(|| format!("parsing {DIRECTORY}/ecr-url.txt"))?,
        sandbox: policy.sandbox,
    })
}

/// Every `container-signing*.pub`.
fn keys(root: &Root) -> Result<Vec<Vec<u8>>> {
    let directory = root.path(DIRECTORY);
    let mut paths = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("reading {DIRECTORY}"))? {
        let path = entry
            .with_context(|| format!("reading {DIRECTORY}"))?
            .path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("container-signing") && name.ends_with(".pub") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.iter().map(|p| file::read(p, LARGEST)).collect()
}

/// Reads what each grant means on this board; without a table nothing is granted.
pub fn grants(root: &Root) -> Result<Table> {
    let path = root.path(GRANTS);
    if !path.exists() {
        return Ok(Table::default());
    }
    let text = file::read(&path, MAX_GRANTS_BYTES)?;
    Table::parse(&text).with_context(|| format!("parsing {GRANTS}"))
}
