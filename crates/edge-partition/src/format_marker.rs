//! Marker of a format in progress, in the last block of the partition, which the file
//! system does not use. A power loss during `mkfs.ext4` leaves content that no probe
//! recognises, and the partition would be refused at every boot. The marker shows that
//! this content comes from an interrupted format and contains no data.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// Number of bytes at the end of the partition that the file system does not use.
pub(crate) const RESERVED_BYTES: u64 = 64 * 1024;
/// Size of the marker, in bytes.
const MARKER_BYTES: u64 = 4096;
/// Text at the beginning of the marker, followed by zeros. It must not change, because
/// devices in the field may contain it.
const TEXT: &[u8] = b"edge-ai: making the file system of this partition has begun\n";

/// Returns whether the last block of the partition contains the marker.
pub(crate) fn is_set(device: &Path) -> Result<bool> {
    let context = || format!("reading {}", device.display());
    let mut file = File::open(device).with_context(context)?;
    let size = file.seek(SeekFrom::End(0)).with_context(context)?;
    if size < MARKER_BYTES {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(size - MARKER_BYTES))
        .with_context(context)?;
    let mut block = Vec::new();
    file.take(MARKER_BYTES)
        .read_to_end(&mut block)
        .with_context(context)?;
    Ok(block == marker())
}

/// Writes the marker to the last block of the partition and syncs it.
pub(crate) fn set(device: &Path) -> Result<()> {
    write(device, &marker())
}

/// Overwrites the marker with zeros and syncs, once the file system is complete.
pub(crate) fn clear(device: &Path) -> Result<()> {
    write(device, &vec![0; marker().len()])
}

fn marker() -> Vec<u8> {
    let mut block = TEXT.to_vec();
    block.resize(usize::try_from(MARKER_BYTES).unwrap_or_default(), 0);
    block
}

fn write(device: &Path, block: &[u8]) -> Result<()> {
    let context = || format!("writing {}", device.display());
    let mut file = File::options()
        .write(true)
        .open(device)
        .with_context(context)?;
    let size = file.seek(SeekFrom::End(0)).with_context(context)?;
    let start = size.checked_sub(MARKER_BYTES);
    let start = start.context("the partition is smaller than the marker")?;
    file.seek(SeekFrom::Start(start)).with_context(context)?;
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
        File::create(&path)
            .unwrap()
            .set_len(3 * MARKER_BYTES)
            .unwrap();
        assert!(!is_set(&path).unwrap());
        set(&path).unwrap();
        assert!(is_set(&path).unwrap());
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes[..8192].iter().all(|b| *b == 0) && bytes.len() == 12288);
        clear(&path).unwrap();
        assert!(std::fs::read(&path).unwrap().iter().all(|b| *b == 0));
    }

    #[test]
    fn only_a_whole_marker_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        File::create(&path)
            .unwrap()
            .set_len(2 * MARKER_BYTES)
            .unwrap();
        write(&path, &[marker(), b"x".to_vec()].concat()[1..]).unwrap();
        assert!(!is_set(&path).unwrap());
        File::create(&path).unwrap();
        assert!(!is_set(&path).unwrap());
    }
}
