//! Marker `/data/.provisioned`, the end of the bootstrap.

use anyhow::Result;
use edge_common::contract::path::PROVISIONED;
use edge_common::{Root, file, log, time};

use crate::device::Device;
use crate::store;

/// Writes the marker once, and only for a valid identity: without it the bootstrap runs
/// again at the next boot.
pub(crate) fn write(root: &Root, device: &Device) -> Result<()> {
    store::validate(root, &device.thing_name)?;
    let path = root.path(PROVISIONED);
    if path.exists() {
        return Ok(());
    }
    let text = format!("{}\n", time::now());
    file::write(&path, text.as_bytes(), 0o644)?;
    log::info("the device is provisioned");
    Ok(())
}
