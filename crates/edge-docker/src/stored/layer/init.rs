//! Check of the init layer, which the engine places between a container's own layer and
//! the image: it hides parts of the image, and would show others in their place.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::directory::{Directory, Found};
use super::item::{OPAQUE, is_ineffective};
use crate::stored::fault::Fault;

/// Directories that the engine creates in an init layer, or copies from the image.
const DIRECTORIES: [&str; 8] = ["", "dev", "dev/pts", "dev/shm", "etc", "proc", "run", "sys"];
/// Empty files that the engine creates in an init layer; it mounts others over them.
const FILES: [&str; 5] = [
    ".dockerenv",
    "dev/console",
    "etc/hostname",
    "etc/hosts",
    "etc/resolv.conf",
];
/// Link that the engine creates in an init layer.
const LINK: (&str, &[u8]) = ("etc/mtab", b"/proc/mounts");
/// Directories of [`DIRECTORIES`] that the engine creates where the image has none. The
/// parents of files are always there.
const CREATED: [&str; 4] = ["dev/pts", "dev/shm", "proc", "sys"];
/// Mode bits that a file of an init layer does not have: it is not for others to write.
const EXCESS_BITS: u32 = 0o7022;

/// Init layer of the containers of an image.
pub(in crate::stored) struct ExpectedInit {
    /// Directories of [`DIRECTORIES`] that the image has, which the engine copies.
    copied: BTreeMap<&'static str, Properties>,
}

/// Properties of a directory that a container sees.
#[derive(PartialEq, Eq)]
struct Properties {
    owner: (u32, u32),
    mode: u32,
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Properties {
    fn of(found: &Found) -> io::Result<Self> {
        let mut attributes = found.attributes()?;
        attributes.retain(|name, _| name != OPAQUE && !is_ineffective(name));
        Ok(Self {
            owner: (found.stat.st_uid, found.stat.st_gid),
            mode: found.stat.st_mode & 0o7777,
            attributes,
        })
    }
}

impl ExpectedInit {
    /// Returns the init layer above the layers of an image in the directories `below`,
    /// beginning with the highest.
    pub(in crate::stored) fn above(below: &[PathBuf]) -> Result<Self, Fault> {
        let layers = below.iter().map(|path| Directory::open(path));
        let layers = layers.collect::<io::Result<Vec<_>>>();
        let layers = layers.map_err(|e| Fault::io("a layer cannot be opened", &e))?;
        let mut copied = BTreeMap::new();
        // The root is that of the container's own layer.
        for name in &DIRECTORIES[1..] {
            let error = |e: io::Error| Fault::io(&format!("/{name} of its image"), &e);
            if let Some(found) = visible(&layers, Path::new(name)).map_err(error)? {
                copied.insert(*name, Properties::of(&found).map_err(error)?);
            }
        }
        Ok(Self { copied })
    }

    /// Checks that the directory `path` is such an init layer, with all its parts.
    pub(in crate::stored) fn check(&self, path: &Path) -> Result<(), Fault> {
        let error = |e: &io::Error| Fault::io("its first layer cannot be read", e);
        let directory = Directory::open(path).map_err(|e| error(&e))?;
        let mut unread = vec![PathBuf::new()];
        let mut seen = BTreeSet::new();
        while let Some(inside) = unread.pop() {
            let found = directory.find_plain(&inside).map_err(|e| error(&e))?;
            let found = found.ok_or("a link lies in its first layer")?;
            let name = inside.to_string_lossy();
            let is_expected = self.expects(&name, &found);
            if !is_expected.map_err(|e| error(&e))? {
                return Err(format!("its first layer has /{}", inside.display()).into());
            }
            if found.kind() == FileType::Directory {
                let entries = directory.entries(&inside).map_err(|e| error(&e))?;
                unread.extend(entries.into_iter().map(|(path, _)| path));
            }
            seen.insert(inside);
        }
        let created = CREATED
            .iter()
            .filter(|name| !self.copied.contains_key(*name));
        let mut parts = FILES.iter().chain([&LINK.0]).chain(created);
        match parts.find(|name| !seen.contains(Path::new(name))) {
            Some(name) => Err(format!("its first layer lacks /{name}").into()),
            None => Ok(()),
        }
    }

    fn expects(&self, name: &str, found: &Found) -> io::Result<bool> {
        let stat = &found.stat;
        let properties = Properties::of(found)?;
        let is_plain = properties.owner == (0, 0) && properties.attributes.is_empty();
        match found.kind() {
            FileType::Directory => {
                let Some(name) = DIRECTORIES.iter().find(|known| **known == name) else {
                    return Ok(false);
                };
                Ok(match self.copied.get(name) {
                    // With this attribute it would hide the directory of the image.
                    Some(copied) => properties == *copied && !is_opaque(found)?,
                    None => is_plain && found.has_engine_defaults(),
                })
            }
            FileType::RegularFile => {
                let is_empty = stat.st_size == 0 && stat.st_mode & EXCESS_BITS == 0;
                Ok(FILES.contains(&name) && is_plain && is_empty)
            }
            FileType::Symlink => Ok(name == LINK.0 && is_plain && found.target()? == LINK.1),
            _ => Ok(false),
        }
    }
}

/// Returns the directory at `path` that a container of the layers sees, the highest of
/// those with this path; `None` if there is none.
fn visible(layers: &[Directory], path: &Path) -> io::Result<Option<Found>> {
    for layer in layers {
        if let Some(found) = layer.find_plain(path)? {
            return Ok(Some(found).filter(|found| found.kind() == FileType::Directory));
        }
        for above in path
            .ancestors()
            .skip(1)
            .filter(|p| !p.as_os_str().is_empty())
        {
            let found = layer.find_plain(above)?;
            let is_end = |found: &Found| {
                let is_directory = found.kind() == FileType::Directory;
                Ok::<_, io::Error>(!is_directory || is_opaque(found)?)
            };
            if found.as_ref().map(is_end).transpose()? == Some(true) {
                return Ok(None);
            }
        }
    }
    Ok(None)
}

fn is_opaque(found: &Found) -> io::Result<bool> {
    Ok(found.attributes()?.contains_key(OPAQUE))
}

/// Returns whether the directory `path` is as the engine creates the root of a container's
/// own layer.
pub(in crate::stored) fn is_plain_root(path: &Path) -> io::Result<bool> {
    let directory = Directory::open(path)?;
    let Some(found) = directory.find_plain(Path::new(""))? else {
        return Ok(false);
    };
    let attributes = Properties::of(&found)?.attributes;
    Ok(found.has_engine_defaults() && attributes.is_empty() && !is_opaque(&found)?)
}
