//! A container as the engine keeps it between its starts: a directory with two
//! JSON files, which the engine believes.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_common::file;
use serde_json::Value;

use crate::stored_json;

/// Largest of the files, in bytes.
const LARGEST: u64 = 4 * 1024 * 1024;

/// One container at rest.
pub struct Stored {
    /// Its Id, which is the name of its directory.
    pub id: String,
    /// Its directory.
    pub directory: PathBuf,
    /// `config.v2.json`
    pub config: Value,
    /// `hostconfig.json`
    pub host: Value,
}

impl Stored {
    /// Reads the directory.
    ///
    /// # Errors
    /// A file that is absent, half written or ambiguous, or something in the
    /// directory that leads out of it.
    pub fn read(directory: &Path) -> Result<Self> {
        let id = directory.file_name().and_then(|n| n.to_str()).unwrap_or("");
        if !is_hex(id) {
            bail!("the name is not that of a container");
        }
        stays_inside(directory, 0)?;
        let json = |name: &str| {
            let bytes = file::read(&directory.join(name), LARGEST)?;
            stored_json::parse(&bytes).with_context(|| format!("reading {name}"))
        };
        Ok(Self {
            id: id.into(),
            directory: directory.into(),
            config: json("config.v2.json")?,
            host: json("hostconfig.json")?,
        })
    }

    /// The digest of the image's configuration.
    pub fn image(&self) -> &str {
        self.config["Image"].as_str().unwrap_or_default()
    }

    /// Its name, for people.
    pub fn name(&self) -> &str {
        let name = self.config["Name"].as_str().unwrap_or_default();
        name.trim_start_matches('/')
    }
}

/// 64 hex digits?
pub fn is_hex(text: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.len() == 64 && text.bytes().all(digit)
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
