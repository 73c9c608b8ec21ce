//! State of the network settings on `/data` and in memory.

use std::fs::File;

use anyhow::{Context, Result};
use edge_common::{Root, file, lock, time};
use edge_network_settings::Settings;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Directory of the state, accessible to root only: it has passwords.
pub(super) const DIRECTORY: &str = "/data/config/edge-network";
/// Directory of the marks of a trial, in memory.
pub(super) const MARKS: &str = "/run/edge-docker/network";
/// Size limit of a file of the state, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// Version of the format of both files.
const VERSION: u32 = 1;

/// Settings that are kept: the content of `settings.json`.
#[derive(Serialize, Deserialize)]
pub(super) struct State {
    v: u32,
    #[serde(default)]
    pub(super) settings: Settings,
    /// Result of the last trial.
    #[serde(default)]
    pub(super) last: Option<Last>,
    /// Fields of a later version.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Result of a trial.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Last {
    /// `kept` or `returned`.
    pub(super) result: String,
    pub(super) why: String,
    /// Time of the system clock, RFC 3339.
    pub(super) time: String,
    /// SHA-256 of the token, so that a confirmation can be repeated.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) trial: String,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Settings on trial: the content of `pending.json`.
#[derive(Serialize, Deserialize)]
pub(super) struct Pending {
    v: u32,
    pub(super) token: String,
    pub(super) settings: Settings,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Returns the name under which a trial is known afterwards.
fn name_of(token: &str) -> String {
    edge_common::hex::encode(openssl::sha::sha256(token.as_bytes()))
}

impl State {
    /// Reads the settings that are kept; those of the image if none were set.
    pub(super) fn load(root: &Root) -> Result<Self> {
        let read = read(root, "settings.json")?;
        Ok(read.unwrap_or(Self {
            v: VERSION,
            settings: Settings::default(),
            last: None,
            rest: Map::new(),
        }))
    }

    /// Notes the result of a trial, and writes the state.
    pub(super) fn end(&mut self, root: &Root, token: &str, result: &str, why: &str) -> Result<()> {
        self.last = Some(Last {
            result: result.into(),
            why: why.into(),
            time: time::now(),
            trial: name_of(token),
            rest: Map::new(),
        });
        write(root, "settings.json", self)
    }

    /// Returns whether the trial of `token` was the last one, and its settings are kept.
    pub(super) fn is_kept(&self, token: &str) -> bool {
        let last = self.last.as_ref();
        last.is_some_and(|last| last.result == "kept" && last.trial == name_of(token))
    }
}

impl Pending {
    pub(super) fn new(token: String, settings: Settings) -> Self {
        Self {
            v: VERSION,
            token,
            settings,
            rest: Map::new(),
        }
    }

    pub(super) fn write(&self, root: &Root) -> Result<()> {
        write(root, "pending.json", self)
    }
}

/// Returns the settings on trial, if there are any.
pub(super) fn pending(root: &Root) -> Result<Option<Pending>> {
    read(root, "pending.json")
}

/// Ends the trial on the disk.
pub(super) fn remove_pending(root: &Root) -> Result<()> {
    file::remove(&root.path(DIRECTORY).join("pending.json")).map(drop)
}

/// Returns whether anything of a trial is on the disk, readable or not.
pub(super) fn has_pending(root: &Root) -> bool {
    root.path(DIRECTORY)
        .join("pending.json")
        .symlink_metadata()
        .is_ok()
}

/// Locks the state.
pub(super) fn lock(root: &Root) -> Result<File> {
    file::create_directory(&root.path(DIRECTORY), 0o700)?;
    lock::exclusive(&root.path(DIRECTORY))
}

/// Returns whether the settings of `token` are active: from then on a connection to the
/// device is one of the new settings.
pub(super) fn is_active(root: &Root, token: &str) -> bool {
    mark(root, "active").is_some_and(|active| active == token)
}

/// Returns the content of a mark.
pub(super) fn mark(root: &Root, name: &str) -> Option<String> {
    file::read_text(&root.path(MARKS).join(name), MAX_FILE_BYTES).ok()
}

/// Sets a mark, which a power loss removes.
pub(super) fn set_mark(root: &Root, name: &str, content: &str) -> Result<()> {
    let directory = root.path(MARKS);
    file::create_directory(&directory, 0o700)?;
    file::write(&directory.join(name), content.as_bytes(), 0o600)
}

/// Removes the marks of a trial.
pub(super) fn clear_marks(root: &Root) {
    for name in ["active", "confirmed"] {
        let _ = file::remove(&root.path(MARKS).join(name));
    }
}

fn read<T: for<'a> Deserialize<'a>>(root: &Root, name: &str) -> Result<Option<T>> {
    let path = root.path(DIRECTORY).join(name);
    if path.symlink_metadata().is_err() {
        return Ok(None);
    }
    let text = file::read(&path, MAX_FILE_BYTES)?;
    // The parser's error could quote a password.
    let parsed = serde_json::from_slice(&text).ok();
    parsed
        .map(Some)
        .with_context(|| format!("{} is damaged, or of a later image", path.display()))
}

fn write(root: &Root, name: &str, value: &impl Serialize) -> Result<()> {
    let directory = root.path(DIRECTORY);
    file::create_directory(&directory, 0o700)?;
    let text = serde_json::to_vec(value).context("writing the network settings")?;
    file::write(&directory.join(name), &text, 0o600)
}
