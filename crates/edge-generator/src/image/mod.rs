//! Units of the device image, whose names are not allowed in `/data/services`.

mod ordering;
mod settings;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use edge_common::Root;
use rustix::fs::{CWD, Mode, OFlags, openat};

use self::settings::Settings;
pub(crate) use ordering::{Ordering, defaults, mounts};

use crate::graph::Graph;
use crate::names::{Id, Names};
use crate::rules;
use crate::units::template;

/// Directories in which systemd finds units besides the generator's directory: a
/// generated link with the same name would hide such a unit, or be hidden by it.
const DIRECTORIES: [&str; 6] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.early",
];

/// Size limit of a unit of the device image, in bytes. A larger one is taken for a unit
/// with default dependencies.
const MAX_UNIT_BYTES: usize = 64 * 1024;

/// Size of the first read of a unit, in bytes, which is sufficient for nearly all of them.
const FIRST_READ_BYTES: usize = 4096;

/// Maximum number of links from one name of a unit to another.
const MAX_LINKS: usize = 8;

/// Directories that have an entry of a name: a bit for each of [`DIRECTORIES`].
#[derive(Default)]
struct Places {
    all: u8,
    links: u8,
    files: u8,
}

/// Units of the device image.
pub(crate) struct Image {
    root: Root,
    /// [`DIRECTORIES`], as far as they exist, once a unit is read.
    opened: OnceLock<[Option<File>; DIRECTORIES.len()]>,
    names: HashMap<String, Places>,
    /// Those of symbolic links: aliases, and units that an administrator linked.
    links: Vec<String>,
}

impl Image {
    /// Lists all of [`DIRECTORIES`] once, so that each look-up needs no system call.
    pub(crate) fn read(root: &Root) -> Self {
        let (mut names, mut links) = (HashMap::new(), Vec::new());
        let mut listed = Vec::new();
        for (number, directory) in DIRECTORIES.iter().enumerate() {
            let path = root.path(directory);
            // With a merged /usr, two of them are one.
            let Ok(place) = fs::metadata(&path).map(|data| (data.dev(), data.ino())) else {
                continue;
            };
            if listed.contains(&place) {
                continue;
            }
            listed.push(place);
            let entries = fs::read_dir(path).into_iter().flatten();
            for entry in entries.flatten() {
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                let bit = 1_u8 << number;
                let kind = entry.file_type();
                let of = |is: bool| if is { bit } else { 0 };
                let link = of(kind.as_ref().is_ok_and(fs::FileType::is_symlink));
                if link != 0 {
                    links.push(name.clone());
                }
                let places: &mut Places = names.entry(name).or_default();
                places.all |= bit;
                places.links |= link;
                places.files |= of(kind.is_ok_and(|kind| kind.is_file()));
            }
        }
        Self {
            root: root.clone(),
            opened: OnceLock::new(),
            names,
            links,
        }
    }

    /// Adds the order of the units that a boot starts, and of `more` units, to `graph`.
    pub(crate) fn ordering<'a>(
        &self,
        graph: &mut Graph,
        more: impl Iterator<Item = &'a str>,
    ) -> Ordering {
        Ordering::read(self, graph, more)
    }

    /// Returns the names of the image that are links to units of another name, with these.
    fn aliases(&self, names: &mut Names) -> HashMap<Id, Id> {
        let mut aliases = HashMap::new();
        for name in &self.links {
            let real = self.real_name(name);
            if *name != real {
                aliases.insert(names.id(name), names.id(&real));
            }
        }
        aliases
    }

    /// Returns the name of the unit that `name` is a link to, or `name` itself.
    fn real_name(&self, name: &str) -> String {
        let mut real = name.to_string();
        for _ in 0..MAX_LINKS {
            let mut links = self.paths(&real, |places| places.links);
            let Some(target) = links.find_map(|path| fs::read_link(path).ok()) else {
                break;
            };
            drop(links);
            let next = target.file_name().map(|n| n.to_string_lossy().into_owned());
            match next {
                // A link of the same name leads to another directory.
                Some(next) if next != real && next != "null" => real = next,
                _ => break,
            }
        }
        real
    }

    /// Returns the paths of the entries of this name whose bits `of` selects, in the order
    /// of their precedence.
    fn paths(&self, name: &str, of: impl Fn(&Places) -> u8) -> impl Iterator<Item = PathBuf> + '_ {
        let name = self.names.get_key_value(name);
        let bits = name.map_or(0, |(_, places)| of(places));
        let path = move |(number, directory)| {
            let (name, _) = name?;
            let is_there = bits & (1_u8 << number) != 0;
            is_there.then(|| self.root.path(directory).join(name))
        };
        DIRECTORIES.iter().enumerate().filter_map(path)
    }

    /// Returns the form of a unit; `None` if there is no file of it. Entries that are neither
    /// links nor files, and links to files of the same name in another directory, are
    /// skipped. The kind of each is known from its directory, without a system call.
    fn form(&self, name: &str) -> Option<Form> {
        let places = self.names.get(name)?;
        let open = || DIRECTORIES.map(|directory| File::open(self.root.path(directory)).ok());
        let mut directories = self.opened.get_or_init(open).iter().enumerate();
        directories.find_map(|(number, directory)| {
            let bit = 1_u8 << number;
            if places.links & bit != 0 {
                return masked(&self.root.path(DIRECTORIES[number]).join(name));
            }
            let directory = directory.as_ref().filter(|_| places.files & bit != 0)?;
            Some(match text(directory, Path::new(name)) {
                Some(text) if text.is_empty() => Form::Masked,
                // A unit that cannot be read has default dependencies.
                text => Form::Text(text.unwrap_or_default()),
            })
        })
    }

    /// Returns the settings of a unit from its file, its drop-ins, and the directories of
    /// what it wants and requires. `None` if the image has no such unit, or masks it.
    fn settings(&self, name: &str, names: &mut Names) -> Option<Settings> {
        let template = template(name);
        let instance = template.as_ref().map_or("", |_| instance(name));
        let template = template.as_deref().unwrap_or(name);
        let file = match self.names.contains_key(name) {
            true => name,
            false => template,
        };
        let mut settings = Settings::default();
        match self.form(file) {
            Some(Form::Masked) => return None,
            Some(Form::Text(text)) => settings.read(&text, instance, names),
            None if self.names.contains_key(file) => {}
            None => return None,
        }
        let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
        let of_instance = (name != template).then_some(name);
        for of in of_instance.into_iter().chain([template, kind]) {
            self.each_entry(&format!("{of}.d"), |path| {
                if let Some(text) = text(CWD, &path) {
                    settings.read(&text, instance, names);
                }
            });
            for list in ["wants", "requires"] {
                self.each_entry(&format!("{of}.{list}"), |path| {
                    let name = path.file_name().unwrap_or_default();
                    settings.pulls_in.push(names.id(&name.to_string_lossy()));
                });
            }
        }
        settings.finish(name, names);
        Some(settings)
    }

    /// Calls `each` with the entries of this subdirectory of all [`DIRECTORIES`].
    fn each_entry(&self, subdirectory: &str, mut each: impl FnMut(PathBuf)) {
        for directory in self.paths(subdirectory, |places| places.all) {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            entries.for_each(|entry| each(entry.path()));
        }
    }

    /// Returns whether `name` is reserved for the system, or the device image has a
    /// unit of this name or its template.
    pub(crate) fn has(&self, name: &str) -> bool {
        rules::is_system_name(name)
            || self.names.contains_key(name)
            || template(name).is_some_and(|t| self.names.contains_key(&t))
    }
}

/// Form of a unit file.
enum Form {
    /// Empty, or a link to `/dev/null`: the unit does not exist.
    Masked,
    Text(String),
}

/// Returns whether a link masks its unit; `None` for a link to a file of the same name in
/// another directory.
fn masked(path: &Path) -> Option<Form> {
    let target = fs::read_link(path).ok()?;
    (target == Path::new("/dev/null")).then_some(Form::Masked)
}

/// Reads a unit file or drop-in without blocking on a FIFO. `None` for one that cannot be
/// read, is too large or not UTF-8. A boot reads some 250 files, so that each costs three
/// system calls: of a regular file, only the end cuts a read short.
fn text(directory: impl AsFd, path: &Path) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(openat(directory, path, flags, Mode::empty()).ok()?);
    let mut text = vec![0; FIRST_READ_BYTES];
    let count = file.read(&mut text).ok()?;
    text.truncate(count);
    if count == FIRST_READ_BYTES {
        let rest = (MAX_UNIT_BYTES + 1 - count) as u64;
        file.take(rest).read_to_end(&mut text).ok()?;
    }
    let text = String::from_utf8(text).ok()?;
    (text.len() <= MAX_UNIT_BYTES).then_some(text)
}

/// Returns the instance of a name: `b` for `a@b.service`.
fn instance(name: &str) -> &str {
    let (_, rest) = name.split_once('@').unwrap_or_default();
    rest.rsplit_once('.').map_or("", |(instance, _)| instance)
}
