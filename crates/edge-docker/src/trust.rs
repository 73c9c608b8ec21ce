//! Trust anchors: signing keys, trusted repository, policy and table of grants, all in
//! the read-only root file system.
//!
//! No environment variable, option or file on `/data` can replace them, because the
//! caller is the adversary and containers write to parts of `/data`
//! (`docs/decisions/0013-trust-anchors-in-the-read-only-root.md`).

use std::fs;

use anyhow::{Context, Result};
use edge_common::contract::limit::ANCHOR_BYTES;
use edge_common::contract::path::{CONTAINER_CONFIG, REPOSITORY};
use edge_common::level::RunMode;
use edge_common::policy::{LayerCheck, Policy, Storage};
use edge_common::{Root, file};
use edge_signature::set::SetKeys;
use edge_signature::{Keys, Repository};

use edge_docker_policy::grants::Table;
use edge_docker_policy::refusal::refuse;

/// Path of the board's table of grants: what each grant permits on this board.
const GRANTS: &str = "/etc/edge-ai/devices.json";
/// Prefix of the files with the public keys that sign container images.
const CONTAINER_KEYS: &str = "container-signing";
/// Beginning of the names of the keys of break-glass tickets, `engineer-signing*.pub`.
/// Without one, tickets are off.
const ENGINEER_KEYS: &str = "engineer-signing";
/// Beginning of the names of the keys of release sets, `set-signing*.pub`. Without one,
/// release sets are off.
const SET_KEYS: &str = "set-signing";
/// Size limit of the table of grants, in bytes.
const MAX_GRANTS_BYTES: u64 = 256 * 1024;

/// Trust anchors by which images are verified: keys, repository and sandbox policy.
pub(crate) struct Trust {
    /// Public keys of which one must have signed an image. There are several only while a
    /// key is being replaced.
    pub(crate) keys: Keys,
    /// Repository from `ecr-url.txt`, the only one whose signed images may run.
    pub(crate) repository: Repository,
    /// Permission for unsigned images named `sandbox/…`, from `policy.json`.
    pub(crate) sandbox: bool,
    /// Origin of the settings of containers, from `policy.json`.
    pub(crate) run: RunMode,
    /// Time of the check of image layers, from `policy.json`.
    pub(crate) layers: LayerCheck,
    /// Limit of the data of apps that name none, from `policy.json`.
    pub(crate) storage: Storage,
}

impl Trust {
    /// Refuses unless the policy of the device permits sandbox apps. `request` is the
    /// refused command or image in the message.
    pub(crate) fn sandbox_allowed(&self, request: &str) -> Result<()> {
        if self.sandbox {
            return Ok(());
        }
        Err(refuse(format_args!(
            "{request} is refused: this image of the device runs signed containers only"
        )))
    }
}

/// Reads the trust anchors. An absent or malformed anchor is an error and prevents every
/// command that needs it: a default value would widen the policy.
pub(crate) fn load(root: &Root) -> Result<Trust> {
    let repository = file::read_text(&root.path(REPOSITORY), ANCHOR_BYTES)?;
    let policy = Policy::load(root)?;
    Ok(Trust {
        keys: Keys::from_files(&keys(root, CONTAINER_KEYS)?)
            .with_context(|| format!("reading keys of {CONTAINER_CONFIG}"))?
            .knowing(&keys(root, ENGINEER_KEYS).unwrap_or_default())
            .knowing(&keys(root, SET_KEYS).unwrap_or_default()),
        repository: repository
            .trim()
            .parse()
            .with_context(|| format!("parsing {REPOSITORY}"))?,
        sandbox: policy.sandbox,
        run: policy.run,
        layers: policy.layers,
        storage: policy.storage,
    })
}

/// Reads the public keys that sign break-glass tickets; `None` if the image has none,
/// which switches tickets off.
pub(crate) fn engineer_keys(root: &Root) -> Result<Option<Keys>> {
    optional_keys(root, ENGINEER_KEYS, [CONTAINER_KEYS, SET_KEYS])
}

/// Reads the public keys that sign release sets and the number of those that must have
/// signed; `None` if the image has none, which switches release sets off.
pub(crate) fn set_keys(root: &Root) -> Result<Option<SetKeys>> {
    let threshold = Policy::load(root)?.sets.threshold;
    let keys = optional_keys(root, SET_KEYS, [CONTAINER_KEYS, ENGINEER_KEYS])?;
    Ok(keys.map(|keys| SetKeys { keys, threshold }))
}

/// Reads the keys of a role that the image need not have. Errors name those of the `other`
/// roles, too.
fn optional_keys(root: &Root, prefix: &str, other: [&str; 2]) -> Result<Option<Keys>> {
    let files = keys(root, prefix)?;
    if files.is_empty() {
        return Ok(None);
    }
    let context = || format!("reading {prefix}*.pub of {CONTAINER_CONFIG}");
    let mut trusted = Keys::from_files(&files).with_context(context)?;
    for prefix in other {
        trusted = trusted.knowing(&keys(root, prefix).unwrap_or_default());
    }
    Ok(Some(trusted))
}

/// Returns name and content of every file `PREFIX*.pub`, sorted by name.
fn keys(root: &Root, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let directory = root.path(CONTAINER_CONFIG);
    let context = || format!("reading {CONTAINER_CONFIG}");
    let mut found = Vec::new();
    for entry in fs::read_dir(&directory).with_context(context)? {
        let path = entry.with_context(context)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(prefix) && name.ends_with(".pub") {
            found.push((name.into_owned(), file::read(&path, ANCHOR_BYTES)?));
        }
    }
    // A directory has no defined order, but an error about a key must name the same file
    // each time.
    found.sort();
    Ok(found)
}

/// Reads the board's table of grants, or returns an empty table if the board has none.
pub(crate) fn grants(root: &Root) -> Result<Table> {
    let path = root.path(GRANTS);
    // Boards without special hardware have no table. Without a table nothing is granted,
    // so that a missing file cannot widen the policy.
    if !path.exists() {
        return Ok(Table::default());
    }
    let text = file::read(&path, MAX_GRANTS_BYTES)?;
    Table::parse(&text).with_context(|| format!("parsing {GRANTS}"))
}
