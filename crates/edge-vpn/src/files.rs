//! Files that both providers keep.

use anyhow::Result;
use edge_common::{Root, file, log};

/// Directory of state that ends with the boot.
pub(crate) const RUNTIME_DIRECTORY: &str = "/run/edge-vpn";

/// Creates `directory` for root alone and removes the temporary files of interrupted
/// writes, which may hold a secret.
pub(crate) fn prepare_directory(root: &Root, directory: &str) -> Result<()> {
    let path = root.path(directory);
    file::create_directory(&path, 0o700)?;
    file::remove_leftovers(&path)
}

/// Writes one line durably and logs it if it changed.
pub(crate) fn save_line(root: &Root, path: &str, line: &str) -> Result<()> {
    if file::ensure(&root.path(path), format!("{line}\n").as_bytes(), 0o644)? {
        log::info(format_args!("{path}: {line}"));
    }
    Ok(())
}
