//! ext4 on the data partition: superblock, format, check, repair and growth.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use edge_common::command::{CommandExt, run_within};
use edge_common::exit::Failure;
use edge_common::log::printable;
use edge_common::{Root, log};

use crate::exit_code::DAMAGED;
use crate::format_marker;

/// Time limit of a check and of a repair. A check that takes longer is stopped, since
/// the boot waits for it: the mount replays the journal and the next boot checks again.
const CHECK_LIMIT: Duration = Duration::from_secs(120);
/// Time limit of growing.
const GROW_LIMIT: Duration = Duration::from_secs(120);
/// Time between SIGTERM and SIGKILL: e2fsck and resize2fs end at a point at which the
/// file system is whole.
const GRACE: Duration = Duration::from_secs(10);
/// Longest report of e2fsck in the log, in characters.
const MAX_REPORT_CHARS: usize = 2000;
/// Smallest growth, in bytes: below that the wear is not worth the space.
const MIN_GROWTH_BYTES: u64 = 16 * 1024 * 1024;
/// Magic number of ext2, ext3 and ext4.
const MAGIC: u16 = 0xef53;

/// Facts of a superblock.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// Size of the file system, in bytes.
    pub bytes: u64,
    /// Whether it was mounted at any time. If not, it holds no data.
    pub ever_mounted: bool,
    /// Whether its label is `data`.
    pub labelled_data: bool,
    /// Whether it was unmounted in order, without recorded errors.
    pub clean: bool,
}

/// Reads the superblock, if there is one.
pub(crate) fn superblock(device: &Path) -> Result<Option<Superblock>> {
    let context = || format!("reading {}", device.display());
    let mut file = File::open(device).with_context(context)?;
    file.seek(SeekFrom::Start(1024)).with_context(context)?;
    let mut block = Vec::new();
    file.take(1024)
        .read_to_end(&mut block)
        .with_context(context)?;
    Ok(parse(&block))
}

/// Parses a superblock; its layout is in the kernel's `filesystems/ext4/super.rst`. Own
/// code, because blkid reports neither mounts nor the label of a damaged file system.
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
    let wide_counts = word(0x60)? & 0x80 != 0;
    let high = if wide_counts {
        u64::from(word(0x150)?)
    } else {
        0
    };
    let blocks = high << 32 | u64::from(word(0x4)?);
    let block_size = 1024_u64.checked_shl(word(0x18)?)?;
    let (mount_time, mount_count) = (word(0x2c)?, half(0x34)?);
    let mount_point = block.get(0x88..0x88 + 64)?;
    let label = block.get(0x78..0x78 + 16)?;
    let journal_to_replay = word(0x60)? & 0x4 != 0;
    Some(Superblock {
        bytes: blocks.checked_mul(block_size)?,
        // Any of the three is evidence: e2fsck resets the mount count, for example.
        ever_mounted: mount_time != 0 || mount_count != 0 || mount_point.iter().any(|b| *b != 0),
        labelled_data: label.starts_with(b"data\0"),
        clean: half(0x3a)? & 0x3 == 1 && !journal_to_replay,
    })
}

/// Returns the size of the partition, in bytes.
pub(crate) fn size(device: &Path) -> Result<u64> {
    let context = || format!("reading {}", device.display());
    let mut file = File::open(device).with_context(context)?;
    file.seek(SeekFrom::End(0)).with_context(context)
}

/// Creates the file system, with the marker set meanwhile.
pub(crate) fn make(root: &Root, device: &Path) -> Result<()> {
    let blocks = size(device)?.saturating_sub(format_marker::RESERVED_BYTES) / 4096;
    format_marker::set(device)?;
    root.command("/usr/sbin/mkfs.ext4")
        // One percent for root instead of five: nothing of the system is on /data.
        .args(["-q", "-L", "data", "-m", "1", "-b", "4096"])
        // The kernel initialises the inode tables after the mount; mkfs would take
        // minutes of the first boot for it on a large disk.
        .args(["-E", "lazy_itable_init=1"])
        .arg(device)
        .arg(blocks.to_string())
        .run()?;
    superblock(device)?
        .with_context(|| format!("formatting {}: no superblock found", device.display()))?;
    format_marker::clear(device)
}

/// Checks the file system and repairs it.
pub(crate) fn check(root: &Root, device: &Path) -> Result<()> {
    // Read-only if it is clean: `e2fsck -p` writes a counter even then, at every boot.
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
        format_args!("{} is damaged and cannot be repaired", device.display()),
    ))
}

/// Runs e2fsck(8); returns whether the file system can be used.
fn check_as(root: &Root, device: &Path, options: &[&str]) -> Result<bool> {
    let mut command = root.command("/usr/sbin/e2fsck");
    let command = command.args(options).arg(device);
    let completed = run_within(command, "", CHECK_LIMIT, GRACE)?;
    let Some(status) = completed.status else {
        log::warn(format_args!(
            "checking {} took longer than {} s: continuing without a check",
            device.display(),
            CHECK_LIMIT.as_secs()
        ));
        return Ok(true);
    };
    match status.code() {
        Some(0) => Ok(true),
        // Bit 0 is "repaired"; bit 1, "reboot", concerns a mounted file system only.
        Some(1..=3) => {
            log::info(format_args!("repaired: {}", shorten(&completed.output())));
            Ok(true)
        }
        _ => {
            let output = shorten(&completed.output());
            log::warn(format_args!("e2fsck: {status}: {output}"));
            Ok(false)
        }
    }
}

/// Returns the beginning of `output` on one line: e2fsck may report megabytes.
fn shorten(output: &str) -> String {
    let words: Vec<_> = output.split_whitespace().collect();
    let short: String = words.join(" ").chars().take(MAX_REPORT_CHARS).collect();
    printable(&short)
}

/// Returns the size to which the file system can grow, in bytes, unless the growth would
/// be too small.
pub(crate) fn growth(file_system: u64, partition: u64) -> Option<u64> {
    let target = partition.saturating_sub(format_marker::RESERVED_BYTES) / 4096 * 4096;
    (target >= file_system.saturating_add(MIN_GROWTH_BYTES)).then_some(target)
}

/// Grows the file system to `bytes`. A growth that fails is logged only: the device
/// works with the old size.
pub(crate) fn grow(root: &Root, device: &Path, bytes: u64) -> Result<()> {
    // resize2fs insists on a full check before.
    if !check_as(root, device, &["-f", "-p"])? {
        check(root, device)?;
    }
    let mut command = root.command("/usr/sbin/resize2fs");
    let command = command.arg(device).arg(format!("{}K", bytes / 1024));
    let completed = run_within(command, "", GROW_LIMIT, GRACE)?;
    if completed.success() {
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
        completed.summary()
    ));
    check(root, device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_growth_is_left_out() {
        let gib = 1024 * 1024 * 1024;
        assert_eq!(growth(gib, gib), None);
        assert_eq!(growth(gib - format_marker::RESERVED_BYTES, gib), None);
        assert_eq!(growth(gib, gib + MIN_GROWTH_BYTES), None);
        assert_eq!(
            growth(gib, 2 * gib),
            Some(2 * gib - format_marker::RESERVED_BYTES)
        );
        assert_eq!(
            growth(gib, 2 * gib + 512),
            Some(2 * gib - format_marker::RESERVED_BYTES)
        );
        assert_eq!(growth(2 * gib, gib), None);
        assert_eq!(growth(u64::MAX, gib), None);
    }

    #[test]
    fn only_a_valid_superblock_is_parsed() {
        let mut block = vec![0; 1024];
        assert_eq!(parse(&block), None);
        assert_eq!(parse(&[]), None);
        block[0x38..0x3a].copy_from_slice(&MAGIC.to_le_bytes());
        block[0x4] = 10;
        block[0x18] = 2;
        let fresh = parse(&block).unwrap();
        assert_eq!((fresh.bytes, fresh.ever_mounted), (40_960, false));
        assert!(!fresh.labelled_data);
        block[0x78..0x7c].copy_from_slice(b"data");
        assert!(parse(&block).unwrap().labelled_data);
        block[0x34] = 1;
        assert!(parse(&block).unwrap().ever_mounted);
        block[0x18] = 255;
        assert_eq!(parse(&block), None);
    }
}
