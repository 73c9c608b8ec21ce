//! Reading `/data/services`.

use std::fs;
use std::path::Path;

use edge_common::{Root, file};

use crate::SERVICES;
use crate::unit::{self, Unit};

/// Largest unit that is read, in bytes.
const LARGEST: u64 = 64 * 1024;
/// Most files that are looked at.
const MOST: usize = 10_000;
/// Folders whose units must not be shadowed.
const TAKEN: [&str; 3] = [
    "/etc/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// The good units, sorted by name, and a message for each refused file.
/// A folder that is absent (as at the first run of a boot) holds nothing.
pub fn units(root: &Root) -> (Vec<Unit>, Vec<String>) {
    let mut units = Vec::new();
    let mut refused = Vec::new();
    for name in names(root, &mut refused) {
        match load(root, &name) {
            Ok(Some(unit)) => units.push(unit),
            Ok(None) => {}
            Err(message) => refused.push(message),
        }
    }
    (units, refused)
}

fn names(root: &Root, refused: &mut Vec<String>) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root.path(SERVICES)) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for entry in entries.flatten() {
        if names.len() == MOST {
            refused.push(format!(
                "{SERVICES} holds more than {MOST} files: ignoring the rest"
            ));
            break;
        }
        match entry.file_name().into_string() {
            Ok(name) => names.push(name),
            Err(name) => refused.push(format!("{}: name is not UTF-8", name.to_string_lossy())),
        }
    }
    names.sort();
    names
}

fn load(root: &Root, name: &str) -> Result<Option<Unit>, String> {
    if name.starts_with('.') {
        return Ok(None);
    }
    if name.ends_with(".d") {
        return Err(format!("{name}: drop-ins are not taken from {SERVICES}"));
    }
    if !unit::valid_name(name) {
        return Err(format!("{name}: not a service, socket, timer or path unit"));
    }
    if TAKEN.iter().any(|f| exists(&root.path(f).join(name))) {
        return Err(format!("{name}: the image has a unit of this name"));
    }
    let path = root.path(SERVICES).join(name);
    let is_file = fs::symlink_metadata(&path).is_ok_and(|m| m.is_file());
    if !is_file {
        return Err(format!("{name}: not a regular file"));
    }
    let text = file::read_text(&path, LARGEST).map_err(|e| format!("{name}: {e:#}"))?;
    unit::parse(name, &text).map(Some)
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
