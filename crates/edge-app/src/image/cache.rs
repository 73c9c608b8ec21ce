//! The directory of cached facts about images.

use std::path::{Path, PathBuf};

/// Directory of what can be made again.
pub(crate) fn directory() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.filter(|c| c.is_absolute());
    let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")));
    Some(cache?.join("edge-app"))
}
