//! The file system of ours: what its superblock says, its check, its growth.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use edge_common::command::CommandExt;
use edge_common::exit::Failure;
use edge_common::{Root, log};

use crate::{DAMAGED, limit, mark};

/// Limit of a check, and of a repair. A check that is not done by then is given
/// up: the journal is replayed by the mount, and the next boot checks again.
const CHECK: Duration = Duration::from_secs(120);
/// Limit of growing.
const GROW: Duration = Duration::from_secs(120);
/// A partition that is larger by less than this is not worth growing into.
const WORTH: u64 = 16 * 1024 * 1024;
/// Magic number of ext2, ext3 and ext4.
const MAGIC: u16 = 0xef53;

/// What matters of a superblock.
#[derive(Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Size of the file system, in bytes.
    pub bytes: u64,
    /// Was it ever mounted? If not, it holds nothing of anybody.
    pub mounted: bool,
    /// Does it bear our label?
    pub ours: bool,
    /// Was it unmounted in order, with no journal to replay and no error noted?
    pub clean: bool,
}

/// Reads the superblock, if there is one.
///
/// # Errors
/// The partition cannot be read.
pub fn superblock(device: &Path) -> Result<Option<Superblock>> {
    let context = || format!("reading {}", device.display());
    let mut file = File::open(device).with_context(context)?;
    file.seek(SeekFrom::Start(1024)).with_context(context)?;
    let mut block = Vec::new();
    file.take(1024)
        .read_to_end(&mut block)
        .with_context(context)?;
    Ok(parse(&block))
}

/// The layout is documented in the kernel's `filesystems/ext4`.
fn parse(block: &[u8]) -> Option<Superblock> {
    let word = |at: usize| {
        let bytes = block.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let half = |at: usize| {
        let bytes = block.get(at..at + 2)?;
        Some(u16::from_le_bytes(bytes.try_into().ok()?))
    };
    if half(0x38)? != MAGIC {
        return None;
    }
    let long = word(0x60)? & 0x80 != 0;
    let high = if long { u64::from(word(0x150)?) } else { 0 };
    let blocks = high << 32 | u64::from(word(0x4)?);
    let size = 1024_u64.checked_shl(word(0x18)?)?;
    let path = block.get(0x88..0x88 + 64)?;
    let label = block.get(0x78..0x78 + 16)?;
    let recover = word(0x60)? & 0x4 != 0;
    Some(Superblock {
        bytes: blocks.checked_mul(size)?,
        mounted: word(0x2c)? != 0 || half(0x34)? != 0 || path.iter().any(|b| *b != 0),
        ours: label.starts_with(b"data\0"),
        clean: half(0x3a)? & 0x3 == 1 && !recover,
    })
}

/// Size of the partition, in bytes.
///
/// # Errors
/// It cannot be read.
pub fn size(device: &Path) -> Result<u64> {
    let context = || format!("reading {}", device.display());
    let mut file = File::open(device).with_context(context)?;
    file.seek(SeekFrom::End(0)).with_context(context)
}

/// Makes the file system, between setting the mark and removing it.
///
/// # Errors
/// `mkfs` failing, or a partition that is too small.
pub fn make(root: &Root, device: &Path) -> Result<()> {
    let blocks = size(device)?.saturating_sub(mark::RESERVED) / 4096;
    mark::set(device)?;
    root.command("/usr/sbin/mkfs.ext4")
        .args(["-q", "-L", "data", "-m", "1", "-b", "4096"])
        .args(["-E", "lazy_itable_init=1"])
        .arg(device)
        .arg(blocks.to_string())
        .run()?;
    superblock(device)?
        .with_context(|| format!("making {}: it has no superblock", device.display()))?;
    mark::clear(device)
}

/// Checks, and repairs what is to be repaired.
///
/// # Errors
/// It cannot be repaired: exit code 7.
pub fn check(root: &Root, device: &Path) -> Result<()> {
    // What is clean stays as it is, byte for byte: e2fsck writes even then.
    let clean = superblock(device)?.is_some_and(|s| s.clean);
    if clean && check_as(root, device, &["-n"])? {
        return Ok(());
    }
    if check_as(root, device, &["-p"])? {
        return Ok(());
    }
    log::warn(format_args!("repairing {}", device.display()));
    if check_as(root, device, &["-y"])? {
        return Ok(());
    }
    Err(Failure::error(
        DAMAGED,
        format_args!("{} is damaged and could not be repaired", device.display()),
    ))
}

/// e2fsck(8): 0 good, 1 and 2 repaired, otherwise errors are left.
fn check_as(root: &Root, device: &Path, words: &[&str]) -> Result<bool> {
    let mut command = root.command("/usr/sbin/e2fsck");
    let ended = limit::run(command.args(words).arg(device), CHECK)?;
    let Some(status) = ended.status else {
        log::warn(format_args!(
            "checking {} took longer than {} s: going on without",
            device.display(),
            CHECK.as_secs()
        ));
        return Ok(true);
    };
    match status.code() {
        Some(0) => Ok(true),
        Some(1..=3) => {
            log::info(format_args!("repaired: {}", ended.words));
            Ok(true)
        }
        _ => {
            log::warn(format_args!("e2fsck: {status}: {}", ended.words));
            Ok(false)
        }
    }
}

/// To which size it can grow, in bytes; nothing if that is not worth it.
pub fn growth(file_system: u64, partition: u64) -> Option<u64> {
    let target = partition.saturating_sub(mark::RESERVED) / 4096 * 4096;
    (target >= file_system.saturating_add(WORTH)).then_some(target)
}

/// Grows it to `bytes`. Failing is not fatal: it is as large as it was.
///
/// # Errors
/// The check that is needed before, as [`check`].
pub fn grow(root: &Root, device: &Path, bytes: u64) -> Result<()> {
    if !check_as(root, device, &["-f", "-p"])? {
        check(root, device)?;
    }
    let mut command = root.command("/usr/sbin/resize2fs");
    let command = command.arg(device).arg(format!("{}K", bytes / 1024));
    let ended = limit::run(command, GROW)?;
    if ended.status.is_some_and(|s| s.success()) {
        log::info(format_args!(
            "grew {} to {} MB",
            device.display(),
            bytes / 1_000_000
        ));
        return Ok(());
    }
    log::warn(format_args!(
        "growing {}: {}",
        device.display(),
        ended.words
    ));
    check(root, device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_worthwhile_growth() {
        let gib = 1024 * 1024 * 1024;
        assert_eq!(growth(gib, gib), None);
        assert_eq!(growth(gib - mark::RESERVED, gib), None);
        assert_eq!(growth(gib, gib + WORTH), None);
        assert_eq!(growth(gib, 2 * gib), Some(2 * gib - mark::RESERVED));
        assert_eq!(growth(gib, 2 * gib + 512), Some(2 * gib - mark::RESERVED));
        assert_eq!(growth(2 * gib, gib), None);
        assert_eq!(growth(u64::MAX, gib), None);
    }

    #[test]
    fn a_superblock_and_what_is_none() {
        let mut block = vec![0; 1024];
        assert_eq!(parse(&block), None);
        assert_eq!(parse(&[]), None);
        block[0x38..0x3a].copy_from_slice(&MAGIC.to_le_bytes());
        block[0x4] = 10;
        block[0x18] = 2;
        let fresh = parse(&block).unwrap();
        assert_eq!((fresh.bytes, fresh.mounted), (40_960, false));
        assert!(!fresh.ours);
        block[0x78..0x7c].copy_from_slice(b"data");
        assert!(parse(&block).unwrap().ours);
        block[0x34] = 1;
        assert!(parse(&block).unwrap().mounted);
        block[0x18] = 255;
        assert_eq!(parse(&block), None);
    }
}
