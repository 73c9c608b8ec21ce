//! Assignment of a project to a directory and all that is in it, by descriptor and without
//! following a link: a container may change the directory at the same time.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use edge_common::log;
use edge_quota::Project;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chownat, openat,
    readlinkat, renameat, statat, symlinkat, unlinkat, utimensat,
};

use crate::mounts::beneath;

/// Maximum number of entries that are visited. What is beyond stays without a project.
const MAX_ENTRIES: usize = 2_000_000;
/// Maximum depth of directories, each of which needs an open descriptor.
const MAX_DEPTH: usize = 200;
/// Maximum number of entries in which a layer is searched for links and whiteouts.
const MAX_PLAIN_ENTRIES: usize = 10_000;
/// Name of a link that takes the place of one without a project.
const TEMPORARY: &str = ".edge-project";

/// Walk through a directory.
struct Walk {
    project: Project,
    left: usize,
    /// Number of entries that could not get the project.
    missed: usize,
}

/// Adds `directory` and all that is in it to the project `id`. Its own flag comes last, so
/// that an interrupted walk is seen and repeated.
pub(super) fn all(directory: &OwnedFd, id: u32) -> Result<()> {
    let own = Project {
        id,
        is_inherited: false,
    };
    let whole = Project {
        is_inherited: true,
        ..own
    };
    if edge_quota::project(directory)? == whole {
        return Ok(());
    }
    // Before the content, so that the number is taken.
    edge_quota::set_project(directory, own)?;
    let mut walk = Walk {
        project: whole,
        left: MAX_ENTRIES,
        missed: 0,
    };
    walk.directory(directory, 0)?;
    edge_quota::set_project(directory, whole)?;
    // Created after the flag was set, so that they inherit the project.
    renew_links(directory)?;
    if walk.missed > 0 || walk.left == 0 {
        log::warn(format_args!(
            "{} files have no project, and do not count as storage of the app",
            walk.missed
        ));
    }
    Ok(())
}

/// Takes all that is in `directory` out of its project.
pub(super) fn none(directory: &OwnedFd) -> Result<()> {
    let mut walk = Walk {
        project: Project::default(),
        left: MAX_ENTRIES,
        missed: 0,
    };
    walk.directory(directory, 0)
}

impl Walk {
    fn directory(&mut self, directory: &OwnedFd, depth: usize) -> Result<()> {
        for entry in Dir::read_from(directory).context("reading a directory")? {
            let entry = entry.context("reading a directory")?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if self.left == 0 || depth == MAX_DEPTH {
                self.missed += 1;
                continue;
            }
            self.left -= 1;
            if self.entry(directory, name, depth).is_err() {
                // It may be gone by now, or be a file that nobody may change.
                self.missed += 1;
            }
        }
        Ok(())
    }

    fn entry(&mut self, directory: &OwnedFd, name: &CStr, depth: usize) -> Result<()> {
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::DIRECTORY | OFlags::RDONLY;
                let inner = beneath::open(directory, name, flags)?;
                self.set(&inner, self.project)?;
                self.directory(&inner, depth + 1)?;
                if self.project.is_inherited {
                    renew_links(&inner)?;
                }
                Ok(())
            }
            FileType::RegularFile => {
                // Another process may put a FIFO in its place, which must not block.
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
                let file = beneath::open(directory, name, flags)?;
                let is_inherited = false;
                let id = self.project.id;
                self.set(&file, Project { id, is_inherited })
            }
            // Links are renewed later. Others cannot be opened, and occupy no block.
            _ => Ok(()),
        }
    }

    fn set(&self, file: impl AsFd, project: Project) -> Result<()> {
        if edge_quota::project(&file)? != project {
            edge_quota::set_project(&file, project)?;
        }
        Ok(())
    }
}

/// Creates the symbolic links in `directory` again, because an existing one cannot get a
/// project, and the kernel does not rename it between directories of a project.
fn renew_links(directory: &OwnedFd) -> Result<()> {
    for entry in Dir::read_from(directory).context("reading a directory")? {
        let entry = entry.context("reading a directory")?;
        let name = entry.file_name();
        if name.to_bytes() == TEMPORARY.as_bytes() {
            continue;
        }
        let is_link = match entry.file_type() {
            FileType::Unknown => statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Symlink),
            kind => kind == FileType::Symlink,
        };
        if is_link && let Err(error) = renew(directory, name) {
            log::warn(format_args!(
                "a link keeps its project: {}: {error:#}",
                log::printable(&name.to_string_lossy())
            ));
        }
    }
    Ok(())
}

fn renew(directory: &OwnedFd, name: &CStr) -> Result<()> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let target = readlinkat(directory, name, Vec::new())?;
    // Left by an interruption.
    let _ = unlinkat(directory, TEMPORARY, AtFlags::empty());
    symlinkat(&target, directory, TEMPORARY)?;
    let (user, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    chownat(directory, TEMPORARY, Some(user), Some(group), flags)?;
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec.try_into()?),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec.try_into()?),
    };
    utimensat(directory, TEMPORARY, &times, flags)?;
    Ok(renameat(directory, TEMPORARY, directory, name)?)
}

/// Returns whether a directory contains only directories and regular files, so that all of
/// it can get a project.
pub(super) fn is_plain(directory: &Path) -> Result<bool> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = openat(CWD, directory, flags, Mode::empty());
    let open = open.with_context(|| format!("opening {}", directory.display()))?;
    let mut left = MAX_PLAIN_ENTRIES;
    are_plain(&open, &mut left, 0)
}

fn are_plain(directory: &OwnedFd, left: &mut usize, depth: usize) -> Result<bool> {
    for entry in Dir::read_from(directory).context("reading a layer")? {
        let entry = entry.context("reading a layer")?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if *left == 0 || depth == MAX_DEPTH {
            return Ok(false);
        }
        *left -= 1;
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_plain = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::DIRECTORY | OFlags::RDONLY;
                are_plain(&beneath::open(directory, name, flags)?, left, depth + 1)?
            }
            FileType::RegularFile => true,
            _ => false,
        };
        if !is_plain {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    fn open(path: &Path) -> OwnedFd {
        fs::File::open(path).unwrap().into()
    }

    #[test]
    fn a_renewed_link_is_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        symlink("/nowhere/else", &link).unwrap();
        let before = fs::symlink_metadata(&link).unwrap();
        symlink("x", directory.path().join(TEMPORARY)).unwrap();
        renew_links(&open(directory.path())).unwrap();
        let after = fs::symlink_metadata(&link).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("/nowhere/else"));
        assert_ne!(before.ino(), after.ino());
        let owner = |m: &fs::Metadata| (m.uid(), m.gid(), m.mtime(), m.mtime_nsec());
        assert_eq!(owner(&before), owner(&after));
    }

    #[test]
    fn layers_with_links_stay_as_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        fs::create_dir_all(at.join("a/b")).unwrap();
        edge_common::file::put(&at.join("a/b/c"), b"x", 0o644).unwrap();
        assert!(is_plain(at).unwrap());
        symlink("c", at.join("a/b/d")).unwrap();
        assert!(!is_plain(at).unwrap());
        symlink(at, at.join("self")).unwrap();
        assert!(is_plain(&at.join("self")).is_err());
    }
}
