//! The engine's data on disk.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_common::{Root, file};
use edge_docker_policy::strict_json;

/// Where the image says where the engine's data lies.
const DAEMON: &str = "/etc/docker/daemon.json";
/// Where it lies if the image does not say.
const DATA_ROOT: &str = "/var/lib/docker";
/// Largest configuration of the engine, in bytes.
const LARGEST: u64 = 64 * 1024;

/// From the image's own configuration, read as data.
///
/// # Errors
/// Not JSON, or no plain absolute path.
pub fn data_root(root: &Root) -> Result<PathBuf> {
    let path = root.path(DAEMON);
    let mut place = DATA_ROOT.to_string();
    if path.exists() {
        let daemon = strict_json::parse(&file::read(&path, LARGEST)?);
        let daemon = daemon.with_context(|| format!("reading {DAEMON}"))?;
        if let Some(said) = daemon["data-root"].as_str() {
            place = said.into();
        }
    }
    let plain = place
        .split('/')
        .skip(1)
        .all(|p| !["", ".", ".."].contains(&p));
    if !place.starts_with('/') || !plain {
        bail!("{DAEMON}: data-root {place:?} is not a plain path");
    }
    Ok(root.path(place))
}

pub fn directory(path: &Path) -> Result<()> {
    let data = fs::symlink_metadata(path);
    if !data
        .with_context(|| format!("looking at {}", path.display()))?
        .is_dir()
    {
        bail!("{} is not a directory", path.display());
    }
    Ok(())
}

/// What lies in a directory, in order; nothing if there is none.
///
/// # Errors
/// It cannot be read.
pub fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
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
