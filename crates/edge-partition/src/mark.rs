//! The mark of a format that has begun: in the last block of the partition,
//! which the file system leaves free. A cut in the middle of `mkfs` leaves
//! something that no probe knows; the mark says that it is ours and holds no data.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// Bytes at the end of the partition that the file system leaves free.
pub const RESERVED: u64 = 64 * 1024;
/// Size of the mark, in bytes.
const SIZE: u64 = 4096;
/// What it begins with.
const WORDS: &[u8] = b"edge-ai: making the file system of this partition has begun\n";

/// Is the mark there?
///
/// # Errors
/// The partition cannot be read.
pub fn is_set(device: &Path) -> Result<bool> {
    let context = || format!("reading {}", device.display());
    let mut file = File::open(device).with_context(context)?;
    let size = file.seek(SeekFrom::End(0)).with_context(context)?;
    if size < SIZE {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(size - SIZE))
        .with_context(context)?;
    let mut block = Vec::new();
    file.take(SIZE)
        .read_to_end(&mut block)
        .with_context(context)?;
    Ok(block == full())
}

/// Sets it, durably.
///
/// # Errors
/// The partition cannot be written.
pub fn set(device: &Path) -> Result<()> {
    write(device, &full())
}

/// Removes it, durably: the file system is complete.
///
/// # Errors
/// The partition cannot be written.
pub fn clear(device: &Path) -> Result<()> {
    write(device, &vec![0; full().len()])
}

fn full() -> Vec<u8> {
    let mut block = WORDS.to_vec();
    block.resize(usize::try_from(SIZE).unwrap_or_default(), 0);
    block
}

fn write(device: &Path, block: &[u8]) -> Result<()> {
    let context = || format!("writing {}", device.display());
    let mut file = File::options()
        .write(true)
        .open(device)
        .with_context(context)?;
    let size = file.seek(SeekFrom::End(0)).with_context(context)?;
    let place = size.checked_sub(SIZE).context("a partition of no size")?;
    file.seek(SeekFrom::Start(place)).with_context(context)?;
    file.write_all(block).with_context(context)?;
    file.sync_all().with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_and_clear_touch_the_last_block_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        File::create(&path).unwrap().set_len(3 * SIZE).unwrap();
        assert!(!is_set(&path).unwrap());
        set(&path).unwrap();
        assert!(is_set(&path).unwrap());
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes[..8192].iter().all(|b| *b == 0) && bytes.len() == 12288);
        clear(&path).unwrap();
        assert!(std::fs::read(&path).unwrap().iter().all(|b| *b == 0));
    }

    #[test]
    fn what_only_begins_like_it_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        File::create(&path).unwrap().set_len(2 * SIZE).unwrap();
        write(&path, &[full(), b"x".to_vec()].concat()[1..]).unwrap();
        assert!(!is_set(&path).unwrap());
        File::create(&path).unwrap();
        assert!(!is_set(&path).unwrap());
    }
}
