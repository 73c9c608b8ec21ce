//! What a partition holds.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_common::Root;

/// How much is read at either end of the partition, in bytes: past every
/// superblock and partition table that `blkid` knows.
const EDGE: u64 = 4 * 1024 * 1024;
/// How many pieces in between are read, and their size in bytes.
const PIECES: u64 = 1024;
const PIECE: u64 = 4096;
/// A partition up to this size is read whole.
const WHOLE: u64 = 64 * 1024 * 1024;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    /// No signature, and nothing but zeros (or erased flash) wherever one looks.
    Nothing,
    /// A file system, a partition table or a container, by `blkid`'s name.
    FileSystem(String),
    /// No known signature, but not empty either.
    Unknown(String),
}

/// Asks `blkid` for signatures and, if there is none, looks for any content.
///
/// # Errors
/// A read error, or an answer of `blkid` that is neither "found" nor "nothing
/// found": never taken for empty.
pub fn content(root: &Root, device: &Path) -> Result<Content> {
    if let Some(kind) = signature(root, device)? {
        return Ok(Content::FileSystem(kind));
    }
    if blank(device)? {
        return Ok(Content::Nothing);
    }
    Ok(Content::Unknown("data of an unknown kind".into()))
}

/// Runs `blkid -p` and reads its answer.
fn signature(root: &Root, device: &Path) -> Result<Option<String>> {
    let output = root
        .command("/usr/sbin/blkid")
        .args(["-p", "-o", "export"])
        .arg(device)
        .output()
        .context("running blkid")?;
    let said = String::from_utf8_lossy(&output.stdout);
    answer(output.status.code(), &said).with_context(|| {
        let words = String::from_utf8_lossy(&output.stderr);
        format!("probing {}: {}", device.display(), words.trim())
    })
}

/// blkid(8): 2 is nothing found, 8 ambivalent, 0 found. On a partition "found"
/// may be its own entry in the partition table and no more.
fn answer(code: Option<i32>, said: &str) -> Result<Option<String>> {
    let value = |key: &str| said.lines().find_map(|l| l.strip_prefix(key));
    let entry = |l: &str| l.starts_with("DEVNAME=") || l.starts_with("PART_ENTRY_");
    match code {
        Some(0) => match value("TYPE=").or(value("PTTYPE=")) {
            Some(kind) => Ok(Some(kind.to_string())),
            None if said.contains("PART_ENTRY_") && said.lines().all(entry) => Ok(None),
            None => bail!("blkid found something without a type"),
        },
        Some(2) => Ok(None),
        Some(8) => Ok(Some("signatures of several kinds".into())),
        Some(code) => bail!("blkid: exit status {code}"),
        None => bail!("blkid was killed"),
    }
}

/// Is all that is looked at zeros, or erased flash? Both ends, where backups of
/// an ext4 superblock would lie (somebody may have cleared only the first), and
/// places spread over the whole partition.
fn blank(device: &Path) -> Result<bool> {
    let context = || format!("reading {}", device.display());
    let mut file = File::open(device).with_context(context)?;
    let size = file.seek(SeekFrom::End(0)).with_context(context)?;
    if size == 0 {
        bail!("reading {}: it has no size", device.display());
    }
    let mut filler = None;
    let mut buffer = vec![0; 64 * 1024];
    for (start, length) in places(size) {
        file.seek(SeekFrom::Start(start)).with_context(context)?;
        let mut left = usize::try_from(length.min(size - start)).unwrap_or(usize::MAX);
        while left > 0 {
            let piece = left.min(buffer.len());
            let piece = &mut buffer[..piece];
            file.read_exact(piece).with_context(context)?;
            let first = *filler.get_or_insert(piece[0]);
            if !matches!(first, 0x00 | 0xff) || piece.iter().any(|byte| *byte != first) {
                return Ok(false);
            }
            left -= piece.len();
        }
    }
    Ok(true)
}

/// Where [`blank`] looks: offsets and lengths, each begins within `size`.
fn places(size: u64) -> Vec<(u64, u64)> {
    if size <= WHOLE {
        return vec![(0, size)];
    }
    let mut places = vec![(0, EDGE), (size - EDGE, EDGE)];
    // Groups that hold a copy of the superblock, for each size of a block.
    for (block, first) in [(1024, 1), (2048, 0), (4096, 0)] {
        let copies = [1, 3, 5, 7, 9, 25, 27, 49, 81];
        places.extend(copies.map(|g| ((g * 8 * block + first) * block, PIECE)));
    }
    places.extend((1..PIECES).map(|n| (size / PIECES * n, PIECE)));
    places.retain(|(start, _)| *start < size);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = "DEVNAME=/dev/nvme0n1p16\nPART_ENTRY_SCHEME=gpt\nPART_ENTRY_NAME=DATA\n";

    #[test]
    fn an_entry_in_the_table_is_no_content() {
        assert_eq!(answer(Some(0), ENTRY).unwrap(), None);
        assert_eq!(answer(Some(2), "").unwrap(), None);
    }

    #[test]
    fn anything_else_is_content_or_an_error() {
        for kind in ["TYPE=ext4", "PTTYPE=dos", "TYPE=crypto_LUKS"] {
            let said = format!("{ENTRY}{kind}\n");
            assert!(answer(Some(0), &said).unwrap().is_some());
        }
        assert!(answer(Some(8), "").unwrap().is_some());
        for (code, said) in [
            (Some(0), ""),
            (Some(0), "DEVNAME=/dev/x\n"),
            (Some(0), &format!("{ENTRY}USAGE=other\n")),
            (Some(4), ""),
            (None, ""),
        ] {
            assert!(answer(code, said).is_err(), "{said}");
        }
    }

    #[test]
    fn a_small_partition_is_read_whole_and_none_beyond_its_end() {
        assert_eq!(places(WHOLE), [(0, WHOLE)]);
        for size in [WHOLE + 1, 1 << 30, 1 << 40] {
            let places = places(size);
            assert!(places.iter().all(|(start, _)| *start < size));
            assert!(places.contains(&(size - EDGE, EDGE)) && places.contains(&(0, EDGE)));
        }
        // The first copy for blocks of 4,096 bytes.
        assert!(places(1 << 30).contains(&(128 * 1024 * 1024, PIECE)));
        assert!(places(1 << 30).contains(&(8193 * 1024, PIECE)));
    }
}
