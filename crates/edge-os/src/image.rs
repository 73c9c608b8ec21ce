//! Description of the running OS image, which the build writes into it.

use anyhow::{Context, Result};
use edge_common::contract::path::OS_IMAGE;
use edge_common::{Root, file};
use serde::{Deserialize, Serialize};

/// Size limit of the description of the running image, in bytes.
const MAX_BYTES: u64 = 4096;

/// Running image, `/etc/edge-ai/os.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Running {
    /// Version for people.
    pub version: String,
    /// Release number.
    pub number: u64,
    /// Machine for which the image was built.
    pub compatible: String,
    /// Release of its kernel, as `uname -r` prints it.
    pub kernel: String,
    /// Version of the formats on `/data` that it writes.
    pub data_format: u32,
}

impl Running {
    /// Reads the description of the running image.
    ///
    /// # Errors
    /// The image has none, or it is malformed.
    pub fn load(root: &Root) -> Result<Self> {
        let text = file::read(&root.path(OS_IMAGE), MAX_BYTES)?;
        serde_json::from_slice(&text).with_context(|| format!("reading {OS_IMAGE}"))
    }
}
