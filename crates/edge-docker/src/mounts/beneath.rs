//! Walk through directories of apps, which a container can change at any time: from an
//! open directory to the next, over no link and no mount.
//!
//! Names alone would be resolved again at every use, and a container could put a link
//! where its directory was in between. `openat2(2)` refuses that in the kernel.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use edge_common::Root;
use edge_common::contract::path;
use edge_docker_policy::refusal::refuse;
use edge_signature::valid_app;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat2};
use rustix::io::Errno;

/// Opens `/data/apps` or `/data/sandbox`, which only root can change; returns it with the
/// name of the app whose directory `directory` is.
pub(crate) fn parent<'a>(root: &Root, directory: &'a str) -> Result<(OwnedFd, &'a str)> {
    let (parent, name) = directory
        .rsplit_once('/')
        .context("a directory without a parent")?;
    // Also for a path of edge-docker itself: it may come from a record on /data.
    if ![path::APPS, path::SANDBOX].contains(&parent) || !valid_app(name) {
        return Err(refuse(format_args!(
            "{directory:?} is not an app's directory"
        )));
    }
    // Links above the directory of an app can only be made by root.
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    let at = root.path(parent);
    let opened = openat2(CWD, at, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
    Ok((opened.with_context(|| format!("opening {parent}"))?, name))
}

/// Opens `name` in `directory`: below it, over no link and on the same mount.
pub(crate) fn open(directory: impl AsFd, name: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    // NO_XDEV: a mount inside of the directory shows data that is not the app's own.
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let opened = openat2(
        directory,
        name,
        flags | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )?;
    // With O_PATH and O_NOFOLLOW the kernel opens a link itself.
    if flags.contains(OFlags::PATH) && kind(&opened)? == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    Ok(opened)
}

/// Opens `name`, or creates it as a directory; `created` is called for a new one.
pub(crate) fn open_or_create(
    directory: impl AsFd,
    name: &str,
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

/// Returns the kind of an open file.
pub(crate) fn kind(file: impl AsFd) -> rustix::io::Result<FileType> {
    Ok(FileType::from_raw_mode(fstat(file)?.st_mode))
}

/// Tells whether `error` means a link, another mount, or no directory in between.
pub(crate) fn leads_elsewhere(error: Errno) -> bool {
    matches!(error, Errno::LOOP | Errno::XDEV | Errno::NOTDIR)
}
