//! Count of the files of an ext4 file system, read from its inode tables. e2fsck does not
//! report how many files a repair loses, so they are counted before and after it.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::checksum::crc32c;
use super::superblock::Geometry;

/// Number of bytes of an inode table that are read at once.
const CHUNK_BYTES: u64 = 1 << 20;
/// Number of the root directory's inode.
const ROOT_INODE: u64 = 2;
/// Flag of a group whose inode table is not in use.
const TABLE_UNUSED: u16 = 0x1;
/// Flag of an inode whose blocks are listed in an extent tree.
const EXTENTS: u32 = 0x8_0000;
const EXTENT_MAGIC: [u8; 2] = [0x0a, 0xf3];

/// Number of files and directories in a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Files {
    /// Inodes that are whole: with a correct checksum, and not of an empty file.
    pub sound: u64,
    /// Inodes that look like files, with those that are not whole and empty files.
    pub plausible: u64,
}

/// Group of blocks with its part of the inode table.
struct Group {
    table: u64,
    /// Number of inodes at the end of the table that were never used.
    unused: u64,
    valid: bool,
}

/// Group descriptors of a file system: the first ones, or those behind a copy of the
/// superblock.
pub(crate) struct Descriptors<'a> {
    geometry: &'a Geometry,
    groups: Vec<Group>,
}

impl<'a> Descriptors<'a> {
    /// Reads the descriptors behind the superblock in `block`.
    pub(crate) fn read(device: &Path, geometry: &'a Geometry, block: u64) -> Result<Self> {
        let context = || format!("reading {}", device.display());
        let count = usize::try_from(geometry.groups())?;
        let bytes = count.checked_mul(geometry.descriptor_bytes);
        let mut table = vec![0; bytes.context("too many groups")?];
        let file = File::open(device).with_context(context)?;
        read_at(&file, &mut table, (block + 1) * geometry.block_bytes).with_context(context)?;
        let entries = table.chunks_exact(geometry.descriptor_bytes);
        let groups = (0..).zip(entries).map(|(n, e)| group(geometry, n, e));
        let groups = groups.collect();
        Ok(Self { geometry, groups })
    }

    /// Returns whether all descriptors are valid.
    pub(crate) fn are_valid(&self) -> bool {
        self.groups.iter().all(|group| group.valid)
    }

    /// Returns whether the inode tables are in the same places as in `other`.
    pub(crate) fn agree_with(&self, other: &Self) -> bool {
        let tables = |d: &Self| d.groups.iter().map(|g| g.table).collect::<Vec<_>>();
        tables(self) == tables(other)
    }

    /// Counts the files.
    ///
    /// # Errors
    /// A part of an inode table cannot be read.
    pub(crate) fn count(&self, device: &Path) -> Result<Files> {
        let context = || format!("reading the inode tables of {}", device.display());
        let file = File::open(device).with_context(context)?;
        let mut files = Files::default();
        for (number, group) in (0..).zip(&self.groups) {
            self.count_group(&file, number, group, &mut files)
                .with_context(context)?;
        }
        Ok(files)
    }

    fn count_group(
        &self,
        file: &File,
        number: u64,
        group: &Group,
        files: &mut Files,
    ) -> std::io::Result<()> {
        let geometry = self.geometry;
        let inode_bytes = geometry.inode_bytes as u64;
        let used = geometry.inodes_per_group - group.unused;
        if !is_inside(geometry, group.table) {
            return Ok(());
        }
        let start = group.table * geometry.block_bytes;
        let first = number * geometry.inodes_per_group + 1;
        let mut done = 0;
        while done < used {
            let inodes = (CHUNK_BYTES / inode_bytes).min(used - done);
            let mut chunk = vec![0; usize::try_from(inodes * inode_bytes).unwrap_or_default()];
            read_at(file, &mut chunk, start + done * inode_bytes)?;
            for (index, inode) in (first + done..).zip(chunk.chunks_exact(geometry.inode_bytes)) {
                if index == ROOT_INODE || index >= geometry.first_inode {
                    add(files, geometry.seed, index, inode);
                }
            }
            done += inodes;
        }
        Ok(())
    }
}

/// Reads like `read_exact_at`, with zeros beyond the end, which a file system that is
/// larger than its partition has.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
    match file.read_exact_at(buffer, offset) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            buffer.fill(0);
            Ok(())
        }
        other => other,
    }
}

fn half(bytes: &[u8], at: usize) -> u16 {
    let half = bytes.get(at..at + 2).and_then(|b| b.try_into().ok());
    half.map_or(0, u16::from_le_bytes)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
    word.map_or(0, u32::from_le_bytes)
}

fn group(geometry: &Geometry, number: u32, entry: &[u8]) -> Group {
    let wide = geometry.descriptor_bytes >= 64;
    let high = if wide { word(entry, 0x28) } else { 0 };
    let table = u64::from(high) << 32 | u64::from(word(entry, 0x8));
    let high = if wide { half(entry, 0x32) } else { 0 };
    let unused = u64::from(high) << 16 | u64::from(half(entry, 0x1c));
    let inside = is_inside(geometry, table);
    let Some(seed) = geometry.seed else {
        // Without a checksum nothing shows whether the number is right.
        return Group {
            table,
            unused: 0,
            valid: inside,
        };
    };
    let checksum = crc32c(seed, &number.to_le_bytes());
    let checksum = crc32c(checksum, &entry[..0x1e]);
    let checksum = crc32c(checksum, &[0, 0]);
    let checksum = crc32c(checksum, &entry[0x20..]);
    let valid = inside && checksum & 0xffff == u32::from(half(entry, 0x1e));
    let unused = match valid {
        true if half(entry, 0x12) & TABLE_UNUSED != 0 => geometry.inodes_per_group,
        true => unused.min(geometry.inodes_per_group),
        false => 0,
    };
    Group {
        table,
        unused,
        valid,
    }
}

/// Returns whether an inode table that begins with block `table` is in the file system.
fn is_inside(geometry: &Geometry, table: u64) -> bool {
    let bytes = geometry.inodes_per_group * geometry.inode_bytes as u64;
    let blocks = bytes.div_ceil(geometry.block_bytes);
    table > geometry.first_block && table.saturating_add(blocks) <= geometry.blocks
}

/// Counts an inode if it belongs to a file.
fn add(files: &mut Files, seed: Option<u32>, number: u64, inode: &[u8]) {
    let (mode, links) = (half(inode, 0), half(inode, 0x1a));
    let kind = mode >> 12;
    let known = matches!(kind, 1 | 2 | 4 | 6 | 8 | 10 | 12);
    if links == 0 || !known {
        return;
    }
    let in_tree = word(inode, 0x20) & EXTENTS != 0;
    if in_tree && inode.get(0x28..0x2a) != Some(&EXTENT_MAGIC) {
        return;
    }
    files.plausible += 1;
    let size = u64::from(word(inode, 0x6c)) << 32 | u64::from(word(inode, 0x4));
    let empty = kind == 8 && size == 0;
    if !empty && seed.is_none_or(|seed| has_checksum(seed, number, inode)) {
        files.sound += 1;
    }
}

fn has_checksum(seed: u32, number: u64, inode: &[u8]) -> bool {
    let Ok(number) = u32::try_from(number) else {
        return false;
    };
    let wide = inode.len() > 128 && half(inode, 0x80) >= 4;
    let mut copy = inode.to_vec();
    copy[0x7c..0x7e].fill(0);
    if wide {
        copy[0x82..0x84].fill(0);
    }
    let checksum = crc32c(seed, &number.to_le_bytes());
    let checksum = crc32c(crc32c(checksum, &inode[0x64..0x68]), &copy);
    let high = if wide {
        u32::from(half(inode, 0x82)) << 16
    } else {
        0
    };
    let stored = high | u32::from(half(inode, 0x7c));
    let mask = if wide { u32::MAX } else { 0xffff };
    checksum & mask == stored
}
