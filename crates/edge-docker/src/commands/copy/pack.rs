//! Tar archive of a file or directory, written while it is read.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read as _, Write};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use edge_common::Root;
use edge_common::log::printable;
use edge_docker_policy::refusal::refuse;
use rustix::fs::{
    CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, readlinkat,
};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

use super::{Copied, MAX_DEPTH, MAX_ENTRIES};
use crate::start;

/// File or directory that is copied.
pub(super) struct Source {
    /// The file or directory itself, or a link, opened with `O_PATH`.
    at: OwnedFd,
    /// Its path in the archive; empty for the content of a directory.
    top: PathBuf,
}

/// Writer that ends with an error once the archive is known to be incomplete: the archive
/// must not get the end of a complete one.
struct Output<W> {
    to: W,
    is_broken: Rc<std::cell::Cell<bool>>,
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.is_broken.get() {
            true => Err(std::io::Error::other("the archive is incomplete")),
            false => self.to.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

impl Source {
    pub(super) fn new(at: OwnedFd, top: PathBuf) -> Self {
        Self { at, top }
    }

    /// Opens a file of the caller, in a thread that has the caller's rights. Returns its
    /// name, which is empty for the content of a directory.
    pub(super) fn of_caller(root: &Root, file: &str) -> Result<(OwnedFd, OsString)> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let at = match file.starts_with('/') {
            true => openat(CWD, root.path(file), flags, Mode::empty()),
            false => {
                let start = start::caller_directory();
                let start = start.context("the working directory does not exist any more")?;
                openat(start, file, flags, Mode::empty())
            }
        };
        let at = at.with_context(|| format!("opening {}", printable(file)))?;
        let path = Path::new(file);
        let is_content = file == "." || file.ends_with("/.");
        let name = match path.file_name() {
            _ if is_content => OsString::new(),
            Some(name) => name.into(),
            None => {
                return Err(refuse(format_args!(
                    "cp: {file:?} has no name in its directory: give {file}/. for the content"
                )));
            }
        };
        Ok((at, name))
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// Something cannot be read, or exceeds a limit. The archive has no end then.
    pub(super) fn pack(self, to: impl Write) -> Result<Copied> {
        let is_broken = Rc::new(std::cell::Cell::new(false));
        let output = Output {
            to,
            is_broken: Rc::clone(&is_broken),
        };
        let mut packer = Packer {
            archive: Builder::new(output),
            copied: Copied::default(),
        };
        let packed = packer.entry(&self.at, &self.top, 0).and_then(|()| {
            packer.archive.finish()?;
            Ok(packer.archive.get_mut().flush()?)
        });
        is_broken.set(packed.is_err());
        packed.map(|()| packer.copied)
    }
}

struct Packer<W: Write> {
    archive: Builder<Output<W>>,
    copied: Copied,
}

impl<W: Write> Packer<W> {
    /// Adds the file, directory or link that is opened as `at`.
    fn entry(&mut self, at: &OwnedFd, path: &Path, depth: usize) -> Result<()> {
        let context = || format!("reading {}", printable(&path.to_string_lossy()));
        let stat = fstat(at).with_context(context)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                if depth == MAX_DEPTH {
                    bail!("{}: deeper than {MAX_DEPTH} directories", context());
                }
                if !path.as_os_str().is_empty() {
                    self.copied.add(0)?;
                    let mut header = header(&stat, EntryType::Directory, 0);
                    self.archive.append_data(&mut header, path, &b""[..])?;
                }
                self.directory(at, path, depth).with_context(context)
            }
            FileType::RegularFile => {
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                self.copied.add(size)?;
                let file = File::from(reopen(at, OFlags::RDONLY).with_context(context)?);
                // A file that shrinks meanwhile is filled up, or the entries after it
                // would begin at another place than its header says.
                let content = file.take(size).chain(std::io::repeat(0)).take(size);
                let mut header = header(&stat, EntryType::Regular, size);
                self.archive
                    .append_data(&mut header, named(path)?, content)?;
                Ok(())
            }
            FileType::Symlink => {
                self.copied.add(0)?;
                let target = readlinkat(at, "", Vec::new()).with_context(context)?;
                let target = OsString::from_vec(target.into_bytes());
                let mut header = header(&stat, EntryType::Symlink, 0);
                self.archive
                    .append_link(&mut header, named(path)?, target)?;
                Ok(())
            }
            _ if depth == 0 => Err(refuse(
                "cp takes files, directories and links, no devices, FIFOs and sockets",
            )),
            _ => {
                self.copied.skip(&path.to_string_lossy());
                Ok(())
            }
        }
    }

    fn directory(&mut self, at: &OwnedFd, path: &Path, depth: usize) -> Result<()> {
        for name in names(at)? {
            let name = OsStr::from_bytes(&name);
            match open(at.as_fd(), name) {
                Ok(entry) => self.entry(&entry, &path.join(name), depth + 1)?,
                // Removed meanwhile.
                Err(Errno::NOENT) => {}
                // Another mount, which shows what does not belong to the app.
                Err(Errno::XDEV) => self.copied.skip(&path.join(name).to_string_lossy()),
                Err(error) => return Err(error).context("opening an entry"),
            }
        }
        Ok(())
    }
}

/// Refuses the content of something that is no directory.
fn named(path: &Path) -> Result<&Path> {
    match path.as_os_str().is_empty() {
        true => Err(refuse(
            "cp: /. is for directories: give the file without it",
        )),
        false => Ok(path),
    }
}

/// Opens an entry of a directory with `O_PATH`, also a link.
fn open(directory: BorrowedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV;
    openat2(directory, name, flags, Mode::empty(), resolve)
}

/// Opens what a descriptor of `O_PATH` refers to. By a name the container could have put
/// a device or a FIFO in its place, and opening one may block or have an effect.
fn reopen(at: &OwnedFd, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", at.as_raw_fd());
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    openat(CWD, path, flags, Mode::empty())
}

/// Returns the names in a directory, sorted, each once: under a name that came twice, a
/// reader of the archive could follow the first entry, a link, when it writes the second.
fn names(at: &OwnedFd) -> Result<Vec<Vec<u8>>> {
    let directory = reopen(at, OFlags::RDONLY | OFlags::DIRECTORY);
    let directory = directory.context("opening the directory")?;
    let mut names = Vec::new();
    for entry in Dir::new(directory).context("reading the directory")? {
        let name = entry.context("reading the directory")?;
        let name = name.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
        if names.len() as u64 > MAX_ENTRIES {
            bail!("more than {MAX_ENTRIES} files: copy parts of it");
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

fn header(stat: &Stat, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    // Without setuid, setgid and sticky: a reader may extract as root.
    header.set_mode(stat.st_mode & 0o777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_size(size);
    header
}
