//! Content of a partition, by `blkid` and by reads of our own.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_common::Root;

/// Bytes read at either end of the partition: past every superblock and partition table
/// that `blkid` knows.
const EDGE_BYTES: u64 = 4 * 1024 * 1024;
/// Number of samples between the ends.
const SAMPLES: u64 = 1024;
/// Size of a sample, in bytes.
const SAMPLE_BYTES: u64 = 4096;
/// Largest partition that is read whole, in bytes. Reading a disk of a terabyte would
/// delay the first boot by half an hour.
const MAX_WHOLE_BYTES: u64 = 64 * 1024 * 1024;

/// Content of a partition.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// No signature, and only zeros or erased flash in all samples.
    Empty,
    /// File system, partition table or container, by `blkid`'s name.
    Known(String),
    /// Neither empty nor known to `blkid`.
    Unknown(String),
}

/// Determines the content: by the signatures that `blkid` knows, else by samples. A read
/// error and an unclear answer are errors, never "empty".
pub(crate) fn content(root: &Root, device: &Path) -> Result<Content> {
    if let Some(kind) = signature(root, device)? {
        return Ok(Content::Known(kind));
    }
    if is_blank(device)? {
        return Ok(Content::Empty);
    }
    Ok(Content::Unknown("data of an unknown kind".into()))
}

/// Returns the kind of the signature that `blkid` finds.
fn signature(root: &Root, device: &Path) -> Result<Option<String>> {
    let output = root
        .command("/usr/sbin/blkid")
        // A probe of the device itself: the cache may be of another disk.
        .args(["-p", "-o", "export"])
        .arg(device)
        .output()
        .context("running blkid")?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    parse(output.status.code(), &stdout).with_context(|| {
        let stderr = String::from_utf8_lossy(&output.stderr);
        format!("probing {}: {}", device.display(), stderr.trim())
    })
}

/// Interprets status and output of blkid(8): 0 is found, 2 nothing found, 8 ambivalent.
fn parse(code: Option<i32>, stdout: &str) -> Result<Option<String>> {
    let value = |key: &str| stdout.lines().find_map(|l| l.strip_prefix(key));
    let entry = |l: &str| l.starts_with("DEVNAME=") || l.starts_with("PART_ENTRY_");
    match code {
        Some(0) => match value("TYPE=").or(value("PTTYPE=")) {
            Some(kind) => Ok(Some(kind.to_string())),
            // For a partition "found" may mean no more than its own entry in the
            // partition table.
            None if stdout.contains("PART_ENTRY_") && stdout.lines().all(entry) => Ok(None),
            None => bail!("blkid found content without a type"),
        },
        Some(2) => Ok(None),
        Some(8) => Ok(Some("signatures of several kinds".into())),
        Some(code) => bail!("blkid: exit status {code}"),
        None => bail!("blkid was killed"),
    }
}

/// Whether all samples are zeros or erased flash.
fn is_blank(device: &Path) -> Result<bool> {
    let context = || format!("reading {}", device.display());
    let mut file = File::open(device).with_context(context)?;
    let size = file.seek(SeekFrom::End(0)).with_context(context)?;
    if size == 0 {
        bail!("reading {}: the size is 0", device.display());
    }
    let mut filler = None;
    let mut buffer = vec![0; 64 * 1024];
    for (start, length) in samples(size) {
        file.seek(SeekFrom::Start(start)).with_context(context)?;
        let mut left = usize::try_from(length.min(size - start)).unwrap_or(usize::MAX);
        while left > 0 {
            let length = left.min(buffer.len());
            let sample = &mut buffer[..length];
            file.read_exact(sample).with_context(context)?;
            let first = *filler.get_or_insert(sample[0]);
            if !matches!(first, 0x00 | 0xff) || sample.iter().any(|byte| *byte != first) {
                return Ok(false);
            }
            left -= sample.len();
        }
    }
    Ok(true)
}

/// Returns offset and length of each sample: both ends, the places of superblock copies,
/// and samples spread over the whole partition.
fn samples(size: u64) -> Vec<(u64, u64)> {
    if size <= MAX_WHOLE_BYTES {
        return vec![(0, size)];
    }
    let mut samples = vec![(0, EDGE_BYTES), (size - EDGE_BYTES, EDGE_BYTES)];
    // A tool may have cleared the beginning of an ext4 file system only. Its copies of
    // the superblock are in the groups 1 and the powers of 3, 5 and 7, at an offset that
    // depends on the block size.
    for (block, first) in [(1024, 1), (2048, 0), (4096, 0)] {
        let copies = [1, 3, 5, 7, 9, 25, 27, 49, 81];
        samples.extend(copies.map(|g| ((g * 8 * block + first) * block, SAMPLE_BYTES)));
    }
    samples.extend((1..SAMPLES).map(|n| (size / SAMPLES * n, SAMPLE_BYTES)));
    samples.retain(|(start, _)| *start < size);
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = "DEVNAME=/dev/nvme0n1p16\nPART_ENTRY_SCHEME=gpt\nPART_ENTRY_NAME=DATA\n";

    #[test]
    fn an_entry_in_the_partition_table_is_no_content() {
        assert_eq!(parse(Some(0), ENTRY).unwrap(), None);
        assert_eq!(parse(Some(2), "").unwrap(), None);
    }

    #[test]
    fn anything_else_is_content_or_an_error() {
        for kind in ["TYPE=ext4", "PTTYPE=dos", "TYPE=crypto_LUKS"] {
            let stdout = format!("{ENTRY}{kind}\n");
            assert!(parse(Some(0), &stdout).unwrap().is_some());
        }
        assert!(parse(Some(8), "").unwrap().is_some());
        for (code, stdout) in [
            (Some(0), ""),
            (Some(0), "DEVNAME=/dev/x\n"),
            (Some(0), &format!("{ENTRY}USAGE=other\n")),
            (Some(4), ""),
            (None, ""),
        ] {
            assert!(parse(code, stdout).is_err(), "{stdout}");
        }
    }

    #[test]
    fn a_small_partition_is_read_whole_and_none_beyond_its_end() {
        assert_eq!(samples(MAX_WHOLE_BYTES), [(0, MAX_WHOLE_BYTES)]);
        for size in [MAX_WHOLE_BYTES + 1, 1 << 30, 1 << 40] {
            let samples = samples(size);
            assert!(samples.iter().all(|(start, _)| *start < size));
            assert!(samples.contains(&(size - EDGE_BYTES, EDGE_BYTES)));
            assert!(samples.contains(&(0, EDGE_BYTES)));
        }
        // The first copy for blocks of 4,096 bytes, and of 1,024.
        assert!(samples(1 << 30).contains(&(128 * 1024 * 1024, SAMPLE_BYTES)));
        assert!(samples(1 << 30).contains(&(8193 * 1024, SAMPLE_BYTES)));
    }
}
