//! Cache of facts about image layers, in the user's cache directory. Deleting the cache
//! is safe, since its content can be computed again.

use std::path::{Path, PathBuf};

use edge_common::file;

/// Returns the cache directory according to the XDG base directory specification, which
/// requires ignoring relative paths; `None` without a home directory.
pub(super) fn directory() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.filter(|c| c.is_absolute());
    let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")));
    Some(cache?.join("edge-app"))
}

/// Writes a cache file. Errors are ignored: without the file, the next command repeats
/// some work and has the same result.
pub(super) fn write(path: &Path, text: &str) {
    let created = path
        .parent()
        .map_or(Ok(()), |parent| file::create_directory(parent, 0o755));
    let _ = created.and_then(|()| file::write(path, text.as_bytes(), 0o644));
}
