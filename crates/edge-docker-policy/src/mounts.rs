//! Requested mounts, and the paths of the mount clones that replace their sources.
//!
//! Docker resolves the source of a mount again at every start, and a container can
//! replace its directory by a symbolic link. A plan therefore does not contain a
//! requested path below an app's directory, but the path of a mount clone below
//! [`DIRECTORY`], which only root can change.

use std::ffi::OsStr;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

/// Directory of all mount clones, each at `KEY/NUMBER`.
pub const DIRECTORY: &str = "/run/edge-docker/pins";
/// Size limit of a path below an app's directory, in bytes. It leaves room for the
/// directories before it: the kernel limits a whole path to 4,096 bytes.
const MAX_PATH_BYTES: usize = 1024;

/// Bind mount from `--volume` or `--mount`, before the policy has judged its source.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RequestedMount {
    /// Path on the device, not checked yet.
    pub(crate) source: String,
    /// Absolute path in the container.
    pub(crate) target: String,
    /// Mount without write access (`:ro`, `readonly`).
    pub(crate) read_only: bool,
}

/// Record of one container's mount clones, stored as JSON: the boot audit creates the
/// clones again from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloneRecord {
    /// Directory of the app, `/data/apps/APP` or `/data/sandbox/APP`.
    // Old key: records with it exist on devices, see
    // `docs/decisions/0021-names-on-devices-stay.md`.
    #[serde(rename = "folder")]
    pub directory: String,
    /// Cloned paths, relative to the directory. The index of a path is the number of its
    /// clone; an empty path is the directory itself.
    pub below: Vec<String>,
}

/// Numeric owner of the directories that are created for a missing mount source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User ID (UID).
    pub user: u32,
    /// Group ID (GID).
    pub group: u32,
}

/// Returns the path of clone `number` under `key`, which docker mounts instead of the
/// requested source.
pub(crate) fn clone_path(key: &str, number: usize) -> String {
    format!("{DIRECTORY}/{key}/{number}")
}

/// Returns whether `key` is 32 lowercase hex digits, the form of all keys of mount
/// clones. A key becomes part of a path, and the label that contains it may have been
/// edited on the disk.
pub fn is_key(key: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    key.len() == 32 && key.bytes().all(digit)
}

/// Returns whether a relative path has at most 1,024 bytes and no empty part, `.`, `..`
/// or control character.
pub fn is_plain(path: &str) -> bool {
    path.len() <= MAX_PATH_BYTES && has_plain_parts(path)
}

/// Returns whether a relative path has no empty part, `.`, `..` or control character, so
/// that every program resolves it in the same way.
pub(crate) fn has_plain_parts(path: &str) -> bool {
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    path.split('/').all(plain) && !path.contains(char::is_control)
}

/// Returns the parts of a relative path, without `.`; `None` if the path is absolute or
/// contains `..`.
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

/// Returns the path of `source` relative to `directory`: empty for the directory itself,
/// `None` if `source` is outside of it or contains `..`, an empty part or the like.
pub fn path_below<'a>(directory: &str, source: &'a str) -> Option<&'a str> {
    let rest = source.strip_prefix(directory)?;
    if rest.is_empty() {
        return Some(rest);
    }
    // The slash is required: `/data/apps/foo-evil` begins with `/data/apps/foo` too.
    let path = rest.strip_prefix('/')?;
    if path.is_empty() {
        return Some(path);
    }
    // `..` is refused, not resolved: `foo/a/../b` leads elsewhere if `a` is a symbolic
    // link.
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
