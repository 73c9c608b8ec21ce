//! Files that other programs read: keyfiles of NetworkManager, the proxy of edge-provision
//! and edge-heartbeat, and the time servers of chrony.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use edge_common::contract::path::{NETWORK_CONNECTIONS, NETWORK_PROXY, NTP_SOURCES};
use edge_common::{Root, file};
use edge_network_settings::{PREFIX, SUFFIX, Settings};
use serde_json::json;

/// Writes the files of the settings, and removes those of others. A second run changes
/// nothing.
pub(super) fn write(root: &Root, settings: &Settings) -> Result<()> {
    let directory = root.path(NETWORK_CONNECTIONS);
    file::create_directory(&directory, 0o700)?;
    let keyfiles: BTreeMap<_, _> = settings.keyfiles().into_iter().collect();
    for (name, text) in &keyfiles {
        file::ensure(&directory.join(name), text.as_bytes(), 0o600)?;
    }
    let entries =
        fs::read_dir(&directory).with_context(|| format!("reading {NETWORK_CONNECTIONS}"))?;
    for entry in entries {
        let name = entry.context("reading a directory")?.file_name();
        let name = name.to_string_lossy();
        let is_ours = name.starts_with(PREFIX) && name.ends_with(SUFFIX);
        if is_ours && !keyfiles.contains_key(&*name) {
            file::remove(&directory.join(&*name))?;
        }
    }
    let proxy = settings
        .proxy
        .as_ref()
        .map(|proxy| json!({ "v": 1, "proxy": proxy }).to_string());
    set(root, NETWORK_PROXY, proxy)?;
    let sources = settings
        .ntp
        .iter()
        .map(|server| format!("server {server} iburst prefer\n"));
    let sources: String = sources.collect();
    set(
        root,
        NTP_SOURCES,
        Some(sources).filter(|sources| !sources.is_empty()),
    )
}

/// Writes a file in memory, or removes it. Others than root read it.
fn set(root: &Root, path: &str, content: Option<String>) -> Result<()> {
    let path = root.path(path);
    let Some(content) = content else {
        return file::remove(&path).map(drop);
    };
    file::create_directory(path.parent().unwrap_or(&path), 0o755)?;
    file::ensure(&path, content.as_bytes(), 0o644).map(drop)
}
