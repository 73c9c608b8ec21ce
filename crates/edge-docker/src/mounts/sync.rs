//! `sync APP`: writes files to the directory of a sandbox app, in batches.
//!
//! Standard input is a sequence of tar archives. Each archive is a batch, which a line on
//! standard output acknowledges, so that one process serves a whole editing session.
//! Regular files and directories are written; an entry `.wh.NAME` removes NAME, as in the
//! layers of container images.
//!
//! The container may write to the directory at the same time and is not trusted. So each
//! entry is opened relative to an open directory ([`super::beneath`]), and each file is
//! replaced atomically.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_common::Root;
use edge_common::contract::limit::SYNC_FILE_BYTES;
use edge_common::contract::path::SANDBOX;
use edge_common::log::printable;
use edge_docker_policy::mounts::relative_parts;
use edge_docker_policy::refusal::refuse;
use edge_signature::valid_app;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fchmod, renameat, statat, unlinkat};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use super::beneath;
use crate::{ledger, trust};

/// Prefix of the name of an entry that removes a file or directory.
const WHITEOUT: &str = ".wh.";
/// Size of a block of a tar archive, in bytes.
const BLOCK_BYTES: usize = 512;
/// Maximum number of entries in a batch, which is one tar archive.
const MAX_BATCH_ENTRIES: usize = 100_000;
/// Maximum depth of directories below the app's directory.
const MAX_DEPTH: usize = 64;

/// Carries out `sync APP`: writes batches until standard input ends. If an entry fails,
/// the previous entries of its batch stay written.
pub(crate) fn run(root: &Root, args: &[&str]) -> Result<()> {
    let [app] = args else {
        return Err(refuse("sync takes the name of an app and nothing else"));
    };
    if !valid_app(app) {
        return Err(refuse(format_args!(
            "sync: {app:?} is not the name of an app"
        )));
    }
    trust::load(root)?.sandbox_allowed("sync")?;
    ledger::record(root, "sync")?;
    let directory = open(root, app)?;
    let mut input = BufReader::with_capacity(256 * 1024, std::io::stdin().lock());
    write_batches(&directory, &mut input, &mut std::io::stdout())
}

fn open(root: &Root, app: &str) -> Result<OwnedFd> {
    let directory = format!("{SANDBOX}/{app}");
    let (parent, name) = beneath::parent(root, &directory)?;
    enter(parent.as_fd(), name, true)
}

/// Opens the directory `name` in `directory`; with `create`, creates it if it is absent.
fn enter(directory: BorrowedFd, name: &str, create: bool) -> Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY;
    let opened = match create {
        true => beneath::open_or_create(directory, name, flags, || Ok(())),
        false => beneath::open(directory, name, flags),
    };
    opened.map_err(|error| match error {
        error if beneath::leads_elsewhere(error) => refuse(format_args!(
            "sync: {name:?} on the device is a link, a file or another mount: remove it first"
        )),
        error => anyhow::Error::new(error).context(format!("opening {name:?}")),
    })
}

fn write_batches(
    directory: &OwnedFd,
    input: &mut impl Read,
    output: &mut impl Write,
) -> Result<()> {
    while let Some(block) = first_block(input)? {
        let (mut changed, mut removed) = (0, 0);
        let mut archive = Archive::new((&block[..]).chain(&mut *input));
        let entries = archive.entries().context("reading the archive")?;
        for (number, entry) in entries.enumerate() {
            if number == MAX_BATCH_ENTRIES {
                return Err(refuse(format_args!(
                    "sync: more than {MAX_BATCH_ENTRIES} entries in a batch"
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

/// Reads the first block of the next archive, after the zero blocks that end the previous
/// one. Returns `None` at the end of the input.
fn first_block(input: &mut impl Read) -> Result<Option<[u8; BLOCK_BYTES]>> {
    let mut block = [0; BLOCK_BYTES];
    loop {
        let mut length = 0;
        while length < BLOCK_BYTES {
            match input
                .read(&mut block[length..])
                .context("reading the archive")?
            {
                0 if length == 0 => return Ok(None),
                0 => bail!("reading the archive: it ended early"),
                more => length += more,
            }
        }
        // A tar archive ends with two zero blocks, and tar adds more of them as padding.
        if block.iter().any(|byte| *byte != 0) {
            return Ok(Some(block));
        }
    }
}

/// Effect of an entry, counted for the line that acknowledges the batch.
enum Applied {
    Changed,
    Removed,
}

fn apply<R: Read>(directory: &OwnedFd, entry: &mut Entry<R>) -> Result<Applied> {
    let path = entry.path().context("reading the archive")?.into_owned();
    let kind = entry.header().entry_type();
    let mut names = names(&path)?;
    let Some(last) = names.pop() else {
        // An entry `./`, with which the archive of `tar -C DIRECTORY .` begins.
        return Ok(Applied::Changed);
    };
    let removed = last.strip_prefix(WHITEOUT);
    let mut at = directory.try_clone().context("opening the directory")?;
    for name in &names {
        // An entry that removes a file does not create the directories above it.
        match enter(at.as_fd(), name, removed.is_none()) {
            Ok(next) => at = next,
            Err(error) if removed.is_some() && error.downcast_ref() == Some(&Errno::NOENT) => {
                return Ok(Applied::Removed);
            }
            Err(error) => return Err(error),
        }
    }
    let context = || format!("writing {}", printable(&path.to_string_lossy()));
    match (removed, kind) {
        (Some(name), EntryType::Regular) if !name.is_empty() && !name.starts_with(WHITEOUT) => {
            remove(at.as_fd(), name, 0).with_context(context)?;
            Ok(Applied::Removed)
        }
        (None, EntryType::Directory) => enter(at.as_fd(), last, true).map(|_| Applied::Changed),
        (None, EntryType::Regular) => {
            write(at.as_fd(), last, entry).with_context(context)?;
            Ok(Applied::Changed)
        }
        _ => Err(refuse(format_args!(
            "sync takes regular files and directories only: {}",
            printable(&path.to_string_lossy())
        ))),
    }
}

/// Returns the components of the path of an entry; refuses a path that leads out of the
/// app's directory or is too deep.
fn names(path: &Path) -> Result<Vec<&str>> {
    let names = relative_parts(path).and_then(|parts| {
        let names = parts.into_iter().map(|part| part.to_str());
        names.collect::<Option<Vec<_>>>()
    });
    let names = names.filter(|names| names.len() <= MAX_DEPTH);
    names.ok_or_else(|| {
        let path = printable(&path.to_string_lossy());
        refuse(format_args!("sync: {path} is no path below the directory"))
    })
}

/// Replaces a file atomically. Only the executable bits are copied from the archive, not
/// its owner, time or setuid bits, because the sender must not grant rights.
fn write<R: Read>(directory: BorrowedFd, name: &str, entry: &mut Entry<R>) -> Result<()> {
    let size = entry.size();
    if size > SYNC_FILE_BYTES {
        return Err(refuse(format_args!(
            "sync: {name:?} is larger than {SYNC_FILE_BYTES} bytes"
        )));
    }
    let executable = entry.header().mode().unwrap_or(0) & 0o111 != 0;
    let temporary = format!(".edge-sync-{}", std::process::id());
    // A process that was killed left this file, or the container created it as a trap.
    match unlinkat(directory, &temporary, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let mut file = File::from(beneath::create(directory, &temporary)?);
    let written = (|| {
        if std::io::copy(entry, &mut file)? != size {
            bail!("the archive ended early");
        }
        // By descriptor, because the container may have replaced the file of this name.
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

/// Removes a file, or a directory with its content, without following links.
fn remove(directory: BorrowedFd, name: &str, depth: usize) -> Result<()> {
    let kind = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if kind != FileType::Directory {
        return Ok(unlinkat(directory, name, AtFlags::empty())?);
    }
    // A container can nest directories without limit, and each level needs an open
    // descriptor.
    if depth == MAX_DEPTH {
        bail!("removing {name:?}: deeper than {MAX_DEPTH} directories");
    }
    let inner = enter(directory, name, false)?;
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
