//! What is kept of a switch, so that a power cut in the middle of one does not
//! leave the app down: root's own files, each written whole.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result};
use edge_common::{Root, file};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use edge_docker_policy::refusal::refuse;

const DIRECTORY: &str = "/data/config/edge-docker/switches";
/// Largest record, in bytes.
const LARGEST: u64 = 64 * 1024;

/// How far a switch is.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The new container is tried; after a cut the old one comes back.
    Trial,
    /// The new container works; after a cut the rest is tidied up.
    Keep,
    /// Done: the new container runs.
    Switched,
    /// Done: the old container is back.
    Back,
    /// Done: the new container did not work and there was none before.
    Down,
}

/// A switch from one container to another.
#[derive(Serialize, Deserialize)]
pub struct Record {
    /// What the container is called.
    pub name: String,
    /// How far it is.
    pub phase: Phase,
    /// What the new container was made from, as typed.
    pub image: String,
    /// The new container.
    pub new: Kept,
    /// Did this switch make it? Else it was the previous one.
    pub fresh: bool,
    /// The container before it; kept stopped when all went well.
    pub old: Option<Kept>,
    /// The one before that, which goes when all went well.
    pub older: Option<String>,
    /// What showed that the new one works, or that it does not.
    #[serde(default)]
    pub reason: String,
    /// The last lines of a new container that did not work.
    #[serde(default)]
    pub log: String,
}

/// A container that a switch changes, and what it was like.
#[derive(Serialize, Deserialize, Clone)]
pub struct Kept {
    /// Its Id.
    pub id: String,
    /// Did it run?
    pub running: bool,
    /// When the engine is to start it again.
    pub restart: Value,
}

impl Record {
    /// Writes it, whole and durable.
    ///
    /// # Errors
    /// `/data` cannot be written.
    pub fn write(&self, root: &Root) -> Result<()> {
        let text = serde_json::to_vec(self).context("writing a switch")?;
        file::create_directory(&root.path(DIRECTORY), 0o700)?;
        file::write(&path(root, &self.name, "json"), &text, 0o600)
    }

    /// Is there something left to do?
    pub fn open(&self) -> bool {
        matches!(self.phase, Phase::Trial | Phase::Keep)
    }
}

fn path(root: &Root, name: &str, kind: &str) -> PathBuf {
    root.path(DIRECTORY).join(format!("{name}.{kind}"))
}

/// The last switch of `name`, if there was one.
///
/// # Errors
/// It cannot be read.
pub fn read(root: &Root, name: &str) -> Result<Option<Record>> {
    let path = path(root, name, "json");
    if !path.exists() {
        return Ok(None);
    }
    let text = file::read(&path, LARGEST)?;
    let record = serde_json::from_slice(&text);
    record
        .map(Some)
        .with_context(|| format!("parsing {}", path.display()))
}

/// Names that were ever switched.
///
/// # Errors
/// The directory cannot be read.
pub fn names(root: &Root) -> Result<Vec<String>> {
    let directory = root.path(DIRECTORY);
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("reading {DIRECTORY}"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".json").map(String::from));
    }
    names.retain(|n| !n.starts_with('.'));
    names.sort();
    Ok(names)
}

/// One switch of a name at a time. The lock ends with its holder.
///
/// # Errors
/// Refused: another one is under way.
pub fn lock(root: &Root, name: &str) -> Result<File> {
    file::create_directory(&root.path(DIRECTORY), 0o700)?;
    let path = path(root, name, "lock");
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| refuse(format_args!("another switch of {name} is under way")))?;
    Ok(file)
}
