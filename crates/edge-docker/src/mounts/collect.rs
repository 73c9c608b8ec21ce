//! Pins whose container is gone are taken away.

use edge_common::contract::label;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};
use edge_common::{Root, file};
use hyper::Method;
use rustix::fs::{FlockOperation, flock};

use super::clones;
use crate::engine::client as engine;

const LOCK: &str = "/run/edge-docker/lock";

/// Held while a container has its pins but is not yet known to the engine;
/// nothing is taken away then.
///
/// # Errors
/// `/run` cannot be written.
pub fn hold(root: &Root) -> Result<File> {
    let lock = open(root)?;
    flock(&lock, FlockOperation::LockShared).context("locking")?;
    Ok(lock)
}

fn open(root: &Root) -> Result<File> {
    let path = root.path(LOCK);
    file::create_directory(path.parent().unwrap_or(&path), 0o700)?;
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(false).mode(0o600);
    options
        .open(&path)
        .with_context(|| format!("opening {LOCK}"))
}

/// Takes away what no container uses; nothing while one is being made.
///
/// # Errors
/// No engine, or a pin that cannot be removed.
pub async fn collect(root: &Root) -> Result<()> {
    let kept: Vec<_> = clones::records(root)?
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    if kept.is_empty() {
        return Ok(());
    }
    let lock = open(root)?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    let path = "/containers/json?all=1&filters=%7B%22label%22%3A%5B%22edge.pins%22%5D%7D";
    let found = engine::ask(root, Method::GET, path, None).await?;
    let used: BTreeSet<_> = found
        .as_array()
        .context("the engine's answer is no list")?
        .iter()
        .filter_map(|c| c["Labels"][label::MOUNTS].as_str())
        .collect();
    for key in kept.iter().filter(|k| !used.contains(k.as_str())) {
        clones::remove(root, key)?;
    }
    Ok(())
}
