//! Reserve of bytes and inodes on the data partition, of which the audit gives a portion
//! back if the partition is full: the engine writes before it answers, and without it
//! nobody could remove what fills the partition.
//!
//! The kernel keeps 1 % of the blocks from containers (`resuid` of `data.mount`), but not
//! from the engine's own logs and pulls, and it reserves no inodes.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use edge_common::contract::path::RESERVE;
use edge_common::{Root, file, log};
use rustix::fs::{FallocateFlags, StatVfs, fallocate, statvfs};

/// Size of the reserve, in bytes.
const BYTES: u64 = 64 << 20;
/// Number of empty files of the reserve, each of which occupies an inode.
const FILES: u64 = 1024;
/// Number of portions: as many starts of the engine on a full partition succeed.
const PORTIONS: u64 = 8;
/// Name of the file that occupies the bytes.
const LARGE: &str = "bytes";

/// Gives a portion of the reserve back on a full partition, and fills it where there is
/// space. An error is only reported: the engine may start without it.
pub(super) fn adjust(root: &Root) {
    if let Err(error) = try_adjust(root) {
        log::warn(format_args!("adjusting {RESERVE}: {error:#}"));
    }
}

fn try_adjust(root: &Root) -> Result<()> {
    let data = root.path("/data");
    let device = |path: &Path| fs::metadata(path).map(|data| data.dev());
    // Without a data partition, this would occupy another file system.
    if device(&data)? == device(&root.path("/"))? {
        return Ok(());
    }
    let directory = root.path(RESERVE);
    let free = statvfs(&data).context("reading the free space of /data")?;
    if free_bytes(&free) < BYTES / PORTIONS || free.f_ffree < FILES / PORTIONS {
        log::warn(format_args!(
            "/data is full ({} bytes and {} inodes are free): giving back a part of {RESERVE}",
            free_bytes(&free),
            free.f_ffree
        ));
        return release(&directory);
    }
    // Small partitions, and those that are nearly full, belong to the apps.
    if free_bytes(&free) > 4 * BYTES && free.f_ffree > 4 * FILES {
        fill(&directory)?;
    }
    Ok(())
}

fn free_bytes(free: &StatVfs) -> u64 {
    free.f_bavail.saturating_mul(free.f_frsize)
}

/// Occupies what is missing of the reserve.
fn fill(directory: &Path) -> Result<()> {
    file::create_directory(directory, 0o700)?;
    for number in 0..FILES {
        let path = directory.join(number.to_string());
        if fs::symlink_metadata(&path).is_err() {
            File::create_new(&path).context("reserving an inode")?;
        }
    }
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(false);
    let large = options.open(directory.join(LARGE)).context("reserving")?;
    if large.metadata()?.len() < BYTES {
        fallocate(&large, FallocateFlags::empty(), 0, BYTES).context("reserving bytes")?;
    }
    Ok(())
}

/// Gives one portion back. A reserve that is used up, or that does not exist, has none.
fn release(directory: &Path) -> Result<()> {
    let large = directory.join(LARGE);
    if let Ok(data) = fs::symlink_metadata(&large) {
        let rest = data.len().saturating_sub(BYTES / PORTIONS);
        let large = File::options().write(true).open(&large);
        large?.set_len(rest).context("giving bytes back")?;
    }
    let mut left = FILES / PORTIONS;
    for number in 0..FILES {
        if left == 0 {
            break;
        }
        if file::remove(&directory.join(number.to_string()))? {
            left -= 1;
        }
    }
    Ok(())
}
