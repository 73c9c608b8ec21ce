//! Mount clones: sources of mounts that nobody but root can move.
//!
//! Docker walks a mount's source again at every start, and a container can put a link
//! where its directory was. So each source is resolved once, over no link
//! ([`super::beneath`]), and a clone of its mount is placed below [`DIRECTORY`], which is
//! root's alone; docker gets that path. After a reboot the boot audit creates the clones
//! again, from records, before the engine starts. See
//! `docs/decisions/0018-mount-clones.md`.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_common::{Root, file, hex};
use edge_docker_policy::mounts::{CloneRecord, DIRECTORY, Owner, is_key, is_plain};
use edge_docker_policy::refusal::refuse;
use rustix::fs::{AtFlags, CWD, FileType, Gid, OFlags, Uid, chownat, fstat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};

use super::beneath;

/// Directory of the records, root's alone.
// The old word for clones stays on devices: docs/decisions/0021-names-on-devices-stay.md.
const RECORDS: &str = "/data/config/edge-docker/pins";
/// Largest record, in bytes.
const MAX_RECORD_BYTES: u64 = 64 * 1024;

/// Returns a new key: 32 hex digits that no container can guess.
pub(crate) fn new_key() -> Result<String> {
    let mut random = [0; 16];
    let mut source = fs::File::open("/dev/urandom").context("creating a key")?;
    source.read_exact(&mut random).context("creating a key")?;
    Ok(hex::encode(random))
}

/// Clones the mounts of `record` under `key`, creates missing directories with `owner`,
/// and writes the record, `durable` where it has to survive a power loss. On failure
/// nothing is left.
pub(crate) fn create(
    root: &Root,
    key: &str,
    record: &CloneRecord,
    owner: Option<Owner>,
    durable: bool,
) -> Result<()> {
    file::create_directory(&root.path(RECORDS), 0o700)?;
    let text = serde_json::to_vec(record).context("writing a mount record")?;
    // The record first: clones without one would never be collected.
    let write = if durable { file::write } else { file::put };
    write(&record_path(root, key), &text, 0o600)?;
    let result = clone_all(root, key, record, owner);
    if result.is_err() {
        remove(root, key)?;
    }
    result
}

/// Creates the clones of a record again, as at boot, and directories that are gone; on
/// failure none of the clones is left.
pub(crate) fn restore(root: &Root, key: &str, record: &CloneRecord) -> Result<()> {
    // The audit precedes every start of the engine, and clones from before a mere restart
    // would be in the way.
    detach(root, key)?;
    let result = clone_all(root, key, record, None);
    if result.is_err() {
        detach(root, key)?;
    }
    result
}

fn clone_all(root: &Root, key: &str, record: &CloneRecord, owner: Option<Owner>) -> Result<()> {
    let place = root.path(DIRECTORY).join(key);
    let mut builder = fs::DirBuilder::new();
    let created = builder.recursive(true).mode(0o700).create(&place);
    created.with_context(|| format!("creating {DIRECTORY}/{key}"))?;
    let (parent, app) = beneath::parent(root, &record.directory)?;
    let directory = step(&parent, &record.directory, app, None)?;
    for (number, below) in record.below.iter().enumerate() {
        let source = resolve(&directory, &record.directory, below, owner)?;
        clone(&source, &place.join(number.to_string()))
            .with_context(|| format!("cloning the mount of {}/{below}", record.directory))?;
    }
    Ok(())
}

/// Opens the path `below`, each part by itself, and creates missing directories.
fn resolve(directory: &OwnedFd, name: &str, below: &str, owner: Option<Owner>) -> Result<OwnedFd> {
    let mut at = directory
        .try_clone()
        .context("opening the app's directory")?;
    if below.is_empty() {
        return Ok(at);
    }
    // Of a request it was checked; a record may have been edited on the disk.
    if !is_plain(below) {
        return Err(refuse(format_args!("{below:?} is not a plain path")));
    }
    // The record does not hold the container's user.
    let owner = owner.or_else(|| {
        let stat = fstat(directory).ok()?;
        let (user, group) = (stat.st_uid, stat.st_gid);
        Some(Owner { user, group })
    });
    let mut path = name.to_string();
    for part in below.split('/') {
        path = format!("{path}/{part}");
        at = step(&at, &path, part, owner)?;
    }
    // A container with the directory may have created a device node or a FIFO in it.
    let kind = beneath::kind(&at).context("reading the kind of a mount source")?;
    if !matches!(kind, FileType::Directory | FileType::RegularFile) {
        return Err(refuse(format_args!(
            "mounting {path} is refused: neither a directory nor a file"
        )));
    }
    Ok(at)
}

/// Opens one part of a path; creates it as a directory if it is absent.
fn step(at: &OwnedFd, path: &str, part: &str, owner: Option<Owner>) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW;
    let opened = beneath::open_or_create(at, part, flags, || match owner {
        Some(owner) => {
            let (user, group) = (Uid::from_raw(owner.user), Gid::from_raw(owner.group));
            chownat(at, part, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
        }
        None => Ok(()),
    });
    opened.map_err(|error| match error {
        error if beneath::leads_elsewhere(error) => refuse(format_args!(
            "mounting {path} is refused: a link, or not a directory of the app's own ({error})"
        )),
        error => anyhow::Error::from(error).context(format!("opening {path}")),
    })
}

/// Clones the mount at `source` onto `target`.
fn clone(source: &OwnedFd, target: &Path) -> Result<()> {
    if beneath::kind(source)? == FileType::Directory {
        let created = fs::DirBuilder::new().mode(0o700).create(target);
        created.context("creating the target of a clone")?;
    } else {
        fs::File::create_new(target).context("creating the target of a clone")?;
    }
    // Not recursive: mounts below the source stay out of the container.
    let clone = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    // By descriptor: behind the name could be a link by now.
    let tree = open_tree(source.as_fd(), "", clone).context("cloning a mount")?;
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(tree.as_fd(), "", CWD, target, empty).context("placing a mount")
}

/// Removes the clones of `key` and their record.
pub(crate) fn remove(root: &Root, key: &str) -> Result<()> {
    detach(root, key)?;
    match fs::remove_file(record_path(root, key)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing the mount record {key}"))
        }
        _ => Ok(()),
    }
}

/// Detaches the clones; a container that uses them keeps them until its end.
fn detach(root: &Root, key: &str) -> Result<()> {
    if !is_key(key) {
        bail!("{key:?} is not the key of mount clones");
    }
    let place = root.path(DIRECTORY).join(key);
    let entries = match fs::read_dir(&place) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("reading {DIRECTORY}/{key}")),
    };
    let context = || format!("removing the mount clones {key}");
    for entry in entries {
        let path = entry.with_context(context)?.path();
        // DETACH: a clone that a container uses is busy, and would block its removal.
        let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        // Clones may be mounted over each other: until EINVAL, "not a mount".
        while match unmount(&path, flags) {
            Ok(()) => true,
            Err(Errno::INVAL) => false,
            Err(error) => return Err(error).with_context(context),
        } {}
        // Without the mounts, only an empty directory or file is left.
        let removed = fs::remove_dir(&path).or_else(|_| fs::remove_file(&path));
        removed.with_context(context)?;
    }
    fs::remove_dir(&place).with_context(context)
}

/// Returns all records by key, a damaged one as its error.
pub(crate) fn records(root: &Root) -> Result<Vec<(String, Result<CloneRecord>)>> {
    let entries = match fs::read_dir(root.path(RECORDS)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {RECORDS}")),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry
            .with_context(|| format!("reading {RECORDS}"))?
            .file_name();
        let name = name.to_string_lossy().into_owned();
        if let Some(key) = name.strip_suffix(".json").filter(|k| is_key(k)) {
            found.push((key.to_string(), record(root, key)));
        }
    }
    Ok(found)
}

/// Reads the record of `key`.
pub(crate) fn record(root: &Root, key: &str) -> Result<CloneRecord> {
    if !is_key(key) {
        bail!("{key:?} is not the key of mount clones");
    }
    let text = file::read(&record_path(root, key), MAX_RECORD_BYTES)?;
    serde_json::from_slice(&text).with_context(|| format!("parsing the mount record {key}"))
}

fn record_path(root: &Root, key: &str) -> PathBuf {
    root.path(RECORDS).join(format!("{key}.json"))
}
