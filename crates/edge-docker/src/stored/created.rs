//! What edge-docker asked the engine for, kept beside what the engine made of
//! it. On `/data`, so that it proves nothing; what it allows is judged again.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use edge_common::{Root, file};
use serde_json::Value;

use edge_docker_policy::strict_json;

use super::disk;

const DIRECTORY: &str = "/data/config/edge-docker/containers";
const LARGEST: u64 = 4 * 1024 * 1024;
/// So many may lie there before it is looked whose container is gone.
const MANY: usize = 100;

/// Keeps the create body of the container `id`, before it is started;
/// `durable`, where that must hold after a power cut.
///
/// # Errors
/// `/data` cannot be written.
pub fn keep(root: &Root, id: &str, body: &[u8], durable: bool) -> Result<()> {
    file::create_directory(&root.path(DIRECTORY), 0o700)?;
    tidy(root)?;
    let write = if durable { file::write } else { file::put };
    write(&path(root, id), body, 0o600)
}

/// What was asked for when `id` was made, if edge-docker made it.
///
/// # Errors
/// There, but damaged.
pub fn find(root: &Root, id: &str) -> Result<Option<Value>> {
    let path = path(root, id);
    if fs::symlink_metadata(&path).is_err() {
        return Ok(None);
    }
    let body = file::read(&path, LARGEST)?;
    let value = strict_json::parse(&body).with_context(|| format!("reading the record of {id}"))?;
    Ok(Some(value))
}

/// Drops the records of containers that the engine no longer has: those that
/// end with their process leave theirs behind.
fn tidy(root: &Root) -> Result<()> {
    if fs::read_dir(root.path(DIRECTORY)).map_or(0, Iterator::count) < MANY {
        return Ok(());
    }
    let containers = disk::data_root(root)?.join("containers");
    // A record is written after its container is there, and never before.
    forget(root, |id| containers.join(id).exists())
}

/// Drops the records of containers other than `there`.
///
/// # Errors
/// `/data` cannot be written.
pub fn forget_others(root: &Root, there: &BTreeSet<String>) -> Result<()> {
    forget(root, |id| there.contains(id))
}

fn forget(root: &Root, there: impl Fn(&str) -> bool) -> Result<()> {
    let Ok(entries) = fs::read_dir(root.path(DIRECTORY)) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("reading {DIRECTORY}"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !there(name.strip_suffix(".json").unwrap_or(&name)) {
            // Another of us may have been faster.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn path(root: &Root, id: &str) -> PathBuf {
    root.path(DIRECTORY).join(format!("{id}.json"))
}
