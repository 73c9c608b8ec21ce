//! Traversal of everything below a directory that a container may change meanwhile: by
//! descriptor, without following a link, on one file system and mount, and bounded in
//! depth and number.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::fs::{Dir, FileType, OFlags, Stat, fstat};
use rustix::io::Errno;

use super::beneath;

/// Limit of the depth. Each level is one open descriptor.
const MAX_DEPTH: usize = 256;
/// Limit of the entries. A program that creates and removes files would else keep a
/// traversal going for ever.
const MAX_ENTRIES: u64 = 20_000_000;
/// Limit of the files with several links that are counted.
const MAX_LINKED: usize = 100_000;

/// Traversal of the content of one or more directories, which do not contain each other.
pub(super) struct Walk {
    open: Vec<Dir>,
    device: u64,
    entries: u64,
    /// Names of each file with several, seen and in all, by inode.
    links: HashMap<u64, (u64, u64)>,
    uncounted: u64,
}

/// Entry of a directory.
pub(super) enum Entry {
    /// Open entry, a link itself and not what it leads to, and its state.
    Found(OwnedFd, Stat),
    /// Reason why an entry, or what is below it, is not visited.
    Left(String),
}

impl Walk {
    pub(super) fn new() -> Self {
        Self {
            open: Vec::new(),
            device: 0,
            entries: 0,
            links: HashMap::new(),
            uncounted: 0,
        }
    }

    /// Enters the directory `source`; a file has no content.
    pub(super) fn enter(&mut self, source: &OwnedFd) -> Result<()> {
        let stat = fstat(source).context("reading the kind of a mount source")?;
        self.open.clear();
        self.device = stat.st_dev;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            self.descend(source)
                .context("reading a directory of the app")?;
        }
        Ok(())
    }

    /// Returns the next entry; `None` at the end.
    pub(super) fn next(&mut self) -> Option<Entry> {
        loop {
            let directory = self.open.last_mut()?;
            let name = match directory.read() {
                Some(Ok(entry)) => entry.file_name().to_owned(),
                Some(Err(error)) => {
                    self.open.pop();
                    return Some(Entry::Left(error.to_string()));
                }
                None => {
                    self.open.pop();
                    continue;
                }
            };
            if [&b"."[..], b".."].contains(&name.to_bytes()) {
                continue;
            }
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                self.open.clear();
                return Some(Entry::Left(format!("there are more than {MAX_ENTRIES}")));
            }
            let opened = directory
                .fd()
                .and_then(|at| beneath::open_entry(at, &*name));
            match opened.and_then(|file| fstat(&file).map(|stat| (file, stat))) {
                // Removed meanwhile.
                Err(Errno::NOENT) => {}
                Err(error) => return Some(Entry::Left(left(error))),
                Ok((_, stat)) if stat.st_dev != self.device => {
                    return Some(Entry::Left(left(Errno::XDEV)));
                }
                Ok((file, stat)) => return Some(self.found(file, stat)),
            }
        }
    }

    fn found(&mut self, file: OwnedFd, stat: Stat) -> Entry {
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Entry::Found(file, stat);
        }
        if self.open.len() >= MAX_DEPTH {
            return Entry::Left(format!("directories are nested deeper than {MAX_DEPTH}"));
        }
        match self.descend(&file) {
            Ok(()) => Entry::Found(file, stat),
            Err(error) => Entry::Left(left(error)),
        }
    }

    fn descend(&mut self, directory: impl AsFd) -> rustix::io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let readable = beneath::open(directory, ".", flags)?;
        self.open.push(Dir::new(readable)?);
        Ok(())
    }

    /// Returns whether an entry is a device node, which is never given to a user.
    pub(super) fn is_device(&self, stat: &Stat) -> bool {
        let kind = FileType::from_raw_mode(stat.st_mode);
        matches!(kind, FileType::BlockDevice | FileType::CharacterDevice)
    }

    /// Returns whether a file has more names than this one.
    pub(super) fn is_linked(&self, stat: &Stat) -> bool {
        FileType::from_raw_mode(stat.st_mode) != FileType::Directory && stat.st_nlink > 1
    }

    /// Counts one name of a file with several. Returns whether this was the last one: all
    /// of them are in the directories of this traversal.
    pub(super) fn has_all_links(&mut self, stat: &Stat) -> bool {
        if self.links.len() >= MAX_LINKED && !self.links.contains_key(&stat.st_ino) {
            self.uncounted += 1;
            return false;
        }
        #[allow(clippy::useless_conversion, reason = "32 bits on arm64")]
        let all = u64::from(stat.st_nlink);
        let names = self.links.entry(stat.st_ino).or_insert((0, all));
        names.0 += 1;
        names.0 == names.1
    }

    /// Returns the number of files of which a name is outside of the directories of this
    /// traversal, or was not counted.
    pub(super) fn linked_elsewhere(&self) -> u64 {
        let incomplete = self.links.values().filter(|(seen, all)| seen != all);
        self.uncounted + incomplete.count() as u64
    }
}

/// Returns why an entry that cannot be opened keeps its owner.
fn left(error: Errno) -> String {
    match error {
        Errno::XDEV => "another file system or mount".into(),
        error => error.to_string(),
    }
}
