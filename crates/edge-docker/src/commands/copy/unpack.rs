//! Files and directories from a tar archive, each written completely or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_common::Root;
use edge_common::log::printable;
use edge_docker_policy::mounts::relative_parts;
use edge_docker_policy::refusal::refuse;
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, Uid, chownat, fchmod, fchown, fstat, openat, renameat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use super::place::Place;
use super::stream::Input;
use super::{Copied, MAX_DEPTH};
use crate::mounts::beneath;
use crate::start;

/// Bytes after the end of an archive that are read, so that its sender does not fail:
/// tar fills up to a multiple of its own block size.
const MAX_PADDING_BYTES: u64 = 1 << 20;
/// Length limit of the target of a link, in bytes.
const MAX_LINK_BYTES: usize = 4095;

/// Directory into which an archive goes.
pub(super) struct Target {
    directory: OwnedFd,
    /// Path of the copied file or directory in it; empty for the content of one.
    top: PathBuf,
    /// Whether what is written gets the owner of the directory that contains it. A file
    /// of the caller is the caller's anyway.
    gives_owner: bool,
}

impl Target {
    /// Opens the place of a copy to `file`, in a thread that has the caller's rights.
    /// `name` is the name of the copied file, empty for the content of a directory.
    pub(super) fn of_caller(root: &Root, file: &str, name: OsString) -> Result<Self> {
        let open = |path: &Path| {
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
            match (path.is_absolute(), start::caller_directory()) {
                (true, _) => openat(CWD, root.path(path), flags, Mode::empty()),
                (false, None) => Err(Errno::NOENT),
                (false, Some(start)) if path.as_os_str().is_empty() => {
                    openat(start, ".", flags, Mode::empty())
                }
                (false, Some(start)) => openat(start, path, flags, Mode::empty()),
            }
        };
        let found = place(open, Path::new(file), name);
        let (directory, top) = found.with_context(|| format!("opening {}", printable(file)))?;
        Ok(Self {
            directory,
            top,
            gives_owner: false,
        })
    }

    /// Opens the place of a copy of a file named `name` in an app.
    pub(super) fn of_app(at: &Place, name: OsString) -> Result<Self> {
        let found = place(|path| at.directory(path), at.below(), name);
        let (directory, top) = found.map_err(|error| at.explain(error))?;
        Ok(Self {
            directory,
            top,
            gives_owner: true,
        })
    }

    /// Opens a directory of an app, into which an archive goes.
    pub(super) fn directory(at: &Place) -> Result<Self> {
        let directory = at.directory(at.below());
        Ok(Self {
            directory: directory.map_err(|error| at.explain(error))?,
            top: PathBuf::new(),
            gives_owner: true,
        })
    }

    /// Returns the path of the copied file or directory in the archive.
    pub(super) fn top(&self) -> &Path {
        &self.top
    }

    /// Writes what the archive contains.
    ///
    /// # Errors
    /// An entry is refused or cannot be written, or the archive ended early. What came
    /// before stays.
    pub(super) fn unpack(&self, input: Input) -> Result<Copied> {
        let mut copied = Copied::default();
        let mut archive = Archive::new(input);
        let entries = archive.entries().context("reading the archive")?;
        for entry in entries {
            let mut entry = entry.context("reading the archive")?;
            copied.add(entry.size())?;
            let path = entry.path().context("reading the archive")?.into_owned();
            self.apply(&path, &mut entry)
                .with_context(|| format!("writing {}", printable(&path.to_string_lossy())))?;
        }
        let mut input = archive.into_inner();
        if !input.is_complete() {
            bail!("the archive ended early: what came before the end was written");
        }
        std::io::copy(
            &mut input.by_ref().take(MAX_PADDING_BYTES),
            &mut std::io::sink(),
        )
        .context("reading the archive")?;
        Ok(copied)
    }

    fn apply<R: Read>(&self, path: &Path, entry: &mut Entry<R>) -> Result<()> {
        let kind = entry.header().entry_type();
        // Comments for the whole archive, as of `git archive`.
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let parts = relative_parts(path).filter(|parts| parts.len() <= MAX_DEPTH);
        let mut parts = parts.ok_or_else(|| refuse("cp: no path below the directory"))?;
        let last = parts.pop();
        let mut at = self
            .directory
            .try_clone()
            .context("opening the directory")?;
        for part in parts {
            at = self.enter(&at, part)?;
        }
        let Some(last) = last else {
            // The entry `./` of `tar -C DIRECTORY c .`
            return Ok(());
        };
        match kind {
            EntryType::Directory => self.enter(&at, last).map(drop),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.write(&at, last, entry)
            }
            EntryType::Symlink => {
                let target = entry.link_name().context("reading the archive")?;
                let target = target.context("a link without a target")?;
                if target.as_os_str().len() > MAX_LINK_BYTES {
                    return Err(refuse("cp: the target of the link is too long"));
                }
                self.link(&at, last, &target)
            }
            EntryType::Link => Err(refuse(
                "cp: hard links are refused: make the archive with tar --hard-dereference",
            )),
            _ => Err(refuse(
                "cp: only files, directories and links are taken, no devices and FIFOs",
            )),
        }
    }

    /// Opens the directory `name`, or creates it.
    fn enter(&self, at: &OwnedFd, name: &OsStr) -> Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY;
        let opened = beneath::open_or_create(at, name, flags, || match self.owner(at)? {
            Some((user, group)) => {
                chownat(at, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
            }
            None => Ok(()),
        });
        opened.map_err(|error| match error {
            error if beneath::leads_elsewhere(error) => refuse(format_args!(
                "cp: a link, a file or another mount is in its place: remove it first ({error})"
            )),
            error => error.into(),
        })
    }

    /// Returns the owner that an entry of the directory `at` gets; `None` for the owner of
    /// this thread.
    fn owner(&self, at: &OwnedFd) -> rustix::io::Result<Option<(Uid, Gid)>> {
        if !self.gives_owner {
            return Ok(None);
        }
        let stat = fstat(at)?;
        Ok(Some((
            Uid::from_raw(stat.st_uid),
            Gid::from_raw(stat.st_gid),
        )))
    }

    /// Replaces a file atomically.
    fn write<R: Read>(&self, at: &OwnedFd, name: &OsStr, entry: &mut Entry<R>) -> Result<()> {
        let (size, mode) = (entry.size(), entry.header().mode().unwrap_or(0));
        let temporary = temporary();
        let mut file = File::from(create(at, &temporary)?);
        let written = (|| {
            if std::io::copy(entry, &mut file)? != size {
                bail!("the archive ended early");
            }
            if let Some((user, group)) = self.owner(at)? {
                fchown(&file, Some(user), Some(group))?;
            }
            // Not setuid and the like, and always writable for the owner.
            fchmod(&file, Mode::from_raw_mode(mode & 0o777 | 0o600))?;
            replace(at, &temporary, name)
        })();
        if written.is_err() {
            let _ = unlinkat(at, &temporary, AtFlags::empty());
        }
        written
    }

    /// Replaces a link atomically.
    fn link(&self, at: &OwnedFd, name: &OsStr, target: &Path) -> Result<()> {
        let temporary = temporary();
        symlinkat(target, at, &temporary)?;
        let linked = (|| {
            if let Some((user, group)) = self.owner(at)? {
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                chownat(at, &temporary, Some(user), Some(group), flags)?;
            }
            replace(at, &temporary, name)
        })();
        if linked.is_err() {
            let _ = unlinkat(at, &temporary, AtFlags::empty());
        }
        linked
    }
}

/// Returns the name of an unfinished file.
fn temporary() -> String {
    format!(".edge-cp-{}", std::process::id())
}

fn create(at: &OwnedFd, temporary: &str) -> rustix::io::Result<OwnedFd> {
    match beneath::create(at, temporary) {
        // A process that was killed left it, or the container created it as a trap.
        Err(Errno::EXIST) => {
            unlinkat(at, temporary, AtFlags::empty())?;
            beneath::create(at, temporary)
        }
        created => created,
    }
}

fn replace(at: &OwnedFd, temporary: &str, name: &OsStr) -> Result<()> {
    match renameat(at, temporary, at, name) {
        Err(Errno::ISDIR) => bail!("a directory is in its place: remove it first"),
        renamed => Ok(renamed?),
    }
}

/// Returns the directory into which a copy to `path` goes, and the path of the copy in
/// it: `name` in an existing directory, empty for the content of one, otherwise another
/// name in its parent. `open` opens a directory.
fn place(
    open: impl Fn(&Path) -> rustix::io::Result<OwnedFd>,
    path: &Path,
    name: OsString,
) -> rustix::io::Result<(OwnedFd, PathBuf)> {
    let missing = match open(path) {
        Ok(directory) => return Ok((directory, name.into())),
        Err(error @ (Errno::NOENT | Errno::NOTDIR)) => error,
        Err(error) => return Err(error),
    };
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(last)) => Ok((open(parent)?, last.into())),
        _ => Err(missing),
    }
}
