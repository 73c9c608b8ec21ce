//! Marker file `/data/.provisioned`: once it exists, edge-bootstrap.service is skipped
//! and edge-heartbeat.service starts.

use anyhow::Result;
use edge_common::contract::path::PROVISIONED;
use edge_common::{Root, file, log, time};

use crate::device::Device;
use crate::store;

/// Writes the marker if the committed identity is valid and the marker does not exist.
/// Without the marker the bootstrap runs again at the next boot.
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
