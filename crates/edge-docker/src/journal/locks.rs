//! Locks of deployments: one process at a time deploys under a container name.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use edge_common::contract::exit_code::REFUSED;
use edge_common::exit::Failure;
use edge_common::{Root, file, lock};

use super::{DIRECTORY, names_of, path};

/// Limit of attempts to lock a file that other processes remove.
const MAX_ATTEMPTS: usize = 100;

/// Lock on the deployments of a container name. Its file goes with it unless there was a
/// deployment: each name that somebody types would leave one.
#[must_use = "a lock that is dropped is released"]
pub(crate) struct Lock {
    file: PathBuf,
    /// Files of a deployment, which keep the lock's.
    needed_by: [PathBuf; 2],
    _locked: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked: whoever waits for this file finds that it has been removed.
        let is_needed = self
            .needed_by
            .iter()
            .any(|f| fs::symlink_metadata(f).is_ok());
        if !is_needed {
            let _ = fs::remove_file(&self.file);
        }
    }
}

/// Locks the deployments of `name` until the returned value is dropped, at the latest when
/// the process ends. An error if another process holds the lock.
pub(crate) fn lock(root: &Root, name: &str) -> Result<Lock> {
    file::create_directory(&root.path(DIRECTORY), 0o700)?;
    // A separate file, because a write replaces the journal by rename, and the lock would
    // stay on the old journal.
    let path = path(root, name, "lock");
    for _ in 0..MAX_ATTEMPTS {
        file::put(&path, b"", 0o600)?;
        let locked = match lock::try_exclusive(&path) {
            Ok(Some(locked)) => locked,
            Ok(None) => {
                let busy = format_args!("another deployment of {name} is under way");
                return Err(Failure::error(REFUSED, busy));
            }
            // Removed by its holder since it was created.
            Err(_) if !path.exists() => continue,
            Err(error) => return Err(error),
        };
        if is_file(&locked, &path) {
            return Ok(Lock {
                needed_by: ["json", "next"].map(|kind| super::path(root, name, kind)),
                file: path,
                _locked: locked,
            });
        }
    }
    bail!(
        "locking {}: other processes remove the file",
        path.display()
    )
}

/// Returns whether the path still refers to this file, and not to another or none.
fn is_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(file), Ok(named)) => (file.dev(), file.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Returns whether a deployment of `name` is under way or has left a record.
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

/// Returns the names that have a lock file, sorted. After a power loss, one may be left
/// without a deployment.
pub(crate) fn lock_names(root: &Root) -> Result<Vec<String>> {
    names_of(root, ".lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_leaves_no_file_without_a_deployment() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        for number in 0..100 {
            let name = format!("typed-{number}");
            let held = lock(&root, &name).unwrap();
            assert_eq!(locked_names(&root).unwrap(), [&name[..]]);
            assert!(lock(&root, &name).is_err());
            drop(held);
        }
        assert!(lock_names(&root).unwrap().is_empty());
        for kind in ["json", "next"] {
            let held = lock(&root, "foo").unwrap();
            let needed = super::super::path(&root, "foo", kind);
            file::put(&needed, b"", 0o600).unwrap();
            drop(held);
            assert_eq!(lock_names(&root).unwrap(), ["foo"]);
            fs::remove_file(needed).unwrap();
            drop(lock(&root, "foo").unwrap());
            assert!(lock_names(&root).unwrap().is_empty());
        }
    }

    /// The file is removed and created again while others lock it.
    #[test]
    fn one_holder_at_a_time() {
        use std::sync::atomic::{AtomicU32, Ordering};

        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        let (holders, turns) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let Ok(held) = lock(&root, "foo") else {
                            continue;
                        };
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        turns.fetch_add(1, Ordering::SeqCst);
                        holders.fetch_sub(1, Ordering::SeqCst);
                        drop(held);
                    }
                });
            }
        });
        assert!(turns.into_inner() > 0);
        assert!(lock_names(&root).unwrap().is_empty());
    }
}
