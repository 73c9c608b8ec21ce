//! Files of stored containers, read from the engine's data.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_common::file;
use edge_docker_policy::stored::container::Stored;

/// Largest of the files, in bytes.
const MAX_CONTAINER_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Reads the container in `directory`. Refuses a file that is absent, half written or
/// ambiguous, and anything in the directory that leads out of it.
pub(crate) fn read(directory: &Path) -> Result<Stored> {
    stays_inside(directory, 0)?;
    let read = |name: &str| file::read(&directory.join(name), MAX_CONTAINER_FILE_BYTES);
    let (config, host) = (read("config.v2.json")?, read("hostconfig.json")?);
    Stored::parse(directory.into(), &config, &host)
}

/// Directories and files alone, each file with one name: the engine mounts some of
/// them into the container.
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
