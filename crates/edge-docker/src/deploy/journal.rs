//! Journal of a deployment: each step is written before it is taken, so that a power
//! loss in the middle does not leave the app down. One file per name, root's own.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result};
use edge_common::contract::exit_code::REFUSED;
use edge_common::exit::Failure;
use edge_common::{Root, file, lock};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Directory of the journals, root's alone.
// The old word for deployments stays on devices, as in the names of the phases:
// docs/decisions/0021-names-on-devices-stay.md.
const DIRECTORY: &str = "/data/config/edge-docker/switches";
/// Largest journal, in bytes.
const MAX_JOURNAL_BYTES: u64 = 64 * 1024;

/// Phase of a deployment; the names on disk are those of `edge_common::contract::phase`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The new container is tried; after a power loss the old one comes back.
    #[serde(rename = "trial")]
    Trial,
    /// The new container works; after a power loss the rest is tidied up.
    #[serde(rename = "keep")]
    Keep,
    /// Ended: the new container runs.
    #[serde(rename = "switched")]
    Deployed,
    /// Ended: the new container failed, the old one is back.
    #[serde(rename = "back")]
    RolledBack,
    /// Ended: the new container failed, and there was none before.
    #[serde(rename = "down")]
    Down,
}

/// Deployment of one name. Its JSON is what `replace --status` prints.
#[derive(Serialize, Deserialize)]
pub(super) struct Journal {
    /// Name of the container.
    pub(super) name: String,
    /// Phase.
    pub(super) phase: Phase,
    /// Image reference of the new container, as typed.
    pub(super) image: String,
    /// New container.
    pub(super) new: Kept,
    /// The deployment created the new container; otherwise it is the previous one.
    pub(super) fresh: bool,
    /// Container before it, which is kept, stopped, after a success.
    pub(super) old: Option<Kept>,
    /// ID of the container before that, which is removed after a success.
    pub(super) older: Option<String>,
    /// Reason why the new container counts as working, or as failed.
    #[serde(default)]
    pub(super) reason: String,
    /// Last lines of a new container that failed.
    #[serde(default)]
    pub(super) log: String,
}

/// Container that a deployment changes, as it was before.
#[derive(Serialize, Deserialize, Clone)]
pub(super) struct Kept {
    /// ID of the container.
    pub(super) id: String,
    /// The container ran.
    pub(super) running: bool,
    /// Restart policy.
    pub(super) restart: Value,
}

impl Journal {
    /// Writes the journal, whole and durable.
    pub(super) fn write(&self, root: &Root) -> Result<()> {
        let text = serde_json::to_vec(self).context("writing the deployment journal")?;
        file::create_directory(&root.path(DIRECTORY), 0o700)?;
        file::write(&path(root, &self.name, "json"), &text, 0o600)
    }

    /// Tells whether something is left to do.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Trial | Phase::Keep)
    }
}

fn path(root: &Root, name: &str, extension: &str) -> PathBuf {
    root.path(DIRECTORY).join(format!("{name}.{extension}"))
}

/// Reads the journal of the last deployment of `name`, if there was one.
pub(super) fn read(root: &Root, name: &str) -> Result<Option<Journal>> {
    let path = path(root, name, "json");
    if !path.exists() {
        return Ok(None);
    }
    let text = file::read(&path, MAX_JOURNAL_BYTES)?;
    let journal = serde_json::from_slice(&text);
    journal
        .map(Some)
        .with_context(|| format!("parsing {}", path.display()))
}

/// Returns the names that were ever deployed, in order.
pub(super) fn names(root: &Root) -> Result<Vec<String>> {
    let directory = root.path(DIRECTORY);
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("reading {DIRECTORY}"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".json").map(String::from));
    }
    // Temporary files of a write that a power loss interrupted.
    names.retain(|n| !n.starts_with('.'));
    names.sort();
    Ok(names)
}

/// Locks a name for one deployment at a time; the lock ends with its holder.
pub(super) fn lock(root: &Root, name: &str) -> Result<File> {
    file::create_directory(&root.path(DIRECTORY), 0o700)?;
    // A file of its own: the journal is replaced by rename, and a lock would stay on the
    // file that it was.
    let path = path(root, name, "lock");
    file::put(&path, b"", 0o600)?;
    lock::try_exclusive(&path)?.ok_or_else(|| {
        let busy = format_args!("another deployment of {name} is under way");
        Failure::error(REFUSED, busy)
    })
}

#[cfg(test)]
mod tests {
    use edge_common::contract::phase;

    use super::*;

    #[test]
    fn phases_have_the_names_of_the_contract() {
        for (phase, name) in [
            (Phase::Trial, phase::TRIAL),
            (Phase::Keep, phase::KEEP),
            (Phase::Deployed, phase::SWITCHED),
            (Phase::RolledBack, phase::BACK),
            (Phase::Down, phase::DOWN),
        ] {
            assert_eq!(serde_json::to_value(phase).unwrap(), name);
        }
    }
}
