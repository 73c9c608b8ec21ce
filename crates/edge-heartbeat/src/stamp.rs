//! Stamp of files, by which a replacement is noticed without reading them.

use std::os::unix::fs::MetadataExt;

use edge_common::Root;

/// Inode, modification time and size of files; `None` for one that is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp<const N: usize>([Option<(u64, i64, i64, u64)>; N]);

impl<const N: usize> Stamp<N> {
    pub(crate) fn of(root: &Root, paths: [&str; N]) -> Self {
        Self(paths.map(|path| {
            let data = std::fs::metadata(root.path(path)).ok()?;
            Some((data.ino(), data.mtime(), data.mtime_nsec(), data.len()))
        }))
    }
}
