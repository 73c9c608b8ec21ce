//! Reading `/data/services`: only regular files of root, never through a link
//! that leads out, never a device, and never more than is sensible.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use edge_common::Root;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use crate::plan::Units;
use crate::rules;
use crate::unit::{self, Key, Unit};
use crate::{Refusals, SERVICES};

/// Largest unit that is read, in bytes.
const LARGEST: u64 = 64 * 1024;
/// Most files that are looked at, drop-ins included.
const MOST: usize = 20_000;
/// Most threads that read.
const THREADS: usize = 4;
/// Fewest files that a thread is worth.
const SHARE: usize = 500;
/// Directories whose units must not be shadowed.
const TAKEN: [&str; 6] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.early",
];

/// Names of the image's units.
pub struct Image(HashSet<String>);

impl Image {
    /// Reads the directories once.
    pub fn read(root: &Root) -> Self {
        let entries = TAKEN
            .iter()
            .filter_map(|f| fs::read_dir(root.path(f)).ok())
            .flat_map(|entries| entries.flatten());
        Self(
            entries
                .filter_map(|e| e.file_name().into_string().ok())
                .collect(),
        )
    }

    /// Has the image a unit of this name, or the template of it?
    pub fn has(&self, name: &str) -> bool {
        rules::of_system(name)
            || self.0.contains(name)
            || template(name).is_some_and(|t| self.0.contains(&t))
    }
}

/// `a@.service` for `a@b.service`.
pub fn template(name: &str) -> Option<String> {
    let (stem, rest) = name.split_once('@')?;
    let (instance, kind) = rest.rsplit_once('.')?;
    (!instance.is_empty()).then(|| format!("{stem}@.{kind}"))
}

/// The good units by name; what is refused is told. A directory that is absent (as
/// at the first run of a boot) holds nothing.
pub fn units(root: &Root, image: &Image, refused: &mut Refusals) -> Units {
    let path = root.path(SERVICES);
    let mut units = Units::new();
    if fs::symlink_metadata(&path).is_err() {
        return units;
    }
    let Some(directory) = open_directory(&path) else {
        refused.tell(format!(
            "{SERVICES} is not a directory that only root may write: not using it"
        ));
        return units;
    };
    let mut left = MOST;
    let mut later = Vec::new();
    let names = names(&path, &mut left, refused);
    for found in on_all_cores(&names, &|name| look(&directory, name, image)) {
        match found {
            Ok(Found::Nothing) => {}
            Ok(Found::Unit(unit)) => drop(units.insert(unit.name.clone(), *unit)),
            Ok(Found::Later(more)) => later.push(more),
            Err(message) => refused.tell(message),
        }
    }
    for more in later {
        let added = match &more {
            Later::Link(name) => link(&path, name, &mut units),
            Later::DropIns(name) => drop_ins(&path, name, &mut left, &mut units, refused),
        };
        if let Err(message) = added {
            refused.tell(message);
        }
    }
    units
}

/// What a name in the directory stands for.
enum Found {
    Nothing,
    Unit(Box<Unit>),
    Later(Later),
}

/// What can be looked at only when all units are known.
enum Later {
    Link(String),
    DropIns(String),
}

/// What `each` makes of the names, in their order. Few are not worth a thread.
fn on_all_cores<T: Send>(names: &[String], each: &(impl Fn(&str) -> T + Sync)) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = names.len().div_ceil(cores.min(THREADS)).max(SHARE);
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

/// Root's own directory, which nobody else may write.
fn open_directory(path: &Path) -> Option<File> {
    let real = fs::symlink_metadata(path).ok()?;
    let directory = File::open(path).ok()?;
    let data = directory.metadata().ok()?;
    let same = real.is_dir() && real.ino() == data.ino();
    (same && data.is_dir() && roots_own(&data)).then_some(directory)
}

fn roots_own(data: &fs::Metadata) -> bool {
    static ME: OnceLock<u32> = OnceLock::new();
    let me = ME.get_or_init(|| rustix::process::geteuid().as_raw());
    data.uid() == *me && data.mode() & 0o022 == 0
}

fn names(directory: &Path, left: &mut usize, refused: &mut Refusals) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if *left == 0 {
            refused.tell(format!(
                "{SERVICES} holds more than {MOST} files: ignoring the rest"
            ));
            break;
        }
        *left -= 1;
        match entry.file_name().into_string() {
            Ok(name) => names.push(name),
            Err(name) => refused.tell(format!("{}: name is not UTF-8", name.to_string_lossy())),
        }
    }
    names.sort();
    names
}

fn look(directory: &File, name: &str, image: &Image) -> Result<Found, String> {
    if name.starts_with('.') {
        return Ok(Found::Nothing);
    }
    if name.ends_with(".d") {
        return Ok(Found::Later(Later::DropIns(name.into())));
    }
    if !rules::valid_name(name) {
        return Err(format!("{name}: not a service, socket, timer or path unit"));
    }
    if image.has(name) {
        return Err(format!("{name}: the image has a unit of this name"));
    }
    match read(directory, name) {
        Ok(text) => Ok(Found::Unit(Box::new(unit::parse(name, &text)?))),
        Err(Trouble::Link) => Ok(Found::Later(Later::Link(name.into()))),
        Err(Trouble::Other(why)) => Err(format!("{name}: {why}")),
    }
}

enum Trouble {
    Link,
    Other(String),
}

/// Reads a file without following a link and without waiting for a writer.
fn read(directory: &impl AsFd, name: &str) -> Result<String, Trouble> {
    let other = |why: String| Trouble::Other(why);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = match openat(directory, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::LOOP) => return Err(Trouble::Link),
        Err(error) => return Err(other(error.to_string())),
    };
    let data = file.metadata().map_err(|e| other(e.to_string()))?;
    if !data.is_file() {
        return Err(other("not a regular file".into()));
    }
    if !roots_own(&data) {
        return Err(other("others than root may write it".into()));
    }
    if data.len() > LARGEST {
        return Err(other(format!("larger than {LARGEST} bytes")));
    }
    // One byte more than it has: a full buffer means that it grew meanwhile.
    let mut text = vec![0; usize::try_from(data.len()).unwrap_or(0) + 1];
    let count = file.read(&mut text).map_err(|e| other(e.to_string()))?;
    if count == text.len() {
        return Err(other("changes while it is read".into()));
    }
    text.truncate(count);
    String::from_utf8(text).map_err(|_| other("not UTF-8".into()))
}

/// A link within the directory: another name of a unit, or an instance of a template.
fn link(directory: &Path, name: &str, units: &mut Units) -> Result<(), String> {
    let out = || format!("{name}: a link that leads out of {SERVICES}");
    let target = fs::read_link(directory.join(name)).map_err(|_| out())?;
    let target = target.strip_prefix(SERVICES).unwrap_or(&target);
    let target = target.to_str().ok_or_else(out)?;
    if target.contains('/') {
        return Err(out());
    }
    let unit = units
        .get_mut(target)
        .ok_or_else(|| format!("{name}: a link to {target}, which is no unit here"))?;
    if template(name).is_some_and(|t| *t == *unit.name) {
        unit.add(Key::Instance, name);
    } else {
        unit.add(Key::Alias, name);
    }
    Ok(())
}

/// `a.service.d/*.conf`. One that is refused takes its unit with it: the unit
/// without it might do what its author did not want.
fn drop_ins(
    directory: &Path,
    name: &str,
    left: &mut usize,
    units: &mut Units,
    refused: &mut Refusals,
) -> Result<(), String> {
    let of = name.trim_end_matches(".d");
    let owner = if units.contains_key(of) {
        of.to_string()
    } else {
        template(of)
            .filter(|t| units.contains_key(t.as_str()))
            .ok_or_else(|| format!("{name}: drop-ins for no unit of {SERVICES}"))?
    };
    let path = directory.join(name);
    let read_all = || -> Result<Vec<(String, String)>, String> {
        let opened = open_directory(&path)
            .ok_or_else(|| format!("{name}: not a directory that only root may write"))?;
        let mut texts = Vec::new();
        for conf in names(&path, left, refused) {
            if conf.starts_with('.') || !conf.ends_with(".conf") {
                continue;
            }
            let file = format!("{name}/{conf}");
            match read(&opened, &conf) {
                Ok(text) => texts.push((file, text)),
                Err(Trouble::Link) => return Err(format!("{file}: a link")),
                Err(Trouble::Other(why)) => return Err(format!("{file}: {why}")),
            }
        }
        Ok(texts)
    };
    let taken = { read_all }().and_then(|texts| {
        let unit = units.get_mut(owner.as_str()).ok_or("no unit")?;
        for (file, text) in texts {
            unit.read(&file, &text)?;
            unit.add(Key::DropIn, &file);
        }
        Ok(())
    });
    if taken.is_err() {
        units.remove(owner.as_str());
    }
    taken.map_err(|message| format!("{message} (so {owner} is not used)"))
}
