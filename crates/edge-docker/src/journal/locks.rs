//! Locks of deployments: one process at a time deploys under a container name.

use std::fs::File;

use anyhow::Result;
use edge_common::contract::exit_code::REFUSED;
use edge_common::exit::Failure;
use edge_common::{Root, file, lock};

use super::{DIRECTORY, names_of, path};

/// Locks the deployments of `name` until the returned file is closed, at the latest when
/// the process ends. An error if another process holds the lock.
pub(crate) fn lock(root: &Root, name: &str) -> Result<File> {
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

/// Returns whether there was a deployment of `name`, so that [`lock`] creates no file.
pub(crate) fn has_lock(root: &Root, name: &str) -> bool {
    path(root, name, "lock").exists()
}

/// Returns the names of the deployments that are under way.
pub(crate) fn locked_names(root: &Root) -> Result<Vec<String>> {
    let mut names = names_of(root, ".lock")?;
    names.retain(|name| {
        let lock = lock::try_exclusive(&path(root, name, "lock"));
        lock.is_ok_and(|lock| lock.is_none())
    });
    Ok(names)
}
