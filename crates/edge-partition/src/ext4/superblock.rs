//! Superblocks of ext2, ext3 and ext4, and the places of their copies. The layout is
//! described in the kernel's `filesystems/ext4/super.rst`.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::checksum::crc32c;

/// Magic number in the superblock of ext2, ext3 and ext4.
const MAGIC: u16 = 0xef53;
/// Size of a superblock, in bytes; also the offset of the first one.
const SUPERBLOCK_BYTES: usize = 1024;
/// Block sizes of which the places of copies are searched, in bytes.
const BLOCK_SIZES: [u64; 4] = [4096, 1024, 2048, 65536];
/// Number of groups that are read: those of 128 TiB.
const MAX_GROUPS: u64 = 1 << 20;
/// Features that e2fsck of the image knows: compatible, incompatible, and those with
/// which a kernel that does not know them may only read.
const KNOWN_FEATURES: [u32; 3] = [0x1fff, 0x3_ffff, 0x1_ffff];
const HAS_RECOVERY: u32 = 0x4;
const META_BLOCK_GROUPS: u32 = 0x10;
const WIDE: u32 = 0x80;
const SEED_STORED: u32 = 0x2000;
const METADATA_CHECKSUMS: u32 = 0x400;

/// Places of fields that mkfs writes into every copy and nothing changes afterwards: system,
/// revision, size of inodes and of what they have beyond 128 bytes, groups of a flex group,
/// kind of checksum. The kernel refuses to mount with wrong ones, and does not note that as
/// an error.
const FIXED: [std::ops::Range<usize>; 4] = [0x48..0x50, 0x58..0x5a, 0x15c..0x160, 0x174..0x176];

/// Fields of a superblock that decide about the partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// Size of the file system, in bytes.
    pub bytes: u64,
    /// Whether the file system was ever mounted; otherwise it contains no data.
    pub ever_mounted: bool,
    /// Whether the label is `data`, which this tool sets when it formats a partition.
    pub labelled_data: bool,
    /// Whether the file system was unmounted cleanly and has no recorded errors.
    pub clean: bool,
    /// Whether the journal contains changes that are not in their places.
    pub unreplayed: bool,
    /// Features that this version does not know: compatible, incompatible, read-only.
    pub unknown_features: [u32; 3],
    /// Places of the metadata; `None` if the values contradict each other or the
    /// checksum.
    pub geometry: Option<Geometry>,
    pub uuid: [u8; 16],
    pub created: u32,
    /// Fields at [`FIXED`].
    pub fixed: Vec<u8>,
}

/// Places and sizes of the metadata of a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub block_bytes: u64,
    pub first_block: u64,
    pub blocks: u64,
    pub blocks_per_group: u64,
    pub inodes_per_group: u64,
    pub inode_bytes: usize,
    pub first_inode: u64,
    pub descriptor_bytes: usize,
    /// Start value of all checksums, or `None` if the metadata have none.
    pub seed: Option<u32>,
    /// Group that contains this superblock.
    pub group: u64,
}

impl Geometry {
    /// Returns the number of block groups.
    pub(crate) fn groups(&self) -> u64 {
        (self.blocks - self.first_block).div_ceil(self.blocks_per_group)
    }
}

/// Reads the superblock at byte 1024. Returns `None` if the magic number is missing.
pub(crate) fn superblock(device: &Path) -> Result<Option<Superblock>> {
    read(device, SUPERBLOCK_BYTES as u64).with_context(|| format!("reading {}", device.display()))
}

fn read(device: &Path, offset: u64) -> std::io::Result<Option<Superblock>> {
    let mut block = [0; SUPERBLOCK_BYTES];
    match File::open(device)?.read_exact_at(&mut block, offset) {
        Ok(()) => Ok(parse(&block)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns whether the fixed fields are those of the first copy, if there is a valid one.
pub(crate) fn agrees_with_copy(device: &Path, superblock: &Superblock) -> bool {
    let Some(geometry) = &superblock.geometry else {
        return false;
    };
    let offset = (geometry.blocks_per_group + geometry.first_block) * geometry.block_bytes;
    let Ok(Some(copy)) = read(device, offset) else {
        return true;
    };
    let is_copy = copy.geometry.as_ref().is_some_and(|g| g.group == 1);
    !is_copy || copy.uuid != superblock.uuid || copy.fixed == superblock.fixed
}

/// Copy of the superblock.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    /// Number of its block, as the option `-b` of e2fsck takes it.
    pub block: u64,
    pub superblock: Superblock,
}

/// Returns the valid copies of the superblock: those of one file system, the one with
/// the most copies, or the newest of several. Copies that cannot be read are left out.
pub(crate) fn copies(device: &Path) -> Result<Vec<Copy>> {
    let size = super::size(device)?;
    let mut found: BTreeMap<[u8; 16], Vec<Copy>> = BTreeMap::new();
    for (offset, block, group) in places(size) {
        let Ok(Some(superblock)) = read(device, offset) else {
            continue;
        };
        let matches = |g: &Geometry| g.group == group && g.block_bytes * block == offset;
        if superblock.geometry.as_ref().is_some_and(matches) {
            let copies = found.entry(superblock.uuid).or_default();
            copies.push(Copy { block, superblock });
        }
    }
    let newest = |c: &Vec<Copy>| (c.len(), c.first().map_or(0, |c| c.superblock.created));
    Ok(found.into_values().max_by_key(newest).unwrap_or_default())
}

/// Returns byte offset, block number and group of each place of a copy.
fn places(size: u64) -> Vec<(u64, u64, u64)> {
    let mut places = Vec::new();
    for block_bytes in BLOCK_SIZES {
        let first = u64::from(block_bytes == 1024);
        // Blocks of a bitmap that fills one block, which mkfs chooses for each group.
        let group_blocks = block_bytes * 8;
        for group in groups_with_copies(size / (group_blocks * block_bytes)) {
            let block = group * group_blocks + first;
            places.push((block * block_bytes, block, group));
        }
    }
    places
}

/// Returns the groups up to `last` that contain a copy of the superblock: group 1 and
/// the powers of 3, 5 and 7.
pub(crate) fn groups_with_copies(last: u64) -> Vec<u64> {
    let powers = [3_u64, 5, 7].into_iter().flat_map(|base| {
        std::iter::successors(Some(base), move |power| power.checked_mul(base))
            .take_while(move |power| *power <= last)
    });
    let mut groups: Vec<_> = std::iter::once(1).chain(powers).collect();
    groups.retain(|group| *group <= last);
    groups.sort_unstable();
    groups
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.0.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    fn half(&self, at: usize) -> Option<u16> {
        let bytes = self.0.get(at..at + 2)?;
        Some(u16::from_le_bytes(bytes.try_into().ok()?))
    }
}

/// Parses a superblock. blkid is not sufficient: it reports neither mounts nor the label
/// of a damaged file system.
fn parse(block: &[u8]) -> Option<Superblock> {
    let fields = Fields(block);
    if fields.half(0x38)? != MAGIC {
        return None;
    }
    let features = [fields.word(0x5c)?, fields.word(0x60)?, fields.word(0x64)?];
    let high = if features[1] & WIDE == 0 {
        0
    } else {
        fields.word(0x150)?
    };
    let blocks = u64::from(high) << 32 | u64::from(fields.word(0x4)?);
    let block_bytes = 1024_u64.checked_shl(fields.word(0x18)?)?;
    let (mount_time, mount_count) = (fields.word(0x2c)?, fields.half(0x34)?);
    let mount_point = block.get(0x88..0x88 + 64)?;
    let unreplayed = features[1] & HAS_RECOVERY != 0;
    let unknown = |index: usize| features[index] & !KNOWN_FEATURES[index];
    Some(Superblock {
        bytes: blocks.checked_mul(block_bytes)?,
        // Any of these three fields proves a mount; e2fsck resets the mount count, for
        // example.
        ever_mounted: mount_time != 0 || mount_count != 0 || mount_point.iter().any(|b| *b != 0),
        labelled_data: block.get(0x78..0x78 + 16)?.starts_with(b"data\0"),
        clean: fields.half(0x3a)? & 0x3 == 1 && !unreplayed,
        unreplayed,
        unknown_features: [unknown(0), unknown(1), unknown(2)],
        geometry: geometry(block, blocks, block_bytes, features),
        uuid: block.get(0x68..0x78)?.try_into().ok()?,
        created: fields.word(0x108)?,
        fixed: FIXED.map(|at| block.get(at).unwrap_or_default()).concat(),
    })
}

fn geometry(block: &[u8], blocks: u64, block_bytes: u64, features: [u32; 3]) -> Option<Geometry> {
    let fields = Fields(block);
    let checksums = features[2] & METADATA_CHECKSUMS != 0;
    if checksums && crc32c(u32::MAX, block.get(..0x3fc)?) != fields.word(0x3fc)? {
        return None;
    }
    let seed = if features[1] & SEED_STORED == 0 {
        crc32c(u32::MAX, block.get(0x68..0x78)?)
    } else {
        fields.word(0x270)?
    };
    // Old file systems have fixed values in place of these two fields.
    let dynamic = fields.word(0x4c)? > 0;
    let inode_bytes = if dynamic { fields.half(0x58)? } else { 128 };
    let first_inode = if dynamic { fields.word(0x54)? } else { 11 };
    let descriptor_bytes = if features[1] & WIDE == 0 {
        32
    } else {
        fields.half(0xfe)?
    };
    let geometry = Geometry {
        block_bytes,
        first_block: fields.word(0x14)?.into(),
        blocks,
        blocks_per_group: fields.word(0x20)?.into(),
        inodes_per_group: fields.word(0x28)?.into(),
        inode_bytes: inode_bytes.into(),
        first_inode: first_inode.into(),
        descriptor_bytes: descriptor_bytes.into(),
        seed: checksums.then_some(seed),
        group: fields.half(0x5a)?.into(),
    };
    let inodes: u64 = fields.word(0)?.into();
    // Descriptors that are spread over the disk are not read, only counted as unknown.
    let usable = features[1] & META_BLOCK_GROUPS == 0;
    (usable && is_consistent(&geometry, inodes)).then_some(geometry)
}

fn is_consistent(geometry: &Geometry, inodes: u64) -> bool {
    let bits = geometry.block_bytes * 8;
    let block_bytes = usize::try_from(geometry.block_bytes).unwrap_or_default();
    (1024..=65536).contains(&geometry.block_bytes)
        && geometry.first_block <= 1
        && geometry.first_block < geometry.blocks
        && (1..=bits).contains(&geometry.blocks_per_group)
        && (1..=bits).contains(&geometry.inodes_per_group)
        && geometry.inode_bytes.is_power_of_two()
        && (128..=block_bytes).contains(&geometry.inode_bytes)
        && geometry.descriptor_bytes.is_power_of_two()
        && (32..=64).contains(&geometry.descriptor_bytes)
        && geometry.groups() <= MAX_GROUPS
        && geometry.groups().checked_mul(geometry.inodes_per_group) == Some(inodes)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(!fresh.labelled_data && fresh.geometry.is_none());
        block[0x78..0x7c].copy_from_slice(b"data");
        assert!(parse(&block).unwrap().labelled_data);
        block[0x34] = 1;
        assert!(parse(&block).unwrap().ever_mounted);
        block[0x5f] = 0x20;
        assert_eq!(parse(&block).unwrap().unknown_features, [0x2000_0000, 0, 0]);
        block[0x18] = 255;
        assert_eq!(parse(&block), None);
    }

    #[test]
    fn copies_are_searched_within_the_partition() {
        assert!(groups_with_copies(0).is_empty());
        assert_eq!(groups_with_copies(30), [1, 3, 5, 7, 9, 25, 27]);
        let places = places(1 << 30);
        assert!(places.contains(&(32768 * 4096, 32768, 1)));
        assert!(places.contains(&(8193 * 1024, 8193, 1)));
        assert!(places.iter().all(|(offset, ..)| *offset <= 1 << 30));
    }
}
