//! Directory to which the engine extracted a layer. Its content is not trusted: no path
//! leads out of it, and no device in it is opened.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, fstatvfs, getxattr,
    listxattr, listxattr_query, openat2, readlinkat, statat,
};
use rustix::io::Errno;

/// Size limit of the list of extended attributes of a file, and of a value, in bytes: that
/// of the kernel.
const MAX_ATTRIBUTE_BYTES: usize = 64 * 1024;

/// Open directory of a layer.
pub(super) struct Directory {
    open: OwnedFd,
    /// Path of the directory in the kernel's view.
    place: PathBuf,
}

/// Entry of the directory, opened without access to its content.
pub(super) struct Found {
    open: OwnedFd,
    pub(super) stat: Stat,
    /// Path in the directory without links.
    pub(super) path: PathBuf,
}

impl Directory {
    /// Opens the directory; a link in its place is an error.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::PATH | OFlags::CLOEXEC;
        let open = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::empty())?;
        let place = place(&open)?;
        Ok(Self { open, place })
    }

    /// Returns the size of the file system in bytes, which no honest layer exceeds.
    pub(super) fn capacity(&self) -> io::Result<u64> {
        let system = fstatvfs(&self.open)?;
        Ok(system.f_blocks.saturating_mul(system.f_frsize))
    }

    /// Returns the entry `path`. Links in the middle of the path lead as in a container:
    /// the engine extracts a layer this way.
    pub(super) fn find(&self, path: &Path) -> io::Result<Found> {
        if path.as_os_str().is_empty() {
            return self.found(Path::new("."), Path::new(""), ResolveFlags::NO_SYMLINKS);
        }
        match self.found(path, path, ResolveFlags::NO_SYMLINKS) {
            // A link above the entry.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => {
                let mut found = self.found(path, path, ResolveFlags::empty())?;
                let parent = path.parent().unwrap_or(Path::new(""));
                let parent = match parent.as_os_str().is_empty() {
                    true => PathBuf::new(),
                    false => self.real(parent)?,
                };
                found.path = parent.join(path.file_name().unwrap_or_default());
                Ok(found)
            }
            found => found,
        }
    }

    /// Returns the entry `path`; `None` if it is absent, or if a part of the path is a link
    /// or a file.
    pub(super) fn find_plain(&self, path: &Path) -> io::Result<Option<Found>> {
        let shown = match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        };
        match self.found(shown, path, ResolveFlags::NO_SYMLINKS) {
            Ok(found) => Ok(Some(found)),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
                _ => Err(error),
            },
        }
    }

    fn found(&self, path: &Path, named: &Path, more: ResolveFlags) -> io::Result<Found> {
        let open = self.at(path, OFlags::PATH | OFlags::NOFOLLOW, more)?;
        let stat = fstat(&open)?;
        let path = named.into();
        Ok(Found { open, stat, path })
    }

    /// Returns the path of a directory without links.
    fn real(&self, path: &Path) -> io::Result<PathBuf> {
        let open = self.at(
            path,
            OFlags::PATH | OFlags::DIRECTORY,
            ResolveFlags::empty(),
        )?;
        let real = place(&open)?;
        let real = real.strip_prefix(&self.place);
        real.map(Path::to_path_buf).map_err(|_| Errno::XDEV.into())
    }

    fn at(&self, path: &Path, flags: OFlags, more: ResolveFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
        let flags = flags | OFlags::CLOEXEC;
        Ok(openat2(&self.open, path, flags, Mode::empty(), resolve)?)
    }

    /// Returns names and metadata of the entries of the directory `path`, which is no link.
    pub(super) fn entries(&self, path: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
        let shown = match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        };
        let open = self.at(shown, OFlags::DIRECTORY, ResolveFlags::NO_SYMLINKS)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&open)? {
            let entry = entry?;
            let name = entry.file_name();
            if [&b"."[..], b".."].contains(&name.to_bytes()) {
                continue;
            }
            let is_directory = match entry.file_type() {
                FileType::Unknown => {
                    let stat = statat(&open, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(stat.st_mode)
                }
                known => known,
            } == FileType::Directory;
            entries.push((path.join(OsStr::from_bytes(name.to_bytes())), is_directory));
        }
        Ok(entries)
    }
}

impl Found {
    /// Returns the file type.
    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Returns the number of the file, which hard links share.
    pub(super) fn inode(&self) -> (u64, u64) {
        (self.stat.st_dev, self.stat.st_ino)
    }

    /// Returns whether owner and mode are those of a directory that the engine creates by
    /// itself: above an entry of an archive, or for a container.
    pub(super) fn has_engine_defaults(&self) -> bool {
        let stat = &self.stat;
        (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777) == (0, 0, 0o755)
    }

    /// Returns the target of a symbolic link.
    pub(super) fn target(&self) -> io::Result<Vec<u8>> {
        Ok(readlinkat(&self.open, "", Vec::new())?.into_bytes())
    }

    /// Opens a regular file for reading.
    pub(super) fn read(&self) -> io::Result<File> {
        let mut options = File::options();
        options.read(true).custom_flags(flag(OFlags::NOCTTY));
        options.open(self.link())
    }

    /// Returns the extended attributes.
    pub(super) fn attributes(&self) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut attributes = BTreeMap::new();
        let link = self.link();
        // Most files have none.
        let length = match listxattr_query(&link) {
            Ok(0) | Err(Errno::NOTSUP) => return Ok(attributes),
            Ok(length) => length,
            Err(error) => return Err(error.into()),
        };
        let mut list = vec![0; length.min(MAX_ATTRIBUTE_BYTES)];
        let length = listxattr(&link, &mut list[..])?;
        for name in list[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
            let mut value = vec![0; MAX_ATTRIBUTE_BYTES];
            let length = getxattr(&link, name, &mut value[..])?;
            value.truncate(length);
            attributes.insert(name.to_vec(), value);
        }
        Ok(attributes)
    }

    /// Path of the descriptor, since the calls for attributes take none opened like this.
    fn link(&self) -> String {
        format!("/proc/self/fd/{}", self.open.as_raw_fd())
    }
}

fn flag(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

fn place(open: &OwnedFd) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", open.as_raw_fd()))
}
