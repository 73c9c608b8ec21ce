//! Container as the engine stores it between its starts: a directory with two JSON
//! files, which the engine trusts.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::strict_json;

/// Stored container.
pub struct Stored {
    /// ID of the container, which is the name of its directory.
    pub id: String,
    /// Directory of the container.
    pub directory: PathBuf,
    /// Content of `config.v2.json`.
    pub config: Value,
    /// Content of `hostconfig.json`.
    pub host: Value,
}

impl Stored {
    /// Parses the two files of the container in `directory`.
    ///
    /// # Errors
    /// A directory whose name is not an ID, or a file that is half written or ambiguous.
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

    /// Returns the digest of the image's configuration.
    pub fn image(&self) -> &str {
        self.config["Image"].as_str().unwrap_or_default()
    }

    /// Returns the name, without the slash before it.
    pub fn name(&self) -> &str {
        let name = self.config["Name"].as_str().unwrap_or_default();
        name.trim_start_matches('/')
    }
}

/// Tells whether `text` is 64 lowercase hex digits, as IDs are.
pub fn is_hex(text: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.len() == 64 && text.bytes().all(digit)
}
