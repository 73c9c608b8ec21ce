//! Configuration files of stored containers, read from the engine's data.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_common::file;
use edge_docker_policy::stored::container::{Stored, is_hex};

/// Size limit of `config.v2.json` and of `hostconfig.json`, in bytes.
const MAX_CONTAINER_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Reads `config.v2.json` and `hostconfig.json` of the container in `directory`. Fails if
/// one of them is absent, incomplete or ambiguous, or if the directory contains a link.
pub(crate) fn read(directory: &Path) -> Result<Stored> {
    // First, because a directory of another name is none of the engine's, whatever is
    // missing in it.
    if !is_hex(&shown(directory)) {
        bail!("the name is not that of a container");
    }
    stays_inside(directory, 0)?;
    let read = |name: &str| file::read(&directory.join(name), MAX_CONTAINER_FILE_BYTES);
    let (config, host) = (read("config.v2.json")?, read("hostconfig.json")?);
    Stored::parse(directory.into(), &config, &host)
}

/// Checks that a container's directory contains only directories and regular files, each
/// with one hard link, because the engine mounts some of these files into the container.
fn stays_inside(directory: &Path, depth: u32) -> Result<()> {
    let data = fs::symlink_metadata(directory).context("looking at the directory")?;
    if !data.is_dir() || depth > 3 {
        bail!("{} is not a directory of the engine's", shown(directory));
    }
    for entry in fs::read_dir(directory).context("reading the directory")? {
        let path = entry.context("reading the directory")?.path();
        let data = fs::symlink_metadata(&path).context("looking at a file")?;
        if data.is_dir() {
            stays_inside(&path, depth + 1)?;
        } else if !data.is_file() || data.nlink() != 1 {
            bail!("{} is a link or no file", shown(&path));
        }
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
