//! Pins: mount sources that nobody but root can move.
//!
//! Docker walks a mount's source again at every start, and a container can put
//! a link where its directory was. So each source is resolved once, link by link
//! refused (`openat2(2)`), and a clone of its mount is put below
//! [`DIRECTORY`], which is root's alone; docker gets that path. After a
//! reboot the pins are made again from records before the engine starts.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use edge_common::{Root, file};
use edge_docker_policy::mounts::{CloneRecord, DIRECTORY, Owner, is_key, is_plain};
use edge_docker_policy::refusal::refuse;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fstat, mkdirat, openat2,
};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};

/// Where their records are kept, root's alone.
const RECORDS: &str = "/data/config/edge-docker/pins";
/// Largest record, in bytes.
const LARGEST: u64 = 64 * 1024;
/// A new key: 32 hex digits.
///
/// # Errors
/// No randomness.
pub fn new_key() -> Result<String> {
    let mut random = [0; 16];
    let mut source = fs::File::open("/dev/urandom").context("making a key")?;
    source.read_exact(&mut random).context("making a key")?;
    Ok(random.iter().map(|b| format!("{b:02x}")).collect())
}

/// Makes the pins of `record` under `key`, missing directories with `owner`, and
/// keeps the record, `durable` where that must hold after a power cut; on failure
/// nothing is left.
///
/// # Errors
/// A link or anything else that is no directory or file of the app's own.
pub fn make(
    root: &Root,
    key: &str,
    record: &CloneRecord,
    owner: Option<Owner>,
    durable: bool,
) -> Result<()> {
    file::create_directory(&root.path(RECORDS), 0o700)?;
    let text = serde_json::to_vec(record).context("writing a record")?;
    // The record first: what it names is found and taken away after a cut.
    let write = if durable { file::write } else { file::put };
    write(&record_path(root, key), &text, 0o600)?;
    let result = pin(root, key, record, owner);
    if result.is_err() {
        remove(root, key)?;
    }
    result
}

/// Makes the pins of a kept record again, as at boot; directories that are gone
/// are made again.
///
/// # Errors
/// As [`make`]; none of its pins is there then.
pub fn restore(root: &Root, key: &str, record: &CloneRecord) -> Result<()> {
    detach(root, key)?;
    let result = pin(root, key, record, None);
    if result.is_err() {
        detach(root, key)?;
    }
    result
}

fn pin(root: &Root, key: &str, record: &CloneRecord, owner: Option<Owner>) -> Result<()> {
    let place = root.path(DIRECTORY).join(key);
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(&place);
    made.with_context(|| format!("creating {DIRECTORY}/{key}"))?;
    let directory = open_directory(root, &record.directory)?;
    for (number, below) in record.below.iter().enumerate() {
        let source = resolve(&directory, &record.directory, below, owner)?;
        attach(&source, &place.join(number.to_string()))
            .with_context(|| format!("pinning {}/{below}", record.directory))?;
    }
    Ok(())
}

/// The app's directory, made if it is absent; only its parent is trusted.
fn open_directory(root: &Root, directory: &str) -> Result<OwnedFd> {
    let (parent, name) = directory
        .rsplit_once('/')
        .context("a directory without a parent")?;
    let known = ["/data/apps", "/data/sandbox"].contains(&parent);
    if !known || !edge_signature::valid_app(name) {
        return Err(refuse(format_args!(
            "{directory:?} is not an app's directory"
        )));
    }
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    let path = root.path(parent);
    let above = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
    let above = above.with_context(|| format!("opening {parent}"))?;
    step(&above, directory, name, None)
}

/// Opens what `below` names, each part by itself, making missing directories.
fn resolve(directory: &OwnedFd, name: &str, below: &str, owner: Option<Owner>) -> Result<OwnedFd> {
    let mut at = directory
        .try_clone()
        .context("opening the app's directory")?;
    if below.is_empty() {
        return Ok(at);
    }
    if !is_plain(below) {
        return Err(refuse(format_args!("{below:?} is not a plain path")));
    }
    let parts: Vec<_> = below.split('/').collect();
    let owner = owner.or_else(|| {
        let stat = fstat(directory).ok()?;
        let (user, group) = (stat.st_uid, stat.st_gid);
        Some(Owner { user, group })
    });
    let mut so_far = name.to_string();
    for part in parts {
        so_far = format!("{so_far}/{part}");
        at = step(&at, &so_far, part, owner)?;
    }
    let kind = FileType::from_raw_mode(fstat(&at).context("looking at a mount")?.st_mode);
    if !matches!(kind, FileType::Directory | FileType::RegularFile) {
        return Err(refuse(format_args!(
            "mounting {so_far} is refused: neither a directory nor a file"
        )));
    }
    Ok(at)
}

/// One part: opened without following anything; a directory if it is absent.
fn step(at: &OwnedFd, path: &str, part: &str, owner: Option<Owner>) -> Result<OwnedFd> {
    let open = || {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        openat2(at, part, flags, Mode::empty(), resolve)
    };
    let found = match open() {
        Err(Errno::NOENT) => {
            match mkdirat(at, part, Mode::from_raw_mode(0o755)) {
                Ok(()) => own(at, part, owner).with_context(|| format!("creating {path}"))?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error).with_context(|| format!("creating {path}")),
            }
            open()
        }
        found => found,
    };
    let found = found.and_then(|fd| {
        // With O_PATH and O_NOFOLLOW a link itself would be opened.
        let kind = FileType::from_raw_mode(fstat(&fd)?.st_mode);
        if kind == FileType::Symlink {
            Err(Errno::LOOP)
        } else {
            Ok(fd)
        }
    });
    found.map_err(|error| match error {
        Errno::LOOP | Errno::XDEV | Errno::NOTDIR => refuse(format_args!(
            "mounting {path} is refused: a link, or not a directory of the app's own ({error})"
        )),
        error => anyhow::Error::from(error).context(format!("opening {path}")),
    })
}

fn own(at: &OwnedFd, part: &str, owner: Option<Owner>) -> rustix::io::Result<()> {
    let Some(owner) = owner else { return Ok(()) };
    let (user, group) = (Uid::from_raw(owner.user), Gid::from_raw(owner.group));
    chownat(at, part, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
}

/// Clones the mount at `source` onto `target`.
fn attach(source: &OwnedFd, target: &std::path::Path) -> Result<()> {
    let kind = FileType::from_raw_mode(fstat(source)?.st_mode);
    if kind == FileType::Directory {
        let made = fs::DirBuilder::new().mode(0o700).create(target);
        made.context("making the place of a pin")?;
    } else {
        fs::File::create_new(target).context("making the place of a pin")?;
    }
    let clone = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(source.as_fd(), "", clone).context("cloning a mount")?;
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(tree.as_fd(), "", CWD, target, empty).context("placing a mount")
}

/// Takes the pins of `key` and their record away.
///
/// # Errors
/// A pin that cannot be detached.
pub fn remove(root: &Root, key: &str) -> Result<()> {
    detach(root, key)?;
    match fs::remove_file(record_path(root, key)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing the record of pin {key}"))
        }
        _ => Ok(()),
    }
}

/// Takes the pins away; who uses them keeps them until then.
fn detach(root: &Root, key: &str) -> Result<()> {
    if !is_key(key) {
        bail!("{key:?} is not the key of a pin");
    }
    let place = root.path(DIRECTORY).join(key);
    let entries = match fs::read_dir(&place) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("reading {DIRECTORY}/{key}")),
    };
    let context = || format!("removing pin {key}");
    for entry in entries {
        let path = entry.with_context(context)?.path();
        let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        while match unmount(&path, flags) {
            Ok(()) => true,
            Err(Errno::INVAL) => false,
            Err(error) => return Err(error).with_context(context),
        } {}
        // Now what is there is only the place: an empty directory or file.
        let removed = fs::remove_dir(&path).or_else(|_| fs::remove_file(&path));
        removed.with_context(context)?;
    }
    fs::remove_dir(&place).with_context(context)
}

/// All records, by key. A damaged one comes as its error.
///
/// # Errors
/// The directory cannot be read.
pub fn records(root: &Root) -> Result<Vec<(String, Result<CloneRecord>)>> {
    let entries = match fs::read_dir(root.path(RECORDS)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
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

/// The record of `key`.
///
/// # Errors
/// Absent or damaged.
pub fn record(root: &Root, key: &str) -> Result<CloneRecord> {
    if !is_key(key) {
        bail!("{key:?} is not the key of a pin");
    }
    let text = file::read(&record_path(root, key), LARGEST)?;
    serde_json::from_slice(&text).with_context(|| format!("parsing the record of pin {key}"))
}

fn record_path(root: &Root, key: &str) -> PathBuf {
    root.path(RECORDS).join(format!("{key}.json"))
}
