//! Reader of `/data/services`. It accepts only regular files that no user but root may
//! write, limits their number and size, and follows no link out of the directory.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use edge_common::Root;
use edge_common::contract::path::SERVICES;
use edge_common::level::RunMode;
use edge_common::policy::Policy;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::image::Image;
use crate::refusals::Refusals;
use crate::rules;
use crate::unit::{self, Key, Unit};
use crate::units::{Units, template};

/// Size limit of a unit file, in bytes. A larger one is refused.
const MAX_UNIT_BYTES: u64 = 64 * 1024;
/// Maximum number of files that are read, including drop-ins, because systemd allows 90
/// seconds for all generators together.
const MAX_FILES: usize = 20_000;
/// Maximum number of threads that read units in parallel.
const MAX_THREADS: usize = 4;
/// Minimum number of files for each thread: with fewer files, starting a thread takes
/// longer than reading.
const MIN_FILES_PER_THREAD: usize = 500;

/// Reads `/data/services` and returns its units, also those with faults. If the directory
/// is absent, as before `/data` is mounted, there are none.
pub(crate) fn units(root: &Root, image: &Image, refusals: &mut Refusals) -> Units {
    let path = root.path(SERVICES);
    let mut units = Units::new();
    if fs::symlink_metadata(&path).is_err() {
        return units;
    }
    let Some(directory) = open_directory(&path) else {
        refusals.push(format!(
            "{SERVICES} is not a directory that only root may write: not using it"
        ));
        return units;
    };
    let mut left = MAX_FILES;
    let mut references = Vec::new();
    let names = names(&path, &mut left, refusals);
    for entry in on_all_cores(&names, &|name| classify(&directory, name, image)) {
        match entry {
            Ok(Entry::Hidden) => {}
            Ok(Entry::Unit(unit)) => drop(units.insert(unit.name.clone(), *unit)),
            Ok(Entry::Reference(reference)) => references.push(reference),
            Err(message) => refusals.push(message),
        }
    }
    for reference in references {
        let added = match &reference {
            Reference::Link(name) => link(&path, name, &mut units),
            Reference::DropIns(name) => drop_ins(&path, name, &mut left, &mut units, refusals),
        };
        if let Err(message) = added {
            refusals.push(message);
        }
    }
    // A policy that cannot be read is edge-docker's to judge, when the unit starts.
    let signed_only = Policy::load(root).is_ok_and(|policy| policy.run == RunMode::Signed);
    for unit in units.values_mut() {
        unit.finish(signed_only);
    }
    units
}

/// Entry of `/data/services`, by its type.
enum Entry {
    Hidden,
    Unit(Box<Unit>),
    Reference(Reference),
}

/// Entry that refers to a unit, and can be resolved only after all units are read.
enum Reference {
    Link(String),
    DropIns(String),
}

/// Applies `each` to all names in parallel and returns the results in the order of the
/// names. On one core, 10,000 units took longer than the 200 ms by which the generator
/// may delay the boot.
fn on_all_cores<T: Send>(names: &[String], each: &(impl Fn(&str) -> T + Sync)) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = names.len().div_ceil(cores.min(MAX_THREADS));
    let share = share.max(MIN_FILES_PER_THREAD);
    let work = |names: &[String]| names.iter().map(|name| each(name)).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let (mine, others) = names.split_at(share.min(names.len()));
        let others: Vec<_> = others
            .chunks(share)
            .map(|chunk| scope.spawn(move || work(chunk)))
            .collect();
        let mut all = work(mine);
        for thread in others {
            match thread.join() {
                Ok(part) => all.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}

/// Opens a directory. Returns `None` for a symbolic link, for what is no directory, and for
/// a directory that another user than root may write. A FIFO would block the boot if it
/// were opened as a file.
fn open_directory(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = File::from(openat(CWD, path, flags, Mode::empty()).ok()?);
    let data = directory.metadata().ok()?;
    only_root_writes(&data).then_some(directory)
}

fn only_root_writes(data: &fs::Metadata) -> bool {
    // The owner must be the effective user, which is root on a device but not in tests.
    // The user ID is read once for all units.
    static USER: OnceLock<u32> = OnceLock::new();
    let user = USER.get_or_init(|| rustix::process::geteuid().as_raw());
    data.uid() == *user && data.mode() & 0o022 == 0
}

fn names(directory: &Path, left: &mut usize, refusals: &mut Refusals) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if *left == 0 {
            refusals.push(format!(
                "{SERVICES} holds more than {MAX_FILES} files: ignoring the rest"
            ));
            break;
        }
        *left -= 1;
        match entry.file_name().into_string() {
            Ok(name) => names.push(name),
            Err(name) => refusals.push(format!("{}: name is not UTF-8", name.to_string_lossy())),
        }
    }
    // Sorted, because the order of `read_dir` is arbitrary and of two conflicting
    // aliases the same one must be used at every boot.
    names.sort();
    names
}

fn classify(directory: &File, name: &str, image: &Image) -> Result<Entry, String> {
    if name.starts_with('.') {
        return Ok(Entry::Hidden);
    }
    if name.ends_with(".d") {
        return Ok(Entry::Reference(Reference::DropIns(name.into())));
    }
    if !rules::valid_name(name) {
        return Err(format!("{name}: not a service, socket, timer or path unit"));
    }
    if image.has(name) {
        return Err(format!("{name}: the image has a unit of this name"));
    }
    match read(directory, name) {
        Ok(text) => Ok(Entry::Unit(Box::new(unit::parse(name, &text)))),
        Err(ReadError::Link) => Ok(Entry::Reference(Reference::Link(name.into()))),
        Err(ReadError::Other(reason)) => Err(format!("{name}: {reason}")),
    }
}

enum ReadError {
    Link,
    Other(String),
}

/// Reads a unit file or drop-in without following a symbolic link and without blocking
/// on a FIFO.
fn read(directory: &impl AsFd, name: &str) -> Result<String, ReadError> {
    let other = |reason: String| ReadError::Other(reason);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = match openat(directory, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::LOOP) => return Err(ReadError::Link),
        Err(error) => return Err(other(error.to_string())),
    };
    let data = file.metadata().map_err(|e| other(e.to_string()))?;
    if !data.is_file() {
        return Err(other("not a regular file".into()));
    }
    if !only_root_writes(&data) {
        return Err(other("others than root may write it".into()));
    }
    if data.len() > MAX_UNIT_BYTES {
        return Err(other(format!("larger than {MAX_UNIT_BYTES} bytes")));
    }
    // The buffer is one byte larger than the file: if it becomes full, the file has
    // grown since `metadata`.
    let mut text = vec![0; usize::try_from(data.len()).unwrap_or(0) + 1];
    let count = file.read(&mut text).map_err(|e| other(e.to_string()))?;
    if count == text.len() {
        return Err(other("changed while it was read".into()));
    }
    text.truncate(count);
    let utf16 = text.starts_with(&[0xff, 0xfe]) || text.starts_with(&[0xfe, 0xff]);
    String::from_utf8(text).map_err(|_| {
        other(match utf16 {
            true => "UTF-16, as Windows writes text: save it as UTF-8".into(),
            false => "not UTF-8: save it as UTF-8".into(),
        })
    })
}

/// Registers a symbolic link within `/data/services` as an alias of a unit or as an
/// instance of a template.
fn link(directory: &Path, name: &str, units: &mut Units) -> Result<(), String> {
    let leads_out = || format!("{name}: a link that leads out of {SERVICES}");
    let target = fs::read_link(directory.join(name)).map_err(|_| leads_out())?;
    // Absolute links to files in `/data/services` are common: `systemctl enable`
    // creates them.
    let target = target.strip_prefix(SERVICES).unwrap_or(&target);
    let target = target.to_str().ok_or_else(leads_out)?;
    if target.contains('/') {
        return Err(leads_out());
    }
    let unit = units
        .get_mut(target)
        .ok_or_else(|| format!("{name}: a link to {target}, which is no accepted unit"))?;
    if template(name).is_some_and(|t| *t == *unit.name) {
        unit.add(Key::Instance, name);
    } else {
        unit.add(Key::Alias, name);
    }
    Ok(())
}

/// Adds the drop-ins of a unit, `a.service.d/*.conf`. If one is refused, so is the unit:
/// the drop-in may contain a restriction without which the unit must not run.
fn drop_ins(
    directory: &Path,
    name: &str,
    left: &mut usize,
    units: &mut Units,
    refusals: &mut Refusals,
) -> Result<(), String> {
    let unit = name.trim_end_matches(".d");
    let owner = if units.contains_key(unit) {
        unit.to_string()
    } else {
        template(unit)
            .filter(|t| units.contains_key(t.as_str()))
            .ok_or_else(|| format!("{name}: drop-ins of a unit that is not in {SERVICES}"))?
    };
    let path = directory.join(name);
    let names = match open_directory(&path) {
        Some(opened) => Ok((opened, names(&path, left, refusals))),
        None => Err(format!("{name}: not a directory that only root may write")),
    };
    let unit = units.get_mut(owner.as_str()).ok_or("no unit")?;
    let refuse = |unit: &mut Unit, message: String| {
        unit.refuse(format!("{message} (so {owner} is not used)"));
    };
    let (opened, names) = match names {
        Ok(found) => found,
        Err(message) => {
            refuse(unit, message);
            return Ok(());
        }
    };
    for conf in names {
        if conf.starts_with('.') || !conf.ends_with(".conf") {
            continue;
        }
        let file = format!("{name}/{conf}");
        match read(&opened, &conf) {
            Ok(text) => unit.read(&file, &text),
            Err(ReadError::Link) => refuse(unit, format!("{file}: a link")),
            Err(ReadError::Other(reason)) => refuse(unit, format!("{file}: {reason}")),
        }
    }
    Ok(())
}
