//! Check of the path components in `sync` and `volumes` of `app.yaml`.

/// Returns whether a shell, ssh, tar and docker all take the path component `name`
/// literally: only A-Z a-z 0-9 . _ - and no leading `-`. `.` and `..` are rejected,
/// so that a path stays below the directory where it starts.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !["", ".", ".."].contains(&name) && !name.starts_with('-') && name.chars().all(allowed)
}
