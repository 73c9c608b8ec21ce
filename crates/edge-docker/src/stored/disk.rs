//! Location of the engine's data on the disk, and functions that read its directories.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_common::{Root, file};
use edge_docker_policy::mounts::is_plain;
use edge_docker_policy::strict_json;
use serde_json::Value;

/// Path of the engine's configuration, part of the read-only root of the device.
const DAEMON: &str = "/etc/docker/daemon.json";
/// Directory of the engine's data unless `data-root` is configured.
const DATA_ROOT: &str = "/var/lib/docker";
/// Size limit of the engine's configuration, in bytes.
const MAX_CONFIG_BYTES: u64 = 64 * 1024;

/// Returns the directory of the engine's data: `data-root` of its configuration, or the
/// default.
pub(crate) fn data_root(root: &Root) -> Result<PathBuf> {
    let daemon = configuration(root)?;
    let data_root = daemon["data-root"].as_str().unwrap_or(DATA_ROOT);
    if !data_root.strip_prefix('/').is_some_and(is_plain) {
        bail!("{DAEMON}: data-root {data_root:?} is not a plain path");
    }
    Ok(root.path(data_root))
}

/// Returns the engine's configuration, null if there is none.
pub(super) fn configuration(root: &Root) -> Result<Value> {
    let path = root.path(DAEMON);
    if !path.exists() {
        return Ok(Value::Null);
    }
    let daemon = strict_json::parse(&file::read(&path, MAX_CONFIG_BYTES)?);
    daemon.with_context(|| format!("reading {DAEMON}"))
}

/// Fails unless `path` is a directory; a symbolic link to one is not accepted.
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

/// Returns the paths of all entries of a directory, sorted; no paths if it is absent.
pub(crate) fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
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
