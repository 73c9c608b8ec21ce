//! ext4 on the data partition: reading the superblock, and running mkfs.ext4, tune2fs,
//! e2fsck and resize2fs.

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

/// Time limit of one run of e2fsck. A longer run is stopped, because the boot waits for
/// it; the mount then replays the journal, and the next boot checks again.
const CHECK_LIMIT: Duration = Duration::from_secs(120);
/// Time limit of one run of resize2fs.
const GROW_LIMIT: Duration = Duration::from_secs(120);
/// Time between SIGTERM and SIGKILL. After SIGTERM, e2fsck and resize2fs stop at a
/// point at which the file system is consistent.
const GRACE: Duration = Duration::from_secs(10);
/// Length limit of e2fsck's output in a log message, in characters.
const MAX_REPORT_CHARS: usize = 2000;
/// Smallest growth that is performed, in bytes: less space is not worth the flash wear.
const MIN_GROWTH_BYTES: u64 = 16 * 1024 * 1024;
/// Magic number in the superblock of ext2, ext3 and ext4.
const MAGIC: u16 = 0xef53;

/// Fields of an ext2, ext3 or ext4 superblock that decide about the partition.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// Size of the file system, in bytes.
    pub bytes: u64,
    /// Whether the file system was ever mounted; otherwise it contains no data.
    pub ever_mounted: bool,
    /// Whether the label is `data`, which this tool sets when it formats a partition.
    pub labelled_data: bool,
    /// Whether the file system was unmounted cleanly and has no recorded errors.
    pub clean: bool,
}

/// Reads the superblock at byte 1024. Returns `None` if the magic number is missing.
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

/// Parses a superblock, whose layout is described in the kernel's
/// `filesystems/ext4/super.rst`. blkid is not sufficient: it reports neither mounts nor
/// the label of a damaged file system.
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
        // Any of these three fields proves a mount; e2fsck resets the mount count, for
        // example.
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

/// Creates an ext4 file system with the label `data`. The format marker is set before
/// and cleared afterwards, so that the next boot recognises an interruption. The file
/// system has project quotas, which `edge-docker` sets for each app.
pub(crate) fn make(root: &Root, device: &Path) -> Result<()> {
    let blocks = size(device)?.saturating_sub(format_marker::RESERVED_BYTES) / 4096;
    format_marker::set(device)?;
    root.command("/usr/sbin/mkfs.ext4")
        // Reserve 1 % of the blocks instead of 5 %, because /data contains no part of the
        // operating system. `resuid` of data.mount keeps containers from using them.
        .args(["-q", "-L", "data", "-m", "1", "-b", "4096"])
        // The kernel initialises the inode tables after the mount. With a large disk
        // mkfs would prolong the first boot by minutes.
        .args(["-E", "lazy_itable_init=1,quotatype=prjquota"])
        .args(["-O", "project,quota"])
        .arg(device)
        .arg(blocks.to_string())
        .run()?;
    // Limits apply from the mount on. An option of data.mount would keep file systems
    // without the feature from being mounted.
    root.command("/usr/sbin/tune2fs")
        .args(["-E", "mount_opts=prjquota"])
        .arg(device)
        .run()?;
    superblock(device)?
        .with_context(|| format!("formatting {}: no superblock found", device.display()))?;
    format_marker::clear(device)
}

/// Checks the file system with e2fsck: read-only if it is clean, else with automatic
/// repair (`-p`), and if that is not sufficient with full repair (`-y`).
pub(crate) fn check(root: &Root, device: &Path) -> Result<()> {
    // A clean file system is checked read-only, because `e2fsck -p` would update a
    // counter on the disk at every boot.
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

/// Runs e2fsck(8) with `options`. Returns whether the file system can be used; a check
/// that reaches the time limit counts as success.
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
        // Bits of e2fsck's exit status: 1 means "repaired", and 2 means "reboot", which
        // concerns only a mounted file system.
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

/// Returns the beginning of `output` on one line, because e2fsck may print megabytes.
fn shorten(output: &str) -> String {
    let words: Vec<_> = output.split_whitespace().collect();
    let short: String = words.join(" ").chars().take(MAX_REPORT_CHARS).collect();
    printable(&short)
}

/// Returns the size in bytes to which the file system can grow, or `None` if it would
/// gain less than [`MIN_GROWTH_BYTES`].
pub(crate) fn growth(file_system: u64, partition: u64) -> Option<u64> {
    let target = partition.saturating_sub(format_marker::RESERVED_BYTES) / 4096 * 4096;
    (target >= file_system.saturating_add(MIN_GROWTH_BYTES)).then_some(target)
}

/// Grows the file system to `bytes`. If resize2fs fails, a warning is logged and the
/// file system is checked: the device can work with the old size.
pub(crate) fn grow(root: &Root, device: &Path, bytes: u64) -> Result<()> {
    // resize2fs requires a full check immediately before.
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
