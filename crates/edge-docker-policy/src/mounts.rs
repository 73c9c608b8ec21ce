//! Mounts that a caller requests, and the paths by which they are granted.
//!
//! Docker walks a mount's source again at every start, and a container can put a link
//! where its directory was. So a plan never names the requested source, but the clone
//! of its mount below [`DIRECTORY`], which only root can change.

use std::ffi::OsStr;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

/// Directory of the mount clones.
pub const DIRECTORY: &str = "/run/edge-docker/pins";
/// Longest path below an app's directory, in bytes; far enough from the kernel's 4,096
/// for every directory that comes before it.
const MAX_PATH_BYTES: usize = 1024;

/// Requested mount, before the policy has judged its source.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RequestedMount {
    /// Path on the device.
    pub(crate) source: String,
    /// Path in the container.
    pub(crate) target: String,
    /// The container cannot write to it.
    pub(crate) read_only: bool,
}

/// Directory and paths of one container's mount clones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloneRecord {
    /// Directory of the app, `/data/apps/APP` or `/data/sandbox/APP`.
    // The name in the records of devices in the field.
    #[serde(rename = "folder")]
    pub directory: String,
    /// Paths below the directory, by number; empty is the directory itself.
    pub below: Vec<String>,
}

/// Numeric owner of directories that are created for a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub user: u32,
    /// Group.
    pub group: u32,
}

/// Returns the path of clone `number` of `key`, which docker mounts.
pub(crate) fn clone_path(key: &str, number: usize) -> String {
    format!("{DIRECTORY}/{key}/{number}")
}

/// Tells whether `key` is 32 hex digits, as every key of mount clones. It becomes a part of
/// a path, and the label that it is read from may have been edited on the disk.
pub fn is_key(key: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    key.len() == 32 && key.bytes().all(digit)
}

/// Tells whether a relative path is plain and not too long.
pub fn is_plain(path: &str) -> bool {
    path.len() <= MAX_PATH_BYTES && has_plain_parts(path)
}

/// Tells whether a relative path has no empty part, `.`, `..` or control character: it
/// then means the same to everybody who reads it.
pub(crate) fn has_plain_parts(path: &str) -> bool {
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    path.split('/').all(plain) && !path.contains(char::is_control)
}

/// Returns the parts of a relative path, without `.`; `None` if it is absolute or leads
/// out of its directory.
pub fn relative_parts(path: &Path) -> Option<Vec<&OsStr>> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(parts)
}

/// Returns the part of `source` below `directory`: empty for the directory itself,
/// `None` if `source` is elsewhere or is not plain.
pub fn path_below<'a>(directory: &str, source: &'a str) -> Option<&'a str> {
    let rest = source.strip_prefix(directory)?;
    if rest.is_empty() {
        return Some(rest);
    }
    // `/data/apps/foo-evil` begins with `/data/apps/foo` too.
    let path = rest.strip_prefix('/')?;
    if path.is_empty() {
        return Some(path);
    }
    // Refused rather than resolved: `foo/a/../b` means something else once `a` is a link.
    let path = path.strip_suffix('/').unwrap_or(path);
    is_plain(path).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_directory_and_paths_below_it() {
        let below = |source| path_below("/data/apps/foo", source);
        assert_eq!(below("/data/apps/foo"), Some(""));
        assert_eq!(below("/data/apps/foo/"), Some(""));
        assert_eq!(below("/data/apps/foo/a/b"), Some("a/b"));
        assert_eq!(below("/data/apps/foo/a/"), Some("a"));
        for source in [
            "",
            "/",
            "/data/apps",
            "/data/apps/foobar",
            "/data/apps/foo-evil",
            "/data/apps/foo/..",
            "/data/apps/foo/../bar",
            "/data/apps/foo/a/../../bar",
            "/data/apps/foo//a",
            "/data/apps/foo/./a",
            "/data/apps/foo/a\n",
            "data/apps/foo",
            "//data/apps/foo",
            "/data/apps/foo/a//",
            "/data/apps/FOO",
            "foo",
        ] {
            assert_eq!(below(source), None, "{source:?}");
        }
    }
}
