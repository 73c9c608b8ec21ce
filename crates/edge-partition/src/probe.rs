//! Detection of the content of a partition, with `blkid` and by reading samples.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_common::Root;

use crate::ext4;

/// Number of bytes that are read at the beginning of the partition: enough for the
/// tables of f2fs, the copies of FAT and the second superblock of btrfs, which remain
/// if somebody clears the first megabytes.
const BEGINNING_BYTES: u64 = 256 * MIB;
/// Number of bytes that are read at the end of the partition, where partition tables,
/// NTFS, RAID and others have copies.
const END_BYTES: u64 = 16 * MIB;
/// Number of sections of a large partition; a sample is read at the start of each.
const SAMPLES: u64 = 4096;
/// Size of a sample, in bytes.
const SAMPLE_BYTES: u64 = 4096;
/// Number of parts at whose boundaries more is read: file systems divide a disk into
/// equal parts, each with a copy of the superblock (xfs: 4 to 32).
const PARTS: u64 = 32;
/// Number of bytes that are read on each side of a boundary.
const BOUNDARY_BYTES: u64 = 128 * 1024;
/// Size up to which a partition is read completely, in bytes. Reading a terabyte would
/// delay the first boot by half an hour.
const MAX_WHOLE_BYTES: u64 = BEGINNING_BYTES + END_BYTES;
const MIB: u64 = 1024 * 1024;

/// Result of probing a partition.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// `blkid` found no signature, and all samples are zeros or erased flash (0xff).
    Empty,
    /// `blkid` found a file system or a partition table of this type, for example
    /// `ext4`.
    Known(String),
    /// Data without a known signature; the string describes them for an error message.
    Unknown(String),
}

/// Copy of a superblock that the kind's repair program uses: name, the bytes that it
/// contains, and its offset from the beginning (or from the end, if negative).
const COPIES: [(&str, &[u8], i64); 7] = [
    ("btrfs", b"_BHRfS_M", 64 * MIB as i64 + 64),
    ("btrfs", b"_BHRfS_M", 256 * 1024 * MIB as i64 + 64),
    ("f2fs", b"\x10\x20\xf5\xf2", 4096 + 1024),
    ("vfat", b"FAT32   ", 6 * 512 + 0x52),
    ("exfat", b"EXFAT   ", 12 * 512 + 3),
    ("ntfs", b"NTFS    ", -512 + 3),
    ("crypto_LUKS", b"SKUL\xba\xbe", 16 * 1024),
];

/// Determines the content of a partition. `blkid` searches for known signatures; if it
/// finds none, the places of copies are searched and samples of the data decide between
/// [`Content::Empty`] and [`Content::Unknown`]. A read error or unexpected output of
/// `blkid` is an error, never [`Content::Empty`].
pub(crate) fn content(root: &Root, device: &Path) -> Result<Content> {
    if let Some(kind) = signature(root, device)? {
        return Ok(Content::Known(kind));
    }
    if is_blank(device)? {
        return Ok(Content::Empty);
    }
    let context = || format!("reading {}", device.display());
    let found = copy(device).with_context(context)?;
    Ok(Content::Unknown(match found {
        Some(kind) => format!("a copy of the superblock of {kind}"),
        None => "data of an unknown kind".into(),
    }))
}

/// Returns the kind of file system of which a copy of the superblock is found.
fn copy(device: &Path) -> std::io::Result<Option<&'static str>> {
    let mut file = File::open(device)?;
    let size = file.seek(SeekFrom::End(0))?;
    let allocation_groups = (1..PARTS).map(|n| {
        let blocks = (size / 4096).div_ceil(PARTS / 8).saturating_mul(n);
        (
            "xfs",
            &b"XFSB"[..],
            i64::try_from(blocks * 4096).unwrap_or(i64::MAX),
        )
    });
    for (kind, magic, offset) in COPIES.into_iter().chain(allocation_groups) {
        let offset = if offset < 0 {
            size.checked_sub(offset.unsigned_abs())
        } else {
            Some(offset.unsigned_abs())
        };
        let mut bytes = vec![0; magic.len()];
        let Some(offset) = offset.filter(|o| o + magic.len() as u64 <= size) else {
            continue;
        };
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut bytes)?;
        if bytes == magic {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}

/// Returns the type of the file system or partition table that `blkid` finds.
fn signature(root: &Root, device: &Path) -> Result<Option<String>> {
    let output = root
        .command("/usr/sbin/blkid")
        // `-p` probes the device itself, because the cache of blkid may describe
        // another disk.
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

/// Interprets exit status and output of blkid(8): 0 means found, 2 nothing found, 8
/// several signatures.
fn parse(code: Option<i32>, stdout: &str) -> Result<Option<String>> {
    let value = |key: &str| stdout.lines().find_map(|l| l.strip_prefix(key));
    let entry = |l: &str| l.starts_with("DEVNAME=") || l.starts_with("PART_ENTRY_");
    match code {
        Some(0) => match value("TYPE=").or(value("PTTYPE=")) {
            Some(kind) => Ok(Some(kind.to_string())),
            // For a partition, status 0 may mean only that it has an entry in the
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

/// Returns whether all samples consist of one byte value, 0x00 or 0xff (erased flash).
fn is_blank(device: &Path) -> Result<bool> {
    let context = || format!("reading {}", device.display());
    let mut file = File::open(device).with_context(context)?;
    let size = file.seek(SeekFrom::End(0)).with_context(context)?;
    if size == 0 {
        bail!("reading {}: the size is 0", device.display());
    }
    let mut buffer = vec![0; 64 * 1024];
    let mut filler: Option<Vec<u8>> = None;
    for (start, length) in samples(size) {
        file.seek(SeekFrom::Start(start)).with_context(context)?;
        let mut left = usize::try_from(length.min(size - start)).unwrap_or(usize::MAX);
        while left > 0 {
            let length = left.min(buffer.len());
            let sample = &mut buffer[..length];
            file.read_exact(sample).with_context(context)?;
            // The comparison of slices is a single call, which matters for 256 MB.
            let filler = filler.get_or_insert_with(|| vec![sample[0]; 64 * 1024]);
            if !matches!(filler[0], 0x00 | 0xff) || *sample != filler[..length] {
                return Ok(false);
            }
            left -= length;
        }
    }
    Ok(true)
}

/// Returns offset and length of each sample: both ends, the positions of superblock
/// copies, and positions spread over the whole partition.
fn samples(size: u64) -> Vec<(u64, u64)> {
    if size <= MAX_WHOLE_BYTES {
        return vec![(0, size)];
    }
    let mut samples = vec![(0, BEGINNING_BYTES), (size - END_BYTES, END_BYTES)];
    // A tool may have cleared only the beginning of an ext4 file system. The offset of
    // the copies of its superblock depends on the block size.
    for (block, first) in [(1024, 1), (2048, 0), (4096, 0)] {
        let copies = ext4::groups_with_copies(size / (8 * block * block));
        samples.extend(
            copies
                .iter()
                .map(|g| ((g * 8 * block + first) * block, SAMPLE_BYTES)),
        );
    }
    // btrfs's third superblock, NTFS's file table, and groups of a terabyte of xfs.
    samples.extend([256 << 30, 3 << 30].map(|at| (at, BOUNDARY_BYTES)));
    samples.extend((1..16).map(|n| (n << 40, BOUNDARY_BYTES)));
    let boundaries = (1..PARTS).map(|n| size / PARTS * n - BOUNDARY_BYTES);
    samples.extend(boundaries.map(|at| (at, 2 * BOUNDARY_BYTES)));
    samples.extend((1..SAMPLES).map(|n| (size / SAMPLES * n, SAMPLE_BYTES)));
    samples.retain(|(start, _)| *start < size);
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = "DEVNAME=/dev/nvme0n1p17\nPART_ENTRY_SCHEME=gpt\nPART_ENTRY_NAME=DATA\n";

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
            assert!(samples.contains(&(size - END_BYTES, END_BYTES)));
            assert!(samples.contains(&(0, BEGINNING_BYTES)));
        }
        // Second superblock copy for a block size of 4,096 bytes, first for 1,024 bytes.
        assert!(samples(1 << 30).contains(&(3 * 128 * 1024 * 1024, SAMPLE_BYTES)));
        assert!(samples(1 << 30).contains(&(8193 * 1024, SAMPLE_BYTES)));
    }
}
