//! Comparison of a layer's directory with the entries of its archive while they are read.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use edge_common::log::printable;
use openssl::sha::sha256;
use rustix::fs::FileType;
use tar::{Archive, EntryType};

use super::directory::{Directory, Found};
use super::item::{self, Difference, Item, OPAQUE};
use super::normalized;
use crate::stored::fault::Fault;

/// Number of paths that may differ from their entry until a later entry is the one that
/// counts. An honest archive has few.
const MAX_OPEN_DIFFERENCES: usize = 4096;

/// Hash of a path: a set of hashes stays small, however long the paths are.
type Key = [u8; 16];

/// Paths of the archive so far, and what differs from it.
pub(super) struct Contents<'a> {
    directory: &'a Directory,
    /// Entries, and paths of lower layers that are removed.
    known: HashSet<Key>,
    /// Directories above an entry, which need not be entries of the archive themselves.
    above: HashSet<Key>,
    /// Directories that hide those of the same path in lower layers.
    opaque: HashSet<Key>,
    /// Paths that differ, unless a later entry says otherwise.
    open: BTreeMap<PathBuf, Open>,
    /// First difference beyond [`MAX_OPEN_DIFFERENCES`].
    surplus: Option<String>,
}

/// Difference that a later entry may resolve.
struct Open {
    difference: Difference,
    inode: Option<(u64, u64)>,
}

impl<'a> Contents<'a> {
    /// Returns the comparison of `directory`, which has begun with no entry.
    pub(super) fn of(directory: &'a Directory) -> Self {
        Self {
            directory,
            known: HashSet::new(),
            above: HashSet::new(),
            opaque: HashSet::new(),
            open: BTreeMap::new(),
            surplus: None,
        }
    }

    /// Reads the entries of the archive and compares each with the directory.
    pub(super) fn compare<R: Read>(&mut self, archive: &mut Archive<R>) -> Result<()> {
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = normalized(&entry.path_bytes());
            let name = path.file_name().unwrap_or_default().as_bytes();
            let parent = path.parent().unwrap_or(Path::new(""));
            if name == b".wh..wh..opq" {
                let parent = self.real(parent)?;
                self.add_above(&parent.join("x"));
                self.opaque.insert(key(&parent));
            } else if name.starts_with(b".wh..wh.") {
                // Metadata of the older storage driver aufs, which the engine drops too.
            } else if let Some(name) = name.strip_prefix(b".wh.") {
                self.removal(&parent.join(OsStr::from_bytes(name)))?;
            } else if entry.header().entry_type() != EntryType::XGlobalHeader {
                let item = Item::read(&mut entry)?;
                self.item(path, &item)?;
            }
        }
        Ok(())
    }

    /// Returns the path of a directory without links.
    fn real(&self, path: &Path) -> Result<PathBuf> {
        match self.find(path)? {
            Some(found) => Ok(found.path),
            None => Ok(path.into()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<Option<Found>> {
        match self.directory.find(path) {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Compares the path of a lower layer that this layer removes.
    fn removal(&mut self, path: &Path) -> Result<()> {
        let found = self.find(path)?;
        let path = found.as_ref().map_or(path, |found| &found.path).to_owned();
        self.add(&path);
        match found.is_some_and(|found| is_whiteout(&found)) {
            true => drop(self.open.remove(&path)),
            false => self.differ(path, Difference::Other("removal"), None),
        }
        Ok(())
    }

    fn item(&mut self, path: PathBuf, item: &Item) -> Result<()> {
        let Some(found) = self.find(&path)? else {
            self.add(&path);
            self.differ(path, Difference::Other("presence"), None);
            return Ok(());
        };
        let path = found.path.clone();
        self.add(&path);
        let difference = match item.kind == EntryType::Link && !self.is_linked(item, &found)? {
            true => Some(Difference::Other("link")),
            false => item.difference(&found)?,
        };
        match difference {
            Some(difference) => self.differ(path, difference, Some(found.inode())),
            None => {
                self.open.remove(&path);
                if item.kind == EntryType::Link {
                    self.resolve(item, found.inode());
                }
            }
        }
        Ok(())
    }

    /// Returns whether a hard link shares the file of its target.
    fn is_linked(&self, item: &Item, found: &Found) -> Result<bool> {
        let target = self.find(&normalized(&item.link))?;
        Ok(target.is_some_and(|target| target.inode() == found.inode()))
    }

    /// Removes the differences of the file that a hard link shares: the engine applies
    /// owner, mode and attributes of the link's entry to it.
    fn resolve(&mut self, link: &Item, inode: (u64, u64)) {
        let sets_attributes = link.sets_attributes();
        self.open.retain(|_, open| {
            let is_set = match open.difference {
                Difference::Access(_) => true,
                Difference::Attributes => sets_attributes,
                Difference::Other(_) => false,
            };
            !(is_set && open.inode == Some(inode))
        });
    }

    fn differ(&mut self, path: PathBuf, difference: Difference, inode: Option<(u64, u64)>) {
        if self.open.len() >= MAX_OPEN_DIFFERENCES {
            let text = || describe(&path, difference);
            self.surplus.get_or_insert_with(text);
            return;
        }
        self.open.insert(path, Open { difference, inode });
    }

    fn add(&mut self, path: &Path) {
        self.known.insert(key(path));
        self.add_above(path);
    }

    fn add_above(&mut self, path: &Path) {
        for path in path.ancestors().skip(1) {
            if !self.above.insert(key(path)) {
                return;
            }
        }
    }

    /// Returns the first difference: an open one, or a path that is not in the archive.
    pub(super) fn finish(self) -> Result<(), Fault> {
        if let Some(text) = self.surplus {
            return Err(text.into());
        }
        // A link that leads elsewhere explains the modes of the files that it shared.
        let is_consequence = |open: &Open| !matches!(open.difference, Difference::Other(_));
        let differences = self.open.iter();
        if let Some((path, open)) = differences.min_by_key(|(_, open)| is_consequence(open)) {
            return Err(describe(path, open.difference).into());
        }
        // Not by recursion: directories nest as deeply as a path is long.
        let mut unread = vec![PathBuf::new()];
        while let Some(directory) = unread.pop() {
            let error = |e: io::Error| Fault::io(&format!("/{}", shown(&directory)), &e);
            let found = self.directory.find(&directory).map_err(error)?;
            self.hides_nothing(&directory, &found)?;
            for (path, is_directory) in self.directory.entries(&directory).map_err(error)? {
                let key = key(&path);
                let is_above = is_directory && self.above.contains(&key);
                if !is_above && !self.known.contains(&key) {
                    return Err(format!("/{} was added", shown(&path)).into());
                }
                if is_directory {
                    unread.push(path);
                }
            }
        }
        Ok(())
    }

    /// Checks that a directory hides lower ones only if the archive says so, and that one
    /// without an entry has the properties that the engine gives it.
    fn hides_nothing(&self, path: &Path, found: &Found) -> Result<(), Fault> {
        let error = |e: io::Error| Fault::io(&format!("/{}", shown(path)), &e);
        let attributes = found.attributes().map_err(error)?;
        let key = key(path);
        let is_opaque = attributes.contains_key(OPAQUE);
        let is_effective = |name: &[u8]| name != OPAQUE && !item::is_ineffective(name);
        let is_implicit = !self.known.contains(&key);
        let is_redirected = is_implicit && attributes.keys().any(|name| is_effective(name));
        if is_opaque != self.opaque.contains(&key) || is_redirected {
            return Err(format!("/{} hides what lies below", shown(path)).into());
        }
        // Owner and mode of the root are those of the container's own layer.
        let is_root = path.as_os_str().is_empty();
        match found.has_engine_defaults() {
            false if is_implicit && !is_root => {
                Err(format!("owner or mode of /{} is another", shown(path)).into())
            }
            _ => Ok(()),
        }
    }
}

fn describe(path: &Path, difference: Difference) -> String {
    let path = shown(path);
    match difference {
        Difference::Other("presence") => format!("/{path} is missing"),
        Difference::Other("removal") => format!("/{path} is not removed"),
        Difference::Other(what) | Difference::Access(what) => {
            format!("the {what} of /{path} is another")
        }
        Difference::Attributes => format!("the attributes of /{path} are others"),
    }
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// Returns whether an error says that a path does not exist: a part of it may be a file, or
/// a link that leads nowhere.
fn is_absent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let absent = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::XDEV];
    Errno::from_io_error(error).is_some_and(|code| absent.contains(&code))
}

fn is_whiteout(found: &Found) -> bool {
    found.kind() == FileType::CharacterDevice && found.stat.st_rdev == 0
}

fn key(path: &Path) -> Key {
    let hash = sha256(path.as_os_str().as_bytes());
    let mut key = Key::default();
    key.copy_from_slice(&hash[..16]);
    key
}
