//! Names of files in `sync` and `volumes`.

/// Returns whether a shell, ssh, tar and docker all take `name` literally. `.` and
/// `..` are no names: a path must stay below the directory that it starts from.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !["", ".", ".."].contains(&name) && !name.starts_with('-') && name.chars().all(allowed)
}
