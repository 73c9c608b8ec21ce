//! Entry of a layer's archive, and its comparison with the file on the disk.

use std::collections::BTreeMap;
use std::io::{self, Read};

use anyhow::{Context, Result};
use rustix::fs::{FileType, major, minor};
use tar::{Entry, EntryType};

use super::directory::Found;

/// Prefix of the PAX records with extended attributes.
const ARCHIVED: &str = "SCHILY.xattr.";
/// Extended attribute of overlayfs: the directory hides those of the same path in lower
/// layers.
pub(super) const OPAQUE: &[u8] = b"trusted.overlay.opaque";
/// Extended attributes that overlayfs or the kernel set by themselves, without effect on
/// what a container sees.
const INEFFECTIVE: [&[u8]; 5] = [
    b"security.selinux",
    b"trusted.overlay.impure",
    b"trusted.overlay.nlink",
    b"trusted.overlay.origin",
    b"trusted.overlay.uuid",
];

/// Metadata of an archive entry, to be compared with the file on the disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) kind: EntryType,
    mode: u32,
    owner: (u64, u64),
    size: u64,
    /// Target of a symbolic or hard link; empty for other file types.
    pub(super) link: Vec<u8>,
    device: (u32, u32),
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Property of a file that differs from the archive entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference {
    /// Owner or mode, which a later hard link to the file may set.
    Access(&'static str),
    /// Extended attributes, likewise.
    Attributes,
    /// Another property.
    Other(&'static str),
}

impl Item {
    /// Reads the header of an entry.
    pub(super) fn read<R: Read>(entry: &mut Entry<'_, R>) -> Result<Self> {
        let header = entry.header();
        let (major, minor) = (header.device_major(), header.device_minor());
        let mut item = Self {
            kind: header.entry_type(),
            // An empty field counts as 0, as in the engine.
            mode: header.mode().unwrap_or(0) & 0o7777,
            owner: (header.uid().unwrap_or(0), header.gid().unwrap_or(0)),
            size: entry.size(),
            link: Vec::new(),
            device: (
                major.ok().flatten().unwrap_or(0),
                minor.ok().flatten().unwrap_or(0),
            ),
            attributes: BTreeMap::new(),
        };
        if let Some(link) = entry.link_name_bytes() {
            item.link = link.into_owned();
        }
        for extension in entry.pax_extensions()?.into_iter().flatten() {
            let extension = extension?;
            let number = || extension.value().ok().and_then(|v| v.parse().ok());
            match extension.key() {
                Ok("uid") => item.owner.0 = number().context("reading a header")?,
                Ok("gid") => item.owner.1 = number().context("reading a header")?,
                Ok(key) => {
                    if let Some(name) = key.strip_prefix(ARCHIVED) {
                        // An empty value stands for none in PAX.
                        match extension.value_bytes() {
                            [] => item.attributes.remove(name.as_bytes()),
                            value => item.attributes.insert(name.into(), value.into()),
                        };
                    }
                }
                Err(_) => {}
            }
        }
        Ok(item)
    }

    /// Returns whether the entry is a hard link with extended attributes, which the engine
    /// sets on the shared file.
    pub(super) fn sets_attributes(&self) -> bool {
        !self.attributes.is_empty()
    }

    /// Compares a file on the disk with the entry; for a hard link only what the engine
    /// applies to the shared file.
    pub(super) fn difference(&self, found: &Found) -> io::Result<Option<Difference>> {
        let kind = found.kind();
        let is_link = self.kind == EntryType::Link;
        if !is_link {
            if let Some(what) = self.other_content(found)? {
                return Ok(Some(Difference::Other(what)));
            }
        }
        if (!is_link || self.sets_attributes()) && !self.has_attributes(found)? {
            return Ok(Some(Difference::Attributes));
        }
        let stat = &found.stat;
        if (u64::from(stat.st_uid), u64::from(stat.st_gid)) != self.owner {
            return Ok(Some(Difference::Access("owner")));
        }
        let differs = kind != FileType::Symlink && stat.st_mode & 0o7777 != self.mode;
        Ok(differs.then_some(Difference::Access("mode")))
    }

    fn other_content(&self, found: &Found) -> io::Result<Option<&'static str>> {
        let kind = found.kind();
        let numbers = (major(found.stat.st_rdev), minor(found.stat.st_rdev));
        let is_same_kind = match self.kind {
            EntryType::Directory => kind == FileType::Directory,
            EntryType::Symlink => kind == FileType::Symlink,
            EntryType::Char => kind == FileType::CharacterDevice && numbers == self.device,
            EntryType::Block => kind == FileType::BlockDevice && numbers == self.device,
            EntryType::Fifo => kind == FileType::Fifo,
            _ => kind == FileType::RegularFile,
        };
        if !is_same_kind {
            return Ok(Some("kind"));
        }
        if kind == FileType::Symlink && found.target()? != self.link {
            return Ok(Some("target"));
        }
        let size = u64::try_from(found.stat.st_size).ok();
        let differs = kind == FileType::RegularFile && size != Some(self.size);
        Ok(differs.then_some("size"))
    }

    /// Returns whether a file has the extended attributes of the entry and no others.
    fn has_attributes(&self, found: &Found) -> io::Result<bool> {
        let mut attributes = found.attributes()?;
        let is_plain = [FileType::RegularFile, FileType::Directory].contains(&found.kind());
        for (name, value) in &self.attributes {
            match attributes.remove(name) {
                Some(other) if other == *value => {}
                // The kernel has those of users for files and directories only, and the
                // engine ignores its refusal.
                None if !is_plain && name.starts_with(b"user.") => {}
                _ if is_ineffective(name) => {}
                _ => return Ok(false),
            }
        }
        // That of a directory is compared with the archive by itself.
        let is_known = |name: &[u8]| {
            let is_opaque = found.kind() == FileType::Directory && name == OPAQUE;
            is_opaque || is_ineffective(name)
        };
        Ok(attributes.keys().all(|name| is_known(name)))
    }
}

/// Returns whether an extended attribute has no effect on what a container sees.
pub(super) fn is_ineffective(name: &[u8]) -> bool {
    INEFFECTIVE.contains(&name)
}
