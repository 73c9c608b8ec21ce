//! Containers that differed from their signed specification and are recreated from it,
//! once the engine is up.
//!
//! The boot audit decides and leaves a record in `/run`, where only root can write and
//! which a power loss empties; the next audit then decides again.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use edge_common::{Root, file};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::disk;
use crate::mounts::collect::REMAKE;

/// Size limit of a record, in bytes.
const MAX_RECORD_BYTES: u64 = 4 * 1024 * 1024;

/// Container that is recreated.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Remake {
    /// ID of the container that differed. Its directory is withheld.
    pub(crate) id: String,
    /// Name of the app, for the ledger.
    pub(crate) app: String,
    /// Name of the new container.
    pub(crate) name: String,
    /// Create body from the signed specification. Its mount clones exist.
    pub(crate) body: Value,
    /// Key of the mount clones; empty if there are none.
    pub(crate) key: String,
    /// Image reference, for the ledger.
    pub(crate) reference: String,
    /// Whether the container starts: a stopped one stays stopped.
    pub(crate) is_started: bool,
    /// Whether a deployment held the restart policy back, which is then `no`.
    pub(crate) is_held_back: bool,
    /// Volumes that the image declares: name of the unnamed volume by its path in the
    /// container.
    pub(crate) volumes: BTreeMap<String, String>,
}

/// Removes the records of an earlier audit.
pub(super) fn clear(root: &Root) -> Result<()> {
    match fs::remove_dir_all(root.path(REMAKE)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {REMAKE}"))
        }
        _ => Ok(()),
    }
}

/// Leaves the record for the time when the engine is up.
pub(super) fn write(root: &Root, remake: &Remake) -> Result<()> {
    file::create_directory(&root.path(REMAKE), 0o700)?;
    let text = serde_json::to_vec(remake).context("writing a container to be recreated")?;
    file::put(&path(root, &remake.id), &text, 0o600)
}

/// Returns the containers that are to be recreated.
pub(crate) fn pending(root: &Root) -> Result<Vec<Remake>> {
    let mut all = Vec::new();
    for path in disk::entries(&root.path(REMAKE))? {
        let text = file::read(&path, MAX_RECORD_BYTES)?;
        let remake = serde_json::from_slice(&text);
        all.push(remake.with_context(|| format!("reading {}", path.display()))?);
    }
    Ok(all)
}

/// Removes the record of a container that was recreated.
pub(crate) fn done(root: &Root, remake: &Remake) -> Result<()> {
    file::remove(&path(root, &remake.id)).map(drop)
}

fn path(root: &Root, id: &str) -> PathBuf {
    root.path(REMAKE).join(format!("{id}.json"))
}
