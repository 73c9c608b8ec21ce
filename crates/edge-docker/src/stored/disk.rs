//! The engine's data on disk.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_common::{Root, file};
use edge_docker_policy::mounts::is_plain;
use edge_docker_policy::strict_json;

/// Configuration of the engine, in the image.
const DAEMON: &str = "/etc/docker/daemon.json";
/// Directory of the engine's data if the configuration names none.
const DATA_ROOT: &str = "/var/lib/docker";
/// Largest configuration of the engine, in bytes.
const MAX_CONFIG_BYTES: u64 = 64 * 1024;

/// Returns the directory of the engine's data, from its configuration.
pub(super) fn data_root(root: &Root) -> Result<PathBuf> {
    let path = root.path(DAEMON);
    let mut data_root = DATA_ROOT.to_string();
    if path.exists() {
        let daemon = strict_json::parse(&file::read(&path, MAX_CONFIG_BYTES)?);
        let daemon = daemon.with_context(|| format!("reading {DAEMON}"))?;
        if let Some(configured) = daemon["data-root"].as_str() {
            data_root = configured.into();
        }
    }
    if !data_root.strip_prefix('/').is_some_and(is_plain) {
        bail!("{DAEMON}: data-root {data_root:?} is not a plain path");
    }
    Ok(root.path(data_root))
}

/// Fails unless `path` is a directory and no link.
pub(super) fn require_directory(path: &Path) -> Result<()> {
    let data = fs::symlink_metadata(path);
    if !data
        .with_context(|| format!("looking at {}", path.display()))?
        .is_dir()
    {
        bail!("{} is not a directory", path.display());
    }
    Ok(())
}

/// Returns the paths in a directory, in order; none if it is absent.
pub(super) fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("reading {}", directory.display());
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(context),
    };
    let paths: std::io::Result<Vec<_>> = entries.map(|e| Ok(e?.path())).collect();
    let mut paths = paths.with_context(context)?;
    paths.sort();
    Ok(paths)
}
