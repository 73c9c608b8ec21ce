//! Access to an ext4 image without mounting it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_common::command::CommandExt as _;
use edge_common::{Root, file};

use crate::host::find;

/// Size limit of a file that is read from an ext4 image, in bytes.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Returns the parent directories of `path` except `/`, outermost first.
pub(crate) fn parents(path: &str) -> Vec<String> {
    let above: Vec<_> = Path::new(path)
        .ancestors()
        .skip(1)
        .filter(|p| p.parent().is_some())
        .map(|p| p.display().to_string())
        .collect();
    above.into_iter().rev().collect()
}

/// Reads the file `name` from the ext4 image `path`, with debugfs.
pub(crate) fn read(path: &Path, name: &str) -> Result<Vec<u8>> {
    let work = tempfile::tempdir().context("creating a temporary directory")?;
    let to: PathBuf = work.path().join("file");
    Root::system()
        .command(find("debugfs")?)
        .arg("-R")
        .arg(format!("dump {name} {}", to.display()))
        .arg(path)
        .run()?;
    file::read(&to, MAX_FILE_BYTES)
}
