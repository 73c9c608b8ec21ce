//! ext4 on the data partition: reading its metadata, and running mkfs.ext4, tune2fs,
//! e2fsck and resize2fs.

mod checksum;
mod inodes;
mod repair;
mod superblock;
mod undo;

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use edge_common::command::{CommandExt, run_within};
use edge_common::{Root, log};

use crate::format_marker;
pub(crate) use repair::{check, files_by_copies};
pub(crate) use superblock::{Superblock, copies, groups_with_copies, superblock};

/// Time limit of one run of resize2fs.
const GROW_LIMIT: Duration = Duration::from_secs(120);
/// Time between SIGTERM and SIGKILL. After SIGTERM, e2fsck stops at a point at which
/// the file system is consistent.
const GRACE: Duration = Duration::from_secs(10);
/// Smallest growth that is performed, in bytes: less space is not worth the flash wear.
const MIN_GROWTH_BYTES: u64 = 16 * 1024 * 1024;

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

/// Returns the size in bytes to which the file system can grow, or `None` if it would
/// gain less than [`MIN_GROWTH_BYTES`].
pub(crate) fn growth(file_system: u64, partition: u64) -> Option<u64> {
    let target = partition.saturating_sub(format_marker::RESERVED_BYTES) / 4096 * 4096;
    (target >= file_system.saturating_add(MIN_GROWTH_BYTES)).then_some(target)
}

/// Grows the file system to `bytes`. If that fails, a warning is logged and the file
/// system is checked: the device can work with the old size.
pub(crate) fn grow(root: &Root, device: &Path, bytes: u64) -> Result<()> {
    // resize2fs requires a full check immediately before, which is recorded.
    check(root, device, true)?;
    stamp(root, device)?;
    let mut command = root.command("/usr/sbin/resize2fs");
    let command = command.arg(device).arg(format!("{}K", bytes / 1024));
    let failure = match run_within(command, "", GROW_LIMIT, GRACE) {
        Ok(completed) if completed.success() => {
            let megabytes = bytes / 1_000_000;
            log::info(format_args!("grew {} to {megabytes} MB", device.display()));
            return Ok(());
        }
        Ok(completed) => completed.summary(),
        // A missing program is no reason to do without /data.
        Err(error) => format!("{error:#}"),
    };
    log::warn(format_args!("growing {}: {failure}", device.display()));
    check(root, device, false)
}

/// Records the check that resize2fs requires. Its result was good, so nothing is
/// repaired.
fn stamp(root: &Root, device: &Path) -> Result<()> {
    let mut command = root.command("/usr/sbin/e2fsck");
    let command = command.args(["-f", "-p"]).arg(device);
    run_within(command, "", GROW_LIMIT, GRACE).map(|_| ())
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
}
