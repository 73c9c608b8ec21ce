//! Container as the engine stores it on the disk: a directory with two JSON files, which
//! the engine trusts at its next start.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::strict_json;

/// Parsed content of the two files of a container, `config.v2.json` and
/// `hostconfig.json`.
pub struct Stored {
    /// ID of the container, 64 hex digits, which is the name of its directory.
    pub id: String,
    /// Path of the container's directory, `containers/ID` in the data root of the engine.
    pub directory: PathBuf,
    /// Content of `config.v2.json`: program, state, networks and mount points.
    pub config: Value,
    /// Content of `hostconfig.json`: devices, capabilities, limits and restart policy.
    pub host: Value,
}

impl Stored {
    /// Parses the contents of `config.v2.json` and `hostconfig.json` of the container in
    /// `directory`.
    ///
    /// # Errors
    /// The name of the directory is not a container ID, or one of the files is incomplete
    /// or has duplicate names.
    pub fn parse(directory: PathBuf, config: &[u8], host: &[u8]) -> Result<Self> {
        let id = directory.file_name().and_then(|n| n.to_str()).unwrap_or("");
        if !is_hex(id) {
            bail!("the name is not that of a container");
        }
        let json = |name: &str, bytes| {
            strict_json::parse(bytes).with_context(|| format!("reading {name}"))
        };
        Ok(Self {
            id: id.into(),
            config: json("config.v2.json", config)?,
            host: json("hostconfig.json", host)?,
            directory,
        })
    }

    /// Returns the image ID, which is the digest of the image configuration.
    pub fn image(&self) -> &str {
        self.config["Image"].as_str().unwrap_or_default()
    }

    /// Returns the name of the container, without the leading slash.
    pub fn name(&self) -> &str {
        let name = self.config["Name"].as_str().unwrap_or_default();
        name.trim_start_matches('/')
    }
}

/// Returns whether `text` is 64 lowercase hex digits, the form of container IDs and of
/// the names of unnamed volumes.
pub fn is_hex(text: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.len() == 64 && text.bytes().all(digit)
}
