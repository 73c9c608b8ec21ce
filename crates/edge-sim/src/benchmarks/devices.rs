//! Root file systems of devices for benchmarks, and the command that runs
//! edge-provision on one.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use edge_common::{Root, file};
use serde_json::json;

/// Writes the root file system of a device to `directory`. The claim (certificate,
/// key and configuration) is for the endpoint on `port` with its state in `cloud`.
pub(crate) fn write_device(directory: &Path, cloud: &Path, port: u16, serial: &str) -> Result<()> {
    for path in [
        "etc/edge-ai/claim",
        "etc/edge-ai/ca",
        "data/config",
        "data/log",
        "run",
    ] {
        file::create_directory(&directory.join(path), 0o755)?;
    }
    let config = json!({ "endpoint": "localhost", "port": port, "template_name": "edge-ai-fleet" });
    for (from, to) in [
        ("ca.pem", "ca/root.pem"),
        ("claim.crt", "claim/claim.crt"),
        ("claim.key", "claim/claim.key"),
    ] {
        fs::copy(cloud.join(from), directory.join("etc/edge-ai").join(to))
            .context("copying the claim")?;
    }
    let put = |name: &str, text: &str| file::write(&directory.join(name), text.as_bytes(), 0o644);
    put("etc/edge-ai/claim/config.json", &config.to_string())?;
    put("etc/machine-id", serial)
}

/// Returns the command that runs `tool`, a build of edge-provision, on the root
/// `directory`.
pub(crate) fn provisioning(tool: &Path, directory: &Path, args: &[&str]) -> Command {
    let mut command = Root::system().command(tool);
    command.arg(directory).args(args);
    command
}
