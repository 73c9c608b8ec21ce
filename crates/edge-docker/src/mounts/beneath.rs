//! Traversal of the directories of apps, which a container can change at any time: each
//! entry is opened relative to an open directory, without following a link or crossing to
//! another mount.
//!
//! A path would be resolved again at every use, and a container could replace a directory
//! by a link in between. `openat2(2)` prevents this in the kernel.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use edge_common::Root;
use edge_common::contract::path;
use edge_docker_policy::refusal::refuse;
use edge_signature::valid_app;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat2};
use rustix::io::Errno;
use rustix::path::Arg;

/// Resolution of a path below an app's directory: no link is followed and no other mount
/// entered, because a mount inside the directory shows data that does not belong to the
/// app.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Opens the parent of the app's directory `directory`: `/data/apps` or `/data/sandbox`,
/// which only root can change. Returns the open parent and the name of the app.
pub(crate) fn parent<'a>(root: &Root, directory: &'a str) -> Result<(OwnedFd, &'a str)> {
    let (parent, name) = directory
        .rsplit_once('/')
        .context("a directory without a parent")?;
    // Checked even for paths that edge-docker wrote, because a record on /data may be
    // forged.
    if ![path::APPS, path::SANDBOX].contains(&parent) || !valid_app(name) {
        return Err(refuse(format_args!(
            "{directory:?} is not an app's directory"
        )));
    }
    // Links are followed here: only root can create one above the directory of an app.
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    let at = root.path(parent);
    let opened = openat2(CWD, at, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
    Ok((opened.with_context(|| format!("opening {parent}"))?, name))
}

/// Opens the relative path `name` below `directory`, without following a link or crossing
/// to another mount.
pub(crate) fn open(
    directory: impl AsFd,
    name: impl Arg,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let opened = openat2(
        directory,
        name,
        flags | OFlags::CLOEXEC,
        Mode::empty(),
        BENEATH,
    )?;
    // With O_PATH and O_NOFOLLOW the kernel opens the link itself and reports no error.
    if flags.contains(OFlags::PATH) && kind(&opened)? == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    Ok(opened)
}

/// Opens the entry `name` of `directory` with `O_PATH`, a link itself and not what it leads
/// to.
pub(crate) fn open_entry(directory: impl AsFd, name: impl Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(directory, name, flags, Mode::empty(), BENEATH)
}

/// Creates the file `name` in `directory` with mode 0600; an existing file is an error.
pub(crate) fn create(directory: impl AsFd, name: impl Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let mode = Mode::from_raw_mode(0o600);
    openat2(directory, name, flags | OFlags::CLOEXEC, mode, BENEATH)
}

/// Opens `name` in `directory`; if it is absent, creates a directory and calls `created`
/// before opening it.
pub(crate) fn open_or_create(
    directory: impl AsFd,
    name: impl Arg + Copy,
    flags: OFlags,
    created: impl FnOnce() -> rustix::io::Result<()>,
) -> rustix::io::Result<OwnedFd> {
    match open(&directory, name, flags) {
        Err(Errno::NOENT) => {
            match mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
                Ok(()) => created()?,
                // Another process was faster; its entry is checked like any other.
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            open(directory, name, flags)
        }
        opened => opened,
    }
}

/// Returns the file type of an open descriptor, also of one opened with `O_PATH`.
pub(crate) fn kind(file: impl AsFd) -> rustix::io::Result<FileType> {
    Ok(FileType::from_raw_mode(fstat(file)?.st_mode))
}

/// Returns whether [`open`] failed because of a link, another mount, or a component that
/// is not a directory.
pub(crate) fn leads_elsewhere(error: Errno) -> bool {
    matches!(error, Errno::LOOP | Errno::XDEV | Errno::NOTDIR)
}
