//! Cache of facts about layers that can be computed again.

use std::path::{Path, PathBuf};

use edge_common::file;

/// Returns the directory of the cache by the XDG base directory specification, which
/// says to ignore relative paths; `None` without a home directory.
pub(super) fn directory() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.filter(|c| c.is_absolute());
    let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")));
    Some(cache?.join("edge-app"))
}

/// Writes a file of the cache. Errors are dropped: without the file the next command
/// does the work once more, and gets the same result.
pub(super) fn write(path: &Path, text: &str) {
    let created = path
        .parent()
        .map_or(Ok(()), |parent| file::create_directory(parent, 0o755));
    let _ = created.and_then(|()| file::write(path, text.as_bytes(), 0o644));
}
