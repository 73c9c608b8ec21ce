//! Audit of other data that the engine trusts at its start: volumes that mount paths of
//! the host, plugins and swarms.

use std::fs;
use std::path::Path;

use anyhow::Result;
use edge_common::file;
use edge_docker_policy::stored::zero;
use edge_docker_policy::strict_json;

use super::disk::{entries, require_directory};
use super::quarantine::Quarantine;

/// Size limit of a volume's `opts.json`, in bytes.
const MAX_VOLUME_OPTIONS_BYTES: u64 = 64 * 1024;

/// Size limit of the engine's files on images and layers, in bytes: it reads them whole.
pub(super) const MAX_ENGINE_FILE_BYTES: u64 = 8 * 1024 * 1024;
/// File of the engine that may be larger, because it is read in parts and never at the
/// start.
const DESCRIPTION: &str = "tar-split.json.gz";
/// Depth of the directories with the engine's files on images and layers.
const MAX_DEPTH: u32 = 5;

/// Fails if one of the engine's own directories is a link or a file; it may be absent.
pub(super) fn require_directories(data_root: &Path) -> Result<()> {
    let below = [
        "withheld",
        "emptied",
        "containers",
        "volumes",
        "plugins",
        "swarm",
        "image",
        "overlay2",
    ];
    let paths = below.map(|name| data_root.join(name));
    for path in paths.iter().chain([&data_root.to_path_buf()]) {
        if fs::symlink_metadata(path).is_ok() {
            require_directory(path)?;
        }
    }
    Ok(())
}

/// Quarantines volumes that are links or have mount options, and all plugins and swarms.
pub(super) fn audit(data_root: &Path, quarantine: &mut Quarantine) -> Result<()> {
    for path in entries(&data_root.join("volumes"))? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if ["metadata.db", "backingFsBlockDev"].contains(&name.as_str()) {
            continue;
        }
        if let Err(rule) = volume(&path) {
            quarantine.receive(&path, &format!("volume {name}"), rule)?;
        }
    }
    for path in entries(&data_root.join("plugins"))? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !["tmp", "storage"].contains(&name.as_str()) {
            quarantine.receive(
                &path,
                &format!("plugin {name}"),
                "this device has no plugins",
            )?;
        }
    }
    for path in entries(&data_root.join("swarm"))? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        quarantine.receive(
            &path,
            &format!("swarm {name}"),
            "this device is in no swarm",
        )?;
    }
    Ok(())
}

/// Quarantines files on images and layers that the engine could not read: with a device or
/// a file of a terabyte it would take all memory at its start.
pub(super) fn audit_images(data_root: &Path, quarantine: &mut Quarantine) -> Result<()> {
    let mut unread = vec![(data_root.join("image"), 0)];
    while let Some((directory, depth)) = unread.pop() {
        for path in entries(&directory)? {
            let Ok(data) = fs::symlink_metadata(&path) else {
                continue;
            };
            let may_be_large = path.ends_with(DESCRIPTION);
            let is_small = may_be_large || data.len() <= MAX_ENGINE_FILE_BYTES;
            if data.is_dir() && depth < MAX_DEPTH {
                unread.push((path, depth + 1));
            } else if !data.is_file() || !is_small {
                let rule = "it is no file of the engine's, or oversized";
                quarantine.receive(&path, "file on images", rule)?;
            }
        }
    }
    Ok(())
}

/// Checks that a volume is a directory without mount options, so that the engine mounts
/// nothing else in its place.
fn volume(path: &Path) -> Result<(), &'static str> {
    let real = |path: &Path| fs::symlink_metadata(path).is_ok_and(|d| d.is_dir());
    if !real(path) || !real(&path.join("_data")) {
        return Err("a link lies where a volume should be");
    }
    let options = path.join("opts.json");
    if fs::symlink_metadata(&options).is_err() {
        return Ok(());
    }
    let options =
        file::read(&options, MAX_VOLUME_OPTIONS_BYTES).and_then(|text| strict_json::parse(&text));
    match options {
        Ok(options) if zero(&options) => Ok(()),
        _ => Err("it is a mount of something else"),
    }
}
