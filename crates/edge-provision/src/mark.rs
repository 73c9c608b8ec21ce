//! The end of the bootstrap.

use anyhow::Result;
use edge_common::{Root, file, log, time};

use crate::device::Identity;
use crate::state;

/// RFC 3339 time at which the device was provisioned.
pub const MARKER: &str = "/data/.provisioned";

/// Writes the marker once, and only for a valid identity.
///
/// # Errors
/// No valid identity, or `/data` cannot be written.
pub fn mark(root: &Root, thing: &Identity) -> Result<()> {
    state::committed(root, &thing.name)?;
    let path = root.path(MARKER);
    if path.exists() {
        return Ok(());
    }
    let text = format!("{}\n", time::now());
    file::write(&path, text.as_bytes(), 0o644)?;
    log::info("the device is provisioned");
    Ok(())
}
