//! Advisory locks (`flock(2)`). The kernel releases a lock when its process ends, so a
//! crash or a power loss leaves no stale lock.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Locks the file or directory `path` exclusively without waiting. Returns `None` if
/// another process holds a lock. The lock is released when the returned file is closed.
///
/// # Errors
/// `path` is absent or cannot be opened or locked.
pub fn try_exclusive(path: &Path) -> Result<Option<File>> {
    let context = || format!("locking {}", path.display());
    let file = File::open(path).with_context(context)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error).with_context(context),
    }
}

/// Locks the file or directory `path` exclusively, and waits until no other process
/// holds a lock. The lock is released when the returned file is closed.
///
/// # Errors
/// `path` is absent or cannot be opened or locked.
pub fn exclusive(path: &Path) -> Result<File> {
    blocking(path, FlockOperation::LockExclusive)
}

/// Acquires a shared lock on the file or directory `path`, and waits while another
/// process holds an exclusive lock.
///
/// # Errors
/// `path` is absent or cannot be opened or locked.
pub fn shared(path: &Path) -> Result<File> {
    blocking(path, FlockOperation::LockShared)
}

fn blocking(path: &Path, operation: FlockOperation) -> Result<File> {
    let context = || format!("locking {}", path.display());
    let file = File::open(path).with_context(context)?;
    flock(&file, operation).with_context(context)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_none_after_it() {
        let directory = tempfile::tempdir().unwrap();
        let held = try_exclusive(directory.path()).unwrap();
        assert!(held.is_some());
        assert!(try_exclusive(directory.path()).unwrap().is_none());
        drop(held);
        let readers = [
            shared(directory.path()).unwrap(),
            shared(directory.path()).unwrap(),
        ];
        assert!(try_exclusive(directory.path()).unwrap().is_none());
        drop(readers);
        assert!(exclusive(directory.path()).is_ok());
        assert!(try_exclusive(&directory.path().join("absent")).is_err());
    }
}
