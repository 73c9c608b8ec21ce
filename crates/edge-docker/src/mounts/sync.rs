//! `sync APP`: files straight into the directory of a sandbox, batch by batch.
//!
//! Standard input holds tar archives one after the other; each is a batch, and a
//! line on standard output says that it is done, so that one process serves as
//! long as somebody edits. Regular files and directories are taken; `.wh.NAME` takes
//! NAME away, as in the layers of images. The container may write to the directory
//! too, and is not trusted: every step goes from an open directory to the next, over
//! no link and no mount, and a file is whole or not there.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use anyhow::{Context, Result, bail};
use edge_common::Root;
use edge_common::log::printable;
use edge_signature::valid_app;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fchmod, mkdirat, openat2, renameat,
    statat, unlinkat,
};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use edge_docker_policy::refusal::refuse;

use crate::trust;

const SANDBOX: &str = "/data/sandbox";
const WHITEOUT: &str = ".wh.";
const BLOCK: usize = 512;
/// Largest file, in bytes.
const LARGEST: u64 = 1 << 30;
/// Most entries of a batch.
const MOST: usize = 100_000;
/// Deepest directory that is taken or taken away.
const DEEPEST: usize = 64;

/// Reads batches until standard input ends.
///
/// # Errors
/// Refused, or a file that cannot be written: then the batch is left half done.
pub fn command(root: &Root, words: &[&str]) -> Result<()> {
    let [app] = words else {
        return Err(refuse("sync takes the name of an app and nothing else"));
    };
    if !valid_app(app) {
        return Err(refuse(format_args!(
            "sync: {app:?} is not the name of an app"
        )));
    }
    trust::load(root)?.sandbox_allowed("sync")?;
    let directory = open(root, app)?;
    let mut input = BufReader::with_capacity(256 * 1024, std::io::stdin().lock());
    batches(&directory, &mut input, &mut std::io::stdout())
}

fn open(root: &Root, app: &str) -> Result<OwnedFd> {
    let above = openat2(
        CWD,
        root.path(SANDBOX),
        OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    );
    let above = above.with_context(|| format!("opening {SANDBOX}"))?;
    below(above.as_fd(), app, true)
}

/// The directory `name` of `directory`; made if it is absent and `make` says so.
fn below(directory: BorrowedFd, name: &str, make: bool) -> Result<OwnedFd> {
    let enter = || {
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        openat2(directory, name, flags, Mode::empty(), resolve)
    };
    let entered = match enter() {
        Err(Errno::NOENT) if make => {
            match mkdirat(directory, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error).with_context(|| format!("creating {name:?}")),
            }
            enter()
        }
        other => other,
    };
    entered.map_err(|error| match error {
        Errno::LOOP | Errno::XDEV | Errno::NOTDIR => refuse(format_args!(
            "sync: {name:?} on the device is no directory of its own"
        )),
        error => anyhow::Error::new(error).context(format!("opening {name:?}")),
    })
}

fn batches(directory: &OwnedFd, input: &mut impl Read, output: &mut impl Write) -> Result<()> {
    while let Some(block) = first_block(input)? {
        let (mut changed, mut removed) = (0, 0);
        let mut archive = Archive::new((&block[..]).chain(&mut *input));
        let entries = archive.entries().context("reading the archive")?;
        for (number, entry) in entries.enumerate() {
            if number == MOST {
                return Err(refuse(format_args!(
                    "sync: more than {MOST} entries in a batch"
                )));
            }
            match apply(directory, &mut entry.context("reading the archive")?)? {
                Applied::Changed => changed += 1,
                Applied::Removed => removed += 1,
            }
        }
        writeln!(output, "{changed} changed, {removed} removed")
            .and_then(|()| output.flush())
            .context("writing to standard output")?;
    }
    Ok(())
}

/// The first block of the next archive: between two there are empty ones.
fn first_block(input: &mut impl Read) -> Result<Option<[u8; BLOCK]>> {
    let mut block = [0; BLOCK];
    loop {
        let mut length = 0;
        while length < BLOCK {
            match input
                .read(&mut block[length..])
                .context("reading the archive")?
            {
                0 if length == 0 => return Ok(None),
                0 => bail!("reading the archive: it ended early"),
                more => length += more,
            }
        }
        if block.iter().any(|byte| *byte != 0) {
            return Ok(Some(block));
        }
    }
}

enum Applied {
    Changed,
    Removed,
}

fn apply<R: Read>(directory: &OwnedFd, entry: &mut Entry<R>) -> Result<Applied> {
    let path = entry.path().context("reading the archive")?.into_owned();
    let kind = entry.header().entry_type();
    let mut names = names(&path)?;
    let Some(last) = names.pop() else {
        return Ok(Applied::Changed);
    };
    let gone = last.strip_prefix(WHITEOUT);
    let mut at = directory.try_clone().context("opening the directory")?;
    for name in &names {
        match below(at.as_fd(), name, gone.is_none()) {
            Ok(next) => at = next,
            Err(error) if gone.is_some() && error.downcast_ref() == Some(&Errno::NOENT) => {
                return Ok(Applied::Removed);
            }
            Err(error) => return Err(error),
        }
    }
    let context = || format!("writing {}", printable(&path.to_string_lossy()));
    match (gone, kind) {
        (Some(name), EntryType::Regular) if !name.is_empty() && !name.starts_with(WHITEOUT) => {
            remove(at.as_fd(), name, 0).with_context(context)?;
            Ok(Applied::Removed)
        }
        (None, EntryType::Directory) => below(at.as_fd(), last, true).map(|_| Applied::Changed),
        (None, EntryType::Regular) => {
            put(at.as_fd(), last, entry).with_context(context)?;
            Ok(Applied::Changed)
        }
        _ => Err(refuse(format_args!(
            "sync takes regular files and directories only: {}",
            printable(&path.to_string_lossy())
        ))),
    }
}

/// The names of a path below the directory.
fn names(path: &Path) -> Result<Vec<&str>> {
    let bad = || {
        let path = printable(&path.to_string_lossy());
        refuse(format_args!("sync: {path} is no path below the directory"))
    };
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_str().ok_or_else(bad)?),
            _ => return Err(bad()),
        }
    }
    if names.len() > DEEPEST {
        return Err(bad());
    }
    Ok(names)
}

/// A new file in the place of an old one, at once. No owner, no time and none
/// of the bits that give rights are taken over.
fn put<R: Read>(directory: BorrowedFd, name: &str, entry: &mut Entry<R>) -> Result<()> {
    let size = entry.size();
    if size > LARGEST {
        return Err(refuse(format_args!(
            "sync: {name:?} is larger than {LARGEST} bytes"
        )));
    }
    let executable = entry.header().mode().unwrap_or(0) & 0o111 != 0;
    let temporary = format!(".edge-sync-{}", std::process::id());
    match unlinkat(directory, &temporary, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let mut file = File::from(openat2(directory, &temporary, flags, mode, resolve)?);
    let written = (|| {
        if std::io::copy(entry, &mut file)? != size {
            bail!("the archive ended early");
        }
        fchmod(
            &file,
            Mode::from_raw_mode(if executable { 0o755 } else { 0o644 }),
        )?;
        Ok(renameat(directory, &temporary, directory, name)?)
    })();
    if written.is_err() {
        let _ = unlinkat(directory, &temporary, AtFlags::empty());
    }
    written
}

/// Takes away a file, or a directory with what is in it; over no link.
fn remove(directory: BorrowedFd, name: &str, depth: usize) -> Result<()> {
    let kind = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if kind != FileType::Directory {
        return Ok(unlinkat(directory, name, AtFlags::empty())?);
    }
    if depth == DEEPEST {
        bail!("removing {name:?}: deeper than {DEEPEST} directories");
    }
    let inner = below(directory, name, false)?;
    for entry in Dir::read_from(&inner)? {
        let entry = entry?;
        let name = entry
            .file_name()
            .to_str()
            .context("a name that is not UTF-8")?;
        if name != "." && name != ".." {
            remove(inner.as_fd(), name, depth + 1)?;
        }
    }
    Ok(unlinkat(directory, name, AtFlags::REMOVEDIR)?)
}

#[cfg(test)]
mod tests;
