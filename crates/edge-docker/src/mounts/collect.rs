//! Removal of mount clones and create requests whose container no longer exists.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result};
use edge_common::contract::label;
use edge_common::{Root, file, lock};
use hyper::Method;

use super::clones;
use crate::engine::client;
use crate::stored::created;

/// Directory of the records of containers that are recreated after the boot audit, which
/// has cloned their mounts.
pub(crate) const REMAKE: &str = "/run/edge-docker/remake";
const LOCK: &str = "/run/edge-docker/lock";

/// Takes the lock that prevents collections while a container has clones but is not yet
/// known to the engine. Several processes can hold it at once.
pub(crate) fn hold(root: &Root) -> Result<File> {
    lock::shared(&lock_file(root)?)
}

fn lock_file(root: &Root) -> Result<PathBuf> {
    let path = root.path(LOCK);
    file::create_directory(path.parent().unwrap_or(&path), 0o700)?;
    file::put(&path, b"", 0o600)?;
    Ok(path)
}

/// Removes the create requests of containers that are gone, and the mount clones that no
/// container references. Clones stay while another process creates a container, or while
/// containers are to be recreated.
pub(crate) async fn collect(root: &Root) -> Result<()> {
    created::forget_absent(root)?;
    // Read before the list of containers, so that clones created in between are not
    // removed.
    let kept: Vec<_> = clones::records(root)?
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    if kept.is_empty() {
        return Ok(());
    }
    let mut pending = std::fs::read_dir(root.path(REMAKE)).into_iter().flatten();
    if pending.next().is_some() {
        return Ok(());
    }
    // The lock is held while a container is created. Nothing is lost: the next `rm`,
    // `replace` or end of a `run --rm` collects the clones.
    let Some(_lock) = lock::try_exclusive(&lock_file(root)?)? else {
        return Ok(());
    };
    let label = label::MOUNTS;
    let filters = format!("%7B%22label%22%3A%5B%22{label}%22%5D%7D");
    // Includes stopped containers, because their clones are mounted at the next start.
    let path = format!("/containers/json?all=1&filters={filters}");
    let found = client::request(root, Method::GET, &path, None).await?;
    let used: BTreeSet<_> = found
        .as_array()
        .context("the engine's response is no list")?
        .iter()
        .filter_map(|c| c["Labels"][label].as_str())
        .collect();
    for key in kept.iter().filter(|k| !used.contains(k.as_str())) {
        clones::remove(root, key)?;
    }
    Ok(())
}
