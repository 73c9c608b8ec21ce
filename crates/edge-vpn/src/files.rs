//! Directories and files that the code for both VPN providers writes.

use anyhow::Result;
use edge_common::{Root, file, log};

/// Directory of the state that is discarded at a reboot, on a tmpfs.
pub(crate) const RUNTIME_DIRECTORY: &str = "/run/edge-vpn";

/// Creates `directory` with mode 0700, and removes the temporary files of interrupted
/// writes in it, which may contain a secret.
pub(crate) fn prepare_directory(root: &Root, directory: &str) -> Result<()> {
    let path = root.path(directory);
    file::create_directory(&path, 0o700)?;
    file::remove_leftovers(&path)
}

/// Writes `line` to the file `path` durably, and logs it if the content changed.
pub(crate) fn save_line(root: &Root, path: &str, line: &str) -> Result<()> {
    if file::ensure(&root.path(path), format!("{line}\n").as_bytes(), 0o644)? {
        log::info(format_args!("{path}: {line}"));
    }
    Ok(())
}
