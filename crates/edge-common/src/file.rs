//! Reading of files with a size limit, and writing that survives a power loss: the file
//! then has either its old or its new content.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Name prefix of the temporary files that [`write`] renames to their target.
const TEMPORARY: &str = ".new-";

/// Replaces the content of `path` durably and sets the permission bits `mode`. A
/// temporary file in the same directory is written, synced and renamed, then the
/// directory is synced: after a power loss at any point the file has either the old or
/// the new content.
///
/// # Errors
/// A step failed. The temporary file is removed; the old content stays unless only the
/// final sync of the directory failed.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let context = || format!("writing {}", path.display());
    let directory = path.parent().context("a path without a directory")?;
    let mut temporary = tempfile::Builder::new()
        .prefix(TEMPORARY)
        // Other users must not be able to read a secret, not even while it is written.
        .permissions(Permissions::from_mode(mode & 0o700))
        .tempfile_in(directory)
        .with_context(context)?;
    let file = temporary.as_file_mut();
    file.write_all(content).with_context(context)?;
    file.set_permissions(Permissions::from_mode(mode))
        .with_context(context)?;
    file.sync_all().with_context(context)?;
    temporary
        .persist(path)
        .map_err(|e| e.error)
        .with_context(context)?;
    sync_directory(directory)
}

/// Calls [`write`] unless the file already has this content and mode, so that repeated
/// runs do not wear the flash. Returns whether the file was written.
///
/// # Errors
/// The file has to be written and [`write`] fails; the old content stays then.
pub fn ensure(path: &Path, content: &[u8], mode: u32) -> Result<bool> {
    let same_mode = fs::symlink_metadata(path)
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o7777 == mode);
    if same_mode && fs::read(path).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    write(path, content, mode).map(|()| true)
}

/// Writes `path` without syncing, for content that may be lost at a power loss. A new
/// file is created with the permission bits `mode`; an existing file keeps its own.
pub fn put(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(true).mode(mode);
    options
        .open(path)
        .and_then(|mut file| file.write_all(content))
        .with_context(|| format!("writing {}", path.display()))
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// The file is absent, unreadable, not a regular file, or larger than `limit`.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let context = || format!("reading {}", path.display());
    // Opening a FIFO must not block until a writer opens it.
    const O_NONBLOCK: i32 = 0o4000;
    let file = File::options()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path)
        .with_context(context)?;
    if !file.metadata().with_context(context)?.is_file() {
        bail!("reading {}: not a regular file", path.display());
    }
    let mut content = Vec::new();
    // The limit is enforced while reading, because the file may grow after `metadata`.
    file.take(limit + 1)
        .read_to_end(&mut content)
        .with_context(context)?;
    if content.len() as u64 > limit {
        bail!("reading {}: larger than {limit} bytes", path.display());
    }
    Ok(content)
}

/// Reads a UTF-8 file of at most `limit` bytes, otherwise as [`read`] does.
///
/// # Errors
/// [`read`] fails, or the content is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String> {
    String::from_utf8(read(path, limit)?)
        .map_err(|_| anyhow::anyhow!("reading {}: not UTF-8", path.display()))
}

/// Creates the directory `path` and its missing parents with the permission bits
/// `mode`. An existing directory keeps its own.
pub fn create_directory(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .with_context(|| format!("creating {}", path.display()))
}

/// Removes the file `path` if it exists, and syncs its directory. Returns whether the
/// file existed.
pub fn remove(path: &Path) -> Result<bool> {
    if fs::symlink_metadata(path).is_err() {
        return Ok(false);
    }
    fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?;
    sync_directory(path.parent().context("a path without a directory")?)?;
    Ok(true)
}

/// Removes the temporary files that interrupted calls of [`write`] left in `directory`,
/// because they may contain secrets. The caller must be the only writer in the
/// directory: the temporary file of a concurrent call would be removed too.
///
/// # Errors
/// The directory cannot be read or a file cannot be removed.
pub fn remove_leftovers(directory: &Path) -> Result<()> {
    let entries = fs::read_dir(directory);
    let entries = entries.with_context(|| format!("reading {}", directory.display()))?;
    for entry in entries.flatten() {
        if entry
            .file_name()
            .as_bytes()
            .starts_with(TEMPORARY.as_bytes())
        {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Syncs `directory` (fsync(2)), so that renames and removals in it survive a power
/// loss.
pub fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory)
        .and_then(|f| f.sync_all())
        .with_context(|| format!("syncing {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn put_replaces_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        for content in [&b"long"[..], b"x", b""] {
            put(&path, content, 0o600).unwrap();
            assert_eq!(fs::read(&path).unwrap(), content);
        }
        assert!(put(&directory.path().join("no/x"), b"", 0o600).is_err());
    }

    #[test]
    fn writes_whole_with_mode_and_leaves_no_trace() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write(&path, b"one", 0o600).unwrap();
        write(&path, b"two", 0o640).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_an_existing_file_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write(&path, b"one", 0o600).unwrap();
        assert!(remove(&path).unwrap() && !remove(&path).unwrap());
        assert!(!remove(&path.join("below")).unwrap());
        assert!(remove(directory.path()).is_err());
    }

    #[test]
    fn ensure_writes_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("copy");
        assert!(ensure(&path, b"x", 0o644).unwrap());
        assert!(!ensure(&path, b"x", 0o644).unwrap());
        assert!(ensure(&path, b"x", 0o600).unwrap());
        assert!(ensure(&path, b"y", 0o600).unwrap());
    }

    #[test]
    fn read_rejects_large_and_special_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        write(&path, b"12345", 0o600).unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(read(&path, 4).unwrap_err().to_string().contains("larger"));
        assert!(read(directory.path(), 9).is_err());
        assert!(read(Path::new("/dev/zero"), 9).is_err());
        assert!(read(&directory.path().join("absent"), 9).is_err());
    }

    #[test]
    fn leftovers_are_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        for name in [".new-x", "new-x", ".new"] {
            put(&directory.path().join(name), b"x", 0o600).unwrap();
        }
        remove_leftovers(directory.path()).unwrap();
        assert!(!directory.path().join(".new-x").exists());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        assert!(remove_leftovers(&directory.path().join("absent")).is_err());
    }

    #[test]
    fn a_failed_write_keeps_the_old_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("busy");
        fs::create_dir(&path).unwrap();
        assert!(write(&path, b"x", 0o600).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
