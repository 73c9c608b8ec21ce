//! Trust anchors: keys, repository, policy and table of grants, all in the read-only
//! root.
//!
//! No variable, option or file on `/data` moves them, because the caller is the
//! adversary and containers write to parts of `/data`
//! (`docs/decisions/0013-trust-anchors-in-the-read-only-root.md`).

use std::fs;

use anyhow::{Context, Result};
use edge_common::contract::limit::ANCHOR_BYTES;
use edge_common::contract::path::{CONTAINER_CONFIG, REPOSITORY};
use edge_common::policy::Policy;
use edge_common::{Root, file};
use edge_signature::{Keys, Repository};

use edge_docker_policy::grants::Table;
use edge_docker_policy::refusal::refuse;

/// The board's table of grants.
const GRANTS: &str = "/etc/edge-ai/devices.json";
/// Largest table of grants, in bytes.
const MAX_GRANTS_BYTES: u64 = 256 * 1024;

/// Trust anchors that every command needs.
pub(crate) struct Trust {
    /// Trusted keys, of which one must have signed. More than one while a key is being
    /// replaced.
    pub(crate) keys: Keys,
    /// The one trusted repository.
    pub(crate) repository: Repository,
    /// Permission for unsigned images named `sandbox/…`.
    pub(crate) sandbox: bool,
}

impl Trust {
    /// Refuses `request` where the policy of the image permits no sandbox apps.
    pub(crate) fn sandbox_allowed(&self, request: &str) -> Result<()> {
        if self.sandbox {
            return Ok(());
        }
        Err(refuse(format_args!(
            "{request} is refused: this image of the device runs signed containers only"
        )))
    }
}

/// Reads the trust anchors. An anchor that is absent or malformed is an error, and
/// nothing runs then: a default would be a way to widen the policy.
pub(crate) fn load(root: &Root) -> Result<Trust> {
    let repository = file::read_text(&root.path(REPOSITORY), ANCHOR_BYTES)?;
    let policy = Policy::load(root)?;
    Ok(Trust {
        keys: Keys::from_pems(&keys(root)?)
            .with_context(|| format!("reading keys of {CONTAINER_CONFIG}"))?,
        repository: repository
            .trim()
            .parse()
            .with_context(|| format!("parsing {REPOSITORY}"))?,
        sandbox: policy.sandbox,
    })
}

/// Reads every `container-signing*.pub`, sorted by name.
fn keys(root: &Root) -> Result<Vec<Vec<u8>>> {
    let directory = root.path(CONTAINER_CONFIG);
    let context = || format!("reading {CONTAINER_CONFIG}");
    let mut paths = Vec::new();
    for entry in fs::read_dir(&directory).with_context(context)? {
        let path = entry.with_context(context)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("container-signing") && name.ends_with(".pub") {
            paths.push(path);
        }
    }
    // The directory has no order; an error about a key must name the same one each time.
    paths.sort();
    paths.iter().map(|p| file::read(p, ANCHOR_BYTES)).collect()
}

/// Reads the meaning of each grant on this board.
pub(crate) fn grants(root: &Root) -> Result<Table> {
    let path = root.path(GRANTS);
    // Boards without special hardware have no table. Nothing is granted then, so that
    // an absent file does not widen the policy.
    if !path.exists() {
        return Ok(Table::default());
    }
    let text = file::read(&path, MAX_GRANTS_BYTES)?;
    Table::parse(&text).with_context(|| format!("parsing {GRANTS}"))
}
