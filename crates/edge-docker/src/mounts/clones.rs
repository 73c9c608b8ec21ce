//! Mount clones: sources of mounts that only root can move.
//!
//! Docker resolves the path of a mount source again at every start, and a container could
//! replace a directory in it by a link. So edge-docker resolves each source once, without
//! following links ([`super::beneath`]), and places a clone of its mount below
//! [`DIRECTORY`], which is accessible to root only. Docker mounts the clone. After a
//! reboot the boot audit creates the clones again from their records, before the engine
//! starts. See `docs/decisions/0018-mount-clones.md`.

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

use super::{beneath, current};

/// Directory of the records, one `KEY.json` per container with mounts, accessible to root
/// only.
// `pins` is an old word for clones. Names on devices do not change, see
// docs/decisions/0021-names-on-devices-stay.md.
const RECORDS: &str = "/data/config/edge-docker/pins";
/// Size limit of a mount record, in bytes.
const MAX_RECORD_BYTES: u64 = 64 * 1024;

/// Returns a new key for the mount clones of a container: 32 random hex digits, which no
/// container can guess.
pub(crate) fn new_key() -> Result<String> {
    let mut random = [0; 16];
    let mut source = fs::File::open("/dev/urandom").context("creating a key")?;
    source.read_exact(&mut random).context("creating a key")?;
    Ok(hex::encode(random))
}

/// Clones the mounts of `record` under `key`, creates missing directories with `owner`,
/// and writes the record; with `durable` it survives a power loss. After a failure
/// neither clones nor the record exist.
pub(crate) fn create(
    root: &Root,
    key: &str,
    record: &CloneRecord,
    owner: Option<Owner>,
    durable: bool,
) -> Result<()> {
    file::create_directory(&root.path(RECORDS), 0o700)?;
    let text = serde_json::to_vec(record).context("writing a mount record")?;
    // The record is written first, because clones without a record would never be
    // collected.
    let write = if durable { file::write } else { file::put };
    write(&record_path(root, key), &text, 0o600)?;
    let result = sources_of(root, record, owner);
    let result = result.and_then(|sources| place_all(root, key, record, &sources));
    if result.is_err() {
        remove(root, key)?;
    }
    result
}

/// Creates the clones of an existing record again, and directories that are missing, for
/// the boot audit. After a failure no clone exists.
pub(crate) fn restore(root: &Root, key: &str, record: &CloneRecord) -> Result<()> {
    if !is_key(key) {
        bail!("{key:?} is not the key of mount clones");
    }
    // The audit runs before every start of the engine. After a restart without a reboot
    // the clones still exist; those that differ have to be removed first.
    let result = sources(root, record).and_then(|sources| {
        if current::are_current(&root.path(DIRECTORY).join(key), &sources) {
            return Ok(());
        }
        detach(root, key)?;
        place_all(root, key, record, &sources)
    });
    if result.is_err() {
        detach(root, key)?;
    }
    result
}

/// Clones `sources`, the sources of the mounts of `record`.
fn place_all(root: &Root, key: &str, record: &CloneRecord, sources: &[OwnedFd]) -> Result<()> {
    let place = root.path(DIRECTORY).join(key);
    let mut builder = fs::DirBuilder::new();
    let created = builder.recursive(true).mode(0o700).create(&place);
    created.with_context(|| format!("creating {DIRECTORY}/{key}"))?;
    for (number, (source, below)) in sources.iter().zip(&record.below).enumerate() {
        clone(source, &place.join(number.to_string()))
            .with_context(|| format!("cloning the mount of {}/{below}", record.directory))?;
    }
    Ok(())
}

/// Opens the sources of the mounts of `record`, in its order. Missing directories are
/// created, for the owner of the app's directory.
pub(super) fn sources(root: &Root, record: &CloneRecord) -> Result<Vec<OwnedFd>> {
    sources_of(root, record, None)
}

/// Opens the sources of the mounts of `record`, and creates missing directories with
/// `owner`.
fn sources_of(root: &Root, record: &CloneRecord, owner: Option<Owner>) -> Result<Vec<OwnedFd>> {
    let directory = app_directory(root, record)?;
    let below = record.below.iter();
    below
        .map(|below| resolve(&directory, &record.directory, below, owner))
        .collect()
}

/// Opens the source of mount `number` of `record`; `None` if it has no such mount.
pub(crate) fn source(root: &Root, record: &CloneRecord, number: usize) -> Result<Option<OwnedFd>> {
    let Some(below) = record.below.get(number) else {
        return Ok(None);
    };
    let directory = app_directory(root, record)?;
    resolve(&directory, &record.directory, below, None).map(Some)
}

/// Opens the app's directory of `record`, or creates it.
fn app_directory(root: &Root, record: &CloneRecord) -> Result<OwnedFd> {
    let (parent, app) = beneath::parent(root, &record.directory)?;
    let directory = step(&parent, &record.directory, app, None)?;
    match beneath::kind(&directory).context("reading the kind of an app's directory")? {
        FileType::Directory => Ok(directory),
        _ => Err(refuse(format_args!(
            "mounting {} is refused: it is not a directory; move it away",
            record.directory
        ))),
    }
}

/// Opens the path `below` in an app's directory, component by component, and creates
/// missing directories.
fn resolve(directory: &OwnedFd, name: &str, below: &str, owner: Option<Owner>) -> Result<OwnedFd> {
    let mut at = directory
        .try_clone()
        .context("opening the app's directory")?;
    if below.is_empty() {
        return Ok(at);
    }
    // Paths from a request were checked, but a record may have been edited on the disk.
    if !is_plain(below) {
        return Err(refuse(format_args!("{below:?} is not a plain path")));
    }
    // The record does not contain the container's user, so the owner of the app's
    // directory is used.
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
    // A container that mounts the directory may have created a device node or a FIFO in
    // it.
    let kind = beneath::kind(&at).context("reading the kind of a mount source")?;
    if !matches!(kind, FileType::Directory | FileType::RegularFile) {
        return Err(refuse(format_args!(
            "mounting {path} is refused: neither a directory nor a file"
        )));
    }
    Ok(at)
}

/// Opens one component of a path, or creates it as a directory of `owner` if it is
/// absent.
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

/// Clones the mount at `source` and mounts the clone at `target`, which is created.
fn clone(source: &OwnedFd, target: &Path) -> Result<()> {
    if beneath::kind(source)? == FileType::Directory {
        let created = fs::DirBuilder::new().mode(0o700).create(target);
        created.context("creating the target of a clone")?;
    } else {
        fs::File::create_new(target).context("creating the target of a clone")?;
    }
    // Not recursive, because mounts below the source must not appear in the container.
    let clone = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    // By descriptor, because the path could lead to a link by now.
    let tree = open_tree(source.as_fd(), "", clone).context("cloning a mount")?;
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(tree.as_fd(), "", CWD, target, empty).context("placing a mount")
}

/// Removes the mount clones of a container and their record, if they exist.
pub(crate) fn remove(root: &Root, key: &str) -> Result<()> {
    detach(root, key)?;
    match fs::remove_file(record_path(root, key)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing the mount record {key}"))
        }
        _ => Ok(()),
    }
}

/// Unmounts the clones of `key` and removes their mount points. A running container keeps
/// the clones that it uses.
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
        // Without DETACH, unmounting a clone that a container uses would fail with EBUSY.
        let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        // Several clones may be stacked on one path. EINVAL means that nothing is mounted
        // any more.
        while match unmount(&path, flags) {
            Ok(()) => true,
            Err(Errno::INVAL) => false,
            Err(error) => return Err(error).with_context(context),
        } {}
        // The mount point, an empty directory or file, is what remains.
        let removed = fs::remove_dir(&path).or_else(|_| fs::remove_file(&path));
        removed.with_context(context)?;
    }
    fs::remove_dir(&place).with_context(context)
}

/// Returns all mount records by key. A record that cannot be read is returned as its
/// error.
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

/// Reads the mount record of the container with the key `key`.
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
