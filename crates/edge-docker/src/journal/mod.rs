//! Journal of a deployment: a JSON file per container name, from which an interrupted
//! deployment is finished, so that a power loss does not leave the app down. The file is
//! written before the first change and at each change of phase.
//!
//! The journal is also the deployment record: it names the current and the previous
//! container, which may start although a newer version has been accepted since, and which
//! no cleaning up removes.

mod locks;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use edge_common::contract::suffix;
use edge_common::{Root, file, log};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub(crate) use self::locks::{Lock, has_lock, lock, lock_names, locked_names};

/// Directory of the journals and their locks, accessible to root only.
// `switches` is an old word for deployments. Names on devices do not change, see
// docs/decisions/0021-names-on-devices-stay.md.
const DIRECTORY: &str = "/data/config/edge-docker/switches";
/// Size limit of a journal file, in bytes.
const MAX_JOURNAL_BYTES: u64 = 64 * 1024;
/// Version of the format of a journal file.
const VERSION: u32 = 1;

/// Phase of a deployment. The names in the JSON are those of
/// `edge_common::contract::phase`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
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
pub(crate) struct Journal {
    /// Version of the format; journals of earlier versions of edge-docker have none.
    #[serde(default = "version")]
    pub(crate) v: u32,
    /// Container name, which the new container gets from the old one.
    pub(crate) name: String,
    /// App of the new container; empty in journals of earlier versions.
    #[serde(default)]
    pub(crate) app: String,
    /// Last phase reached, which decides how an interrupted deployment is finished.
    pub(crate) phase: Phase,
    /// Image reference of the new container, as typed.
    pub(crate) image: String,
    /// New container; in a rollback, the previous container that returns. `None` once it
    /// was removed.
    pub(crate) new: Option<Kept>,
    /// Whether the deployment created the new container, and so removes it if it fails.
    /// False for the command `rollback`.
    pub(crate) fresh: bool,
    /// Whether `--allow-downgrade` was given: a commit then accepts a lower release
    /// number for good.
    #[serde(default)]
    pub(crate) allow_downgrade: bool,
    /// Container that had the name before. After a success it is stopped and kept as
    /// `NAME-previous`.
    pub(crate) old: Option<Kept>,
    /// ID of the container that was `NAME-previous` before, which a success removes.
    pub(crate) older: Option<String>,
    /// Whether the new container is of the version of `old`, which a success then removes,
    /// so that `NAME-previous` stays the version to return to.
    #[serde(default)]
    pub(crate) same_version: bool,
    /// Container `NAME-previous`, which a deployment of the same version leaves as it is.
    /// Only in an open deployment; the closed record names it in `old` or `older`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<Kept>,
    /// Reason why the new container counts as working, or why it failed.
    #[serde(default)]
    pub(crate) reason: String,
    /// Last log lines of a new container that failed; otherwise empty.
    #[serde(default)]
    pub(crate) log: String,
    /// Fields of a later version of edge-docker, kept as they are: both versions of the
    /// device image share `/data`.
    #[serde(flatten)]
    pub(crate) unknown: Map<String, Value>,
}

/// Container that takes part in a deployment, with the state to restore.
#[derive(Serialize, Deserialize, Clone)]
pub(crate) struct Kept {
    /// Container ID, which a change of names does not affect.
    pub(crate) id: String,
    /// Whether the container ran before the deployment.
    pub(crate) running: bool,
    /// Restart policy in the form of the engine's API, set again after the trial.
    pub(crate) restart: Value,
    /// Image ID of the container; empty in journals of earlier versions.
    #[serde(default, rename = "image_id")]
    pub(crate) image: String,
    /// Signed release number; `None` for a sandbox app and in journals of earlier
    /// versions.
    #[serde(default)]
    pub(crate) number: Option<u64>,
    /// Fields of a later version of edge-docker.
    #[serde(flatten)]
    pub(crate) unknown: Map<String, Value>,
}

const fn version() -> u32 {
    VERSION
}

impl Kept {
    /// Returns the entry of a container that did not run and is not started by the engine.
    pub(crate) fn new(id: &str) -> Self {
        Self {
            id: id.into(),
            running: false,
            restart: json!({ "Name": "no" }),
            image: String::new(),
            number: None,
            unknown: Map::new(),
        }
    }
}

impl Journal {
    /// Returns the journal of a deployment of `app` that begins, without containers.
    pub(crate) fn new(name: &str, app: &str, image: &str) -> Self {
        Self {
            v: VERSION,
            name: name.into(),
            app: app.into(),
            phase: Phase::Trial,
            image: image.into(),
            new: None,
            fresh: true,
            allow_downgrade: false,
            old: None,
            older: None,
            same_version: false,
            previous: None,
            reason: String::new(),
            log: String::new(),
            unknown: Map::new(),
        }
    }

    /// Writes the journal to `NAME.json`, atomically and synced to the disk.
    pub(crate) fn write(&self, root: &Root) -> Result<()> {
        let text = serde_json::to_vec(self).context("writing the deployment journal")?;
        file::create_directory(&root.path(DIRECTORY), 0o700)?;
        file::write(&path(root, &self.name, "json"), &text, 0o600)
    }

    /// Returns whether the deployment is unfinished: in phase `Trial` or `Keep`.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Trial | Phase::Keep)
    }

    /// Returns the IDs of the containers that the record names: all that take part in an
    /// open deployment, otherwise the current and the previous one.
    pub(crate) fn ids(&self) -> Vec<&str> {
        let new = self.new.as_ref().map(|k| k.id.as_str());
        let old = self.old.as_ref().map(|k| k.id.as_str());
        let older = self.older.as_deref();
        let previous = self.previous.as_ref().map(|k| k.id.as_str());
        let named = match self.phase {
            Phase::Trial | Phase::Keep => [new, old, older, previous],
            Phase::Deployed => [new, old, None, None],
            // A version that failed was removed, but one of a failed rollback is kept.
            Phase::RolledBack | Phase::Down => [new.filter(|_| !self.fresh), old, older, None],
        };
        named.into_iter().flatten().collect()
    }

    /// Returns the image IDs of the containers that the record names, as far as it
    /// contains them.
    pub(crate) fn images(&self) -> impl Iterator<Item = &str> {
        let ids = self.ids();
        let kept = [&self.new, &self.old, &self.previous];
        let kept = kept.into_iter().flatten();
        kept.filter(move |k| ids.contains(&k.id.as_str()) && !k.image.is_empty())
            .map(|k| k.image.as_str())
    }

    /// Returns the highest release number that this deployment shows to have been
    /// accepted: a candidate on trial was not.
    pub(crate) fn accepted_number(&self) -> Option<u64> {
        let is_accepted = self.phase == Phase::Deployed || !self.fresh;
        let new = self.new.as_ref().filter(|_| is_accepted);
        let kept = [new, self.old.as_ref()].into_iter().flatten();
        kept.filter_map(|k| k.number).max()
    }

    /// Removes a container from the record, because it was removed from the engine.
    pub(crate) fn forget(&mut self, id: &str) {
        let is_it = |kept: &Option<Kept>| kept.as_ref().is_some_and(|k| k.id == id);
        if is_it(&self.new) {
            self.new = None;
        }
        if is_it(&self.old) {
            self.old = None;
        }
        if is_it(&self.previous) {
            self.previous = None;
        }
        if self.older.as_deref() == Some(id) {
            self.older = None;
        }
    }
}

fn path(root: &Root, name: &str, extension: &str) -> PathBuf {
    root.path(DIRECTORY).join(format!("{name}.{extension}"))
}

/// Reads the journal of the last deployment of `name`; returns `None` if there was none.
pub(crate) fn read(root: &Root, name: &str) -> Result<Option<Journal>> {
    let path = path(root, name, "json");
    // `exists` would follow links, and a dangling link would count as an absent journal.
    if fs::symlink_metadata(&path).is_err() {
        return Ok(None);
    }
    let text = file::read(&path, MAX_JOURNAL_BYTES)?;
    let context = || format!("parsing {}", path.display());
    let value: Value = serde_json::from_slice(&text).with_context(context)?;
    if value.get("v").is_some_and(|v| *v != VERSION) {
        return Err(Newer(path).into());
    }
    serde_json::from_value(value).with_context(context)
}

/// Reads a journal as [`read`] does. One that is damaged is moved to `NAME.damaged`,
/// because it would prevent every later deployment of this name.
pub(crate) fn read_or_set_aside(root: &Root, name: &str) -> Result<Option<Journal>> {
    let error = match read(root, name) {
        Err(error) if !error.is::<Newer>() => error,
        result => return result,
    };
    let (from, to) = (path(root, name, "json"), path(root, name, "damaged"));
    log::error(format_args!("{error:#}: moved to {}", to.display()));
    fs::rename(&from, &to).with_context(|| format!("moving {}", from.display()))?;
    file::sync_directory(&root.path(DIRECTORY))?;
    Ok(None)
}

/// Error for a journal of a format that this version of edge-docker does not know.
#[derive(Debug)]
struct Newer(PathBuf);

impl std::fmt::Display for Newer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.0.display();
        write!(
            f,
            "{path} was written by a later version of the device image"
        )
    }
}

impl std::error::Error for Newer {}

/// Returns the journals of all container names, without those that cannot be read: a
/// record that says nothing permits nothing.
pub(crate) fn all(root: &Root) -> Vec<Journal> {
    let names = names(root).unwrap_or_else(|error| {
        log::warn(format_args!("{error:#}"));
        Vec::new()
    });
    let read = |name: String| {
        read(root, &name).unwrap_or_else(|error| {
            log::warn(format_args!("deployment of {name}: {error:#}"));
            None
        })
    };
    names.into_iter().filter_map(read).collect()
}

/// Removes the journal of a deployment whose containers no longer exist.
pub(crate) fn remove(root: &Root, name: &str) -> Result<()> {
    file::remove(&path(root, name, "json")).map(drop)
}

/// Announces that the container `NAME-next` of `app` is about to be created. Without
/// this file, the journal could not name a container that a power loss leaves behind
/// before its ID is known.
pub(crate) fn announce(root: &Root, name: &str, app: &str) -> Result<()> {
    file::create_directory(&root.path(DIRECTORY), 0o700)?;
    file::write(&path(root, name, "next"), app.as_bytes(), 0o600)
}

/// Returns the app whose container `NAME-next` was announced and is not in the journal.
pub(crate) fn announced(root: &Root, name: &str) -> Option<String> {
    file::read_text(&path(root, name, "next"), MAX_JOURNAL_BYTES).ok()
}

/// Withdraws the announcement of a container, once the journal names it or it is gone.
pub(crate) fn withdraw(root: &Root, name: &str) -> Result<()> {
    file::remove(&path(root, name, "next")).map(drop)
}

/// Returns every container name that has a journal, sorted.
pub(crate) fn names(root: &Root) -> Result<Vec<String>> {
    names_of(root, ".json")
}

/// Returns every container name with an announced container, sorted.
pub(crate) fn announced_names(root: &Root) -> Result<Vec<String>> {
    names_of(root, ".next")
}

fn names_of(root: &Root, extension: &str) -> Result<Vec<String>> {
    let directory = root.path(DIRECTORY);
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("reading {DIRECTORY}"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(extension).map(String::from));
    }
    // Names with a leading dot are temporary files of an interrupted write.
    names.retain(|n| !n.starts_with('.'));
    names.sort();
    Ok(names)
}

/// Writes the ID `new` in the place of `old` into all journals, for a container that was
/// recreated.
pub(crate) fn exchange_id(root: &Root, old: &str, new: &str) -> Result<()> {
    for name in names(root)? {
        let path = path(root, &name, "json");
        let text = file::read_text(&path, MAX_JOURNAL_BYTES)?;
        // An ID has 64 random hex digits, so it stands for nothing else.
        if text.contains(old) {
            file::write(&path, text.replace(old, new).as_bytes(), 0o600)?;
        }
    }
    Ok(())
}

/// Returns the name of the deployment to which a container name belongs: the name without
/// a suffix that is reserved for deployments.
pub(crate) fn base(name: &str) -> &str {
    let stripped = suffix::RESERVED.iter().find_map(|s| name.strip_suffix(s));
    stripped.unwrap_or(name)
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
