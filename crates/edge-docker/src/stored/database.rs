//! Check of the engine's files that keep it from starting if they are cut off: its
//! databases, and the list of image names. It makes them anew if they are absent.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::Result;
use edge_common::file;
use edge_docker_policy::strict_json;

use super::quarantine::Quarantine;
use super::state::MAX_ENGINE_FILE_BYTES;

/// Databases of the engine and of the containerd that it runs.
const DATABASES: [&str; 8] = [
    "buildkit/cache.db",
    "buildkit/containerdmeta.db",
    "buildkit/history.db",
    "buildkit/metadata_v2.db",
    "buildkit/snapshots.db",
    "containerd/daemon/io.containerd.metadata.v1.bolt/meta.db",
    "network/files/local-kv.db",
    "volumes/metadata.db",
];
/// Names of the images.
const NAMES: &str = "image/overlay2/repositories.json";

/// Values of a meta page of a database, from the source of bbolt (`meta.go`, `page.go`).
/// All numbers are little-endian on the processors of our devices.
const PAGE_HEADER_BYTES: u64 = 16;
const META_BYTES: usize = 64;
const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// Smallest and largest page that a kernel may have, in bytes.
const PAGES: std::ops::RangeInclusive<u64> = 512..=65536;

/// Quarantines the files with which the engine would not start.
pub(super) fn audit(data_root: &Path, quarantine: &mut Quarantine) -> Result<()> {
    for name in DATABASES {
        let path = data_root.join(name);
        if exists(&path) && !is_sound(&path).unwrap_or(false) {
            let rule = "it is not whole, and the engine would not start with it";
            quarantine.receive(&path, &format!("database {name}"), rule)?;
        }
    }
    let path = data_root.join(NAMES);
    let names = || file::read(&path, MAX_ENGINE_FILE_BYTES).and_then(|t| strict_json::parse(&t));
    if exists(&path) && !names().is_ok_and(|names| names["Repositories"].is_object()) {
        let rule = "it is not whole, and the engine would not start with it";
        quarantine.receive(&path, "names of images", rule)?;
    }
    Ok(())
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Returns whether a database has a valid meta page, and all pages that this one counts.
/// bbolt checks the first on opening alone: reading a page beyond the end kills the engine.
fn is_sound(path: &Path) -> Result<bool> {
    let data = fs::symlink_metadata(path)?;
    // Opening a pipe would wait.
    if !data.is_file() {
        return Ok(false);
    }
    let database = File::open(path)?;
    let size = data.len();
    // Like one that does not exist.
    if size == 0 {
        return Ok(true);
    }
    let first = Meta::read(&database, 0)?;
    // With the first page damaged bbolt looks for the second one at each possible size.
    let sizes = PAGES.filter(|size| size.is_power_of_two());
    let sizes = sizes.filter(|size| first.is_none_or(|meta| meta.page_size == *size));
    let mut metas: Vec<Meta> = first.into_iter().collect();
    for page_size in sizes {
        let second = Meta::read(&database, page_size)?;
        metas.extend(second.filter(|meta| meta.page_size == page_size));
    }
    let newest = metas.iter().max_by_key(|meta| meta.transaction);
    Ok(newest.is_some_and(|meta| meta.pages.saturating_mul(meta.page_size) <= size))
}

/// Meta page of a database.
#[derive(Clone, Copy)]
struct Meta {
    /// Size of a page, in bytes.
    page_size: u64,
    /// Number of pages that were ever used.
    pages: u64,
    /// Number of the transaction that wrote it.
    transaction: u64,
}

impl Meta {
    /// Reads the meta page at `offset`; `None` if there is no valid one.
    fn read(database: &File, offset: u64) -> io::Result<Option<Self>> {
        let mut bytes = [0; META_BYTES];
        match database.read_exact_at(&mut bytes, offset + PAGE_HEADER_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let (content, checksum) = bytes.split_at(META_BYTES - 8);
        let short = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| content[at + i]));
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| content[at + i]));
        let page_size = u64::from(short(8));
        let is_valid = short(0) == MAGIC
            && short(4) == VERSION
            && PAGES.contains(&page_size)
            && fnv1a(content).to_le_bytes() == checksum;
        Ok(is_valid.then(|| Self {
            page_size,
            pages: long(40),
            transaction: long(48),
        }))
    }
}

/// Returns the checksum of a meta page: FNV-1a of 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a database of `pages` pages that two transactions have written.
    fn database(pages: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(pages * 4096).unwrap()];
        for (at, transaction) in [(16, 4), (4096 + 16, 5_u64)] {
            let mut meta = Vec::new();
            for number in [MAGIC, VERSION, 4096, 0] {
                meta.extend(number.to_le_bytes());
            }
            for number in [3, 0, 2, pages, transaction] {
                meta.extend(number.to_le_bytes());
            }
            meta.extend(fnv1a(&meta).to_le_bytes());
            bytes[at..at + meta.len()].copy_from_slice(&meta);
        }
        bytes
    }

    #[test]
    fn a_database_is_whole_with_one_valid_meta_page_and_all_its_pages() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.db");
        let check = |bytes: &[u8]| {
            file::put(&path, bytes, 0o600).unwrap();
            is_sound(&path).unwrap()
        };
        let whole = database(8);
        assert!(check(&whole) && check(&[]));
        let edited = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        };
        assert!(check(&edited(20)) && check(&edited(4096 + 30)));
        for cut in [1, 16, 79, 80, 4096, 4200, 7 * 4096, 8 * 4096 - 1] {
            assert!(!check(&whole[..cut]), "{cut}");
        }
        let mut both = edited(20);
        both[4096 + 20] ^= 1;
        assert!(!check(&both) && !check(&[0; 32768]) && !check(&[255; 100_000]));
    }
}
