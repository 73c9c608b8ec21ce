//! Layer of a signed image: the table of contents of its archive, and the comparison with
//! the directory to which the engine extracted it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_common::hex;
use openssl::sha::Sha256;
use rustix::fs::{lgetxattr, major, minor};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

/// Extended attribute with the file capabilities of a program.
const CAPABILITY: &str = "security.capability";
/// Key of the file capabilities in the PAX header of an archive entry.
const ARCHIVED: &str = "SCHILY.xattr.security.capability";
/// Extended attribute of overlayfs: the directory hides those of the same path in lower
/// layers.
const OPAQUE: &str = "trusted.overlay.opaque";
/// Extended attributes of overlayfs: the content is taken from another path. No extracted
/// layer has them.
const REDIRECTS: [&str; 2] = ["trusted.overlay.redirect", "trusted.overlay.metacopy"];

/// Metadata of an archive entry, to be compared with the file on the disk.
#[derive(Debug, PartialEq, Eq)]
struct Item {
    kind: EntryType,
    mode: u32,
    owner: (u64, u64),
    size: u64,
    /// Target of a symbolic or hard link; empty for other file types.
    link: PathBuf,
    device: (u32, u32),
    capability: Option<Vec<u8>>,
}

/// Table of contents of the archive of a layer.
#[derive(Debug, Default)]
pub(super) struct Layer {
    items: BTreeMap<PathBuf, Item>,
    /// Directories above an entry, which need not be entries of the archive themselves.
    above: BTreeSet<PathBuf>,
    /// Paths in lower layers that this layer removes (entries `.wh.NAME`).
    removed: BTreeSet<PathBuf>,
    /// Directories that hide those of the same path in lower layers (entries
    /// `.wh..wh..opq`).
    opaque: BTreeSet<PathBuf>,
}

/// Reader that computes the SHA-256 of everything that is read from it.
struct Hashing<R>(R, Sha256);

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.0.read(buffer)?;
        self.1.update(&buffer[..length]);
        Ok(length)
    }
}

impl Layer {
    /// Reads the archive of a layer to its end. Returns its digest and table of contents,
    /// or `None` if the input is not a tar archive.
    pub(super) fn read(input: &mut impl Read) -> Result<Option<(String, Self)>> {
        let mut archive = Archive::new(Hashing(input, Sha256::new()));
        let layer = Self::table(&mut archive);
        let mut rest = archive.into_inner();
        io::copy(&mut rest, &mut io::sink()).context("reading a layer")?;
        let hash = rest.1.finish();
        let hex = hex::encode(hash);
        Ok(layer.ok().map(|layer| (format!("sha256:{hex}"), layer)))
    }

    fn table<R: Read>(archive: &mut Archive<R>) -> Result<Self> {
        let mut layer = Self::default();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = normalized(&entry.path_bytes());
            let name = path.file_name().unwrap_or_default().as_bytes();
            let directory = path.parent().unwrap_or(Path::new(""));
            layer
                .above
                .extend(path.ancestors().skip(1).map(Path::to_path_buf));
            if name == b".wh..wh..opq" {
                layer.opaque.insert(directory.into());
            } else if name.starts_with(b".wh..wh.") {
                // Metadata of the older storage driver aufs, which the engine drops too.
            } else if let Some(name) = name.strip_prefix(b".wh.") {
                layer
                    .removed
                    .insert(directory.join(std::ffi::OsStr::from_bytes(name)));
            } else if !matches!(entry.header().entry_type(), EntryType::XGlobalHeader) {
                let item = Item::read(&mut entry)?;
                if item.kind == EntryType::Link {
                    // Hard link: the engine applies mode and owner of this entry to the
                    // shared inode, so they replace those of the target's entry.
                    let target = normalized(item.link.as_os_str().as_bytes());
                    if let Some(target) = layer.items.get_mut(&target) {
                        (target.mode, target.owner) = (item.mode, item.owner);
                    }
                }
                layer.items.insert(path, item);
            }
        }
        Ok(layer)
    }

    /// Compares the extracted `directory` with the archive; the error names the first
    /// path that differs.
    pub(super) fn compare(&self, directory: &Path) -> Result<(), String> {
        for (path, item) in &self.items {
            let place = directory.join(path);
            let data = fs::symlink_metadata(&place);
            let data = data.map_err(|_| format!("/{} is missing", path.display()))?;
            if let Some(what) = item.difference(&data, &place, directory) {
                return Err(format!("the {what} of /{} is another", path.display()));
            }
        }
        for path in &self.removed {
            let data = fs::symlink_metadata(directory.join(path));
            if !data.is_ok_and(|d| whiteout(&d)) {
                return Err(format!("/{} is not removed", path.display()));
            }
        }
        self.nothing_else(directory, Path::new(""))
    }

    /// Checks that a directory hides lower ones only if the archive says so, and takes no
    /// content from another path.
    fn hides_nothing(&self, place: &Path, path: &Path) -> Result<(), String> {
        let opaque = attribute(place, OPAQUE).is_some();
        if opaque != self.opaque.contains(path) || is_redirected(place) {
            return Err(format!("/{} hides what lies below", path.display()));
        }
        Ok(())
    }

    /// Checks that every path in `directory` is in the archive, or is a directory above
    /// an entry.
    fn nothing_else(&self, directory: &Path, inside: &Path) -> Result<(), String> {
        let error = |e: io::Error| format!("/{} cannot be read: {e}", inside.display());
        for entry in fs::read_dir(directory.join(inside)).map_err(error)? {
            let entry = entry.map_err(error)?;
            let path = inside.join(entry.file_name());
            let data = entry.metadata().map_err(error)?;
            let known = self.items.contains_key(&path) || self.removed.contains(&path);
            let above = data.is_dir() && self.above.contains(&path);
            if !known && !above {
                return Err(format!("/{} was added", path.display()));
            }
            if data.is_dir() {
                self.hides_nothing(&directory.join(&path), &path)?;
                self.nothing_else(directory, &path)?;
            }
        }
        Ok(())
    }
}

impl Item {
    fn read<R: Read>(entry: &mut Entry<'_, R>) -> Result<Self> {
        let header = entry.header();
        let (major, minor) = (header.device_major(), header.device_minor());
        let mut item = Self {
            kind: header.entry_type(),
            // An empty field counts as 0, as in the engine.
            mode: header.mode().unwrap_or(0) & 0o7777,
            owner: (header.uid().unwrap_or(0), header.gid().unwrap_or(0)),
            size: entry.size(),
            link: PathBuf::new(),
            device: (
                major.ok().flatten().unwrap_or(0),
                minor.ok().flatten().unwrap_or(0),
            ),
            capability: None,
        };
        if let Some(link) = entry.link_name_bytes() {
            item.link = PathBuf::from(std::ffi::OsStr::from_bytes(&link));
        }
        for extension in entry.pax_extensions()?.into_iter().flatten() {
            let extension = extension?;
            let number = || extension.value().ok().and_then(|v| v.parse().ok());
            match extension.key() {
                Ok("uid") => item.owner.0 = number().context("reading a header")?,
                Ok("gid") => item.owner.1 = number().context("reading a header")?,
                Ok(ARCHIVED) => item.capability = Some(extension.value_bytes().to_vec()),
                _ => {}
            }
        }
        Ok(item)
    }

    /// Compares a file on the disk with the entry; returns the word for the property that
    /// differs, for example `mode`, or `None`.
    fn difference(&self, data: &Metadata, place: &Path, directory: &Path) -> Option<&'static str> {
        let kind = data.file_type();
        if self.kind == EntryType::Link {
            let other =
                fs::symlink_metadata(directory.join(normalized(self.link.as_os_str().as_bytes())));
            let same = other.is_ok_and(|o| (o.dev(), o.ino()) == (data.dev(), data.ino()));
            return (!same).then_some("link");
        }
        let numbers = (major(data.rdev()), minor(data.rdev()));
        let is_same_kind = match self.kind {
            EntryType::Directory => kind.is_dir(),
            EntryType::Symlink => kind.is_symlink(),
            EntryType::Char => kind.is_char_device() && numbers == self.device,
            EntryType::Block => kind.is_block_device() && numbers == self.device,
            EntryType::Fifo => kind.is_fifo(),
            _ => kind.is_file(),
        };
        if !is_same_kind {
            return Some("kind");
        }
        if kind.is_symlink() && fs::read_link(place).is_ok_and(|to| to != self.link) {
            return Some("target");
        }
        if kind.is_file() && data.len() != self.size {
            return Some("size");
        }
        if (u64::from(data.uid()), u64::from(data.gid())) != self.owner {
            return Some("owner");
        }
        if !kind.is_symlink() && data.mode() & 0o7777 != self.mode {
            return Some("mode");
        }
        let other = kind.is_file() && attribute(place, CAPABILITY) != self.capability;
        (other || kind.is_file() && is_redirected(place)).then_some("attributes")
    }
}

/// Returns a path without `.`, `..` and slashes at both ends: `./usr/bin/` as `usr/bin`.
fn normalized(path: &[u8]) -> PathBuf {
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let parts = path.components();
    parts
        .filter(|p| matches!(p, std::path::Component::Normal(_)))
        .collect()
}

fn whiteout(data: &Metadata) -> bool {
    data.file_type().is_char_device() && data.rdev() == 0
}

fn is_redirected(place: &Path) -> bool {
    REDIRECTS
        .iter()
        .any(|name| attribute(place, name).is_some())
}

fn attribute(place: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    match lgetxattr(place, name, &mut value[..]) {
        Ok(length) => {
            value.truncate(length);
            Some(value)
        }
        Err(Errno::NODATA | Errno::NOTSUP) => None,
        // The attribute exists but is unreadable or too long, so it differs from any
        // expected value.
        Err(_) => Some(Vec::new()),
    }
}
