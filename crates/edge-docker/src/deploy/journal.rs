//! Journal of a deployment: a JSON file per container name, from which an interrupted
//! deployment is finished, so that a power loss does not leave the app down. The file is
//! written before the first change and at each change of phase.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result};
use edge_common::contract::exit_code::REFUSED;
use edge_common::exit::Failure;
use edge_common::{Root, file, lock};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Directory of the journals and their locks, accessible to root only.
// `switches` is an old word for deployments. Names on devices do not change, see
// docs/decisions/0021-names-on-devices-stay.md.
const DIRECTORY: &str = "/data/config/edge-docker/switches";
/// Size limit of a journal file, in bytes.
const MAX_JOURNAL_BYTES: u64 = 64 * 1024;

/// Phase of a deployment. The names in the JSON are those of
/// `edge_common::contract::phase`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The new container is on trial. After an interruption the old one is restored.
    #[serde(rename = "trial")]
    Trial,
    /// The new container works. After an interruption the remaining steps are done.
    #[serde(rename = "keep")]
    Keep,
    /// Final: the new container has replaced the old one.
    #[serde(rename = "switched")]
    Deployed,
    /// Final: the new container failed, and the old one was restored.
    #[serde(rename = "back")]
    RolledBack,
    /// Final: the new container failed, and there was no old one to restore.
    #[serde(rename = "down")]
    Down,
}

/// Last deployment of one container name, in the JSON form that `replace --status`
/// prints.
#[derive(Serialize, Deserialize)]
pub(super) struct Journal {
    /// Container name, which the new container gets from the old one.
    pub(super) name: String,
    /// Last phase reached, which decides how an interrupted deployment is finished.
    pub(super) phase: Phase,
    /// Image reference of the new container, as typed.
    pub(super) image: String,
    /// New container; in a rollback, the previous container that returns.
    pub(super) new: Kept,
    /// Whether the deployment created the new container, and so removes it if it fails.
    /// False for the command `rollback`.
    pub(super) fresh: bool,
    /// Container that had the name before. After a success it is stopped and kept as
    /// `NAME-previous`.
    pub(super) old: Option<Kept>,
    /// ID of the container that was `NAME-previous` before, which a success removes.
    pub(super) older: Option<String>,
    /// Reason why the new container counts as working, or why it failed.
    #[serde(default)]
    pub(super) reason: String,
    /// Last log lines of a new container that failed; otherwise empty.
    #[serde(default)]
    pub(super) log: String,
}

/// Container that takes part in a deployment, with the state to restore.
#[derive(Serialize, Deserialize, Clone)]
pub(super) struct Kept {
    /// Container ID, which a change of names does not affect.
    pub(super) id: String,
    /// Whether the container ran before the deployment.
    pub(super) running: bool,
    /// Restart policy in the form of the engine's API, set again after the trial.
    pub(super) restart: Value,
}

impl Journal {
    /// Writes the journal to `NAME.json`, atomically and synced to the disk.
    pub(super) fn write(&self, root: &Root) -> Result<()> {
        let text = serde_json::to_vec(self).context("writing the deployment journal")?;
        file::create_directory(&root.path(DIRECTORY), 0o700)?;
        file::write(&path(root, &self.name, "json"), &text, 0o600)
    }

    /// Returns whether the deployment is unfinished: in phase `Trial` or `Keep`.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Trial | Phase::Keep)
    }
}

fn path(root: &Root, name: &str, extension: &str) -> PathBuf {
    root.path(DIRECTORY).join(format!("{name}.{extension}"))
}

/// Reads the journal of the last deployment of `name`; returns `None` if there was none.
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

/// Returns every container name that has a journal, sorted.
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
    // Names with a leading dot are temporary files of an interrupted write.
    names.retain(|n| !n.starts_with('.'));
    names.sort();
    Ok(names)
}

/// Locks the deployments of `name` until the returned file is closed, at the latest when
/// the process ends. An error if another process holds the lock.
pub(super) fn lock(root: &Root, name: &str) -> Result<File> {
    file::create_directory(&root.path(DIRECTORY), 0o700)?;
    // A separate file, because a write replaces the journal by rename, and the lock would
    // stay on the old journal.
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
