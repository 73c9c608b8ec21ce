//! Units of the device image, whose names are not allowed in `/data/services`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::{Mutex, PoisonError};

use edge_common::{Root, file};

use crate::rules;
use crate::units::template;

/// Directories in which systemd finds units besides the generator's directory: a
/// generated link with the same name would hide such a unit, or be hidden by it.
const DIRECTORIES: [&str; 6] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.early",
];

/// Size limit of a unit of the device image, in bytes. A larger one is taken for a unit
/// with default dependencies.
const MAX_UNIT_BYTES: u64 = 64 * 1024;

/// Units of the device image.
pub(crate) struct Image {
    root: Root,
    /// File names in [`DIRECTORIES`].
    names: HashSet<String>,
    /// Answers of [`Image::waits_for_basic`]. Ten thousand units name the same few, and
    /// reading all units of the image would delay the boot.
    waiting: Mutex<HashMap<String, bool>>,
}

impl Image {
    /// Lists all of [`DIRECTORIES`] once, so that each look-up needs no system call.
    pub(crate) fn read(root: &Root) -> Self {
        let entries = DIRECTORIES
            .iter()
            .filter_map(|directory| fs::read_dir(root.path(directory)).ok())
            .flat_map(|entries| entries.flatten());
        Self {
            root: root.clone(),
            names: entries
                .filter_map(|e| e.file_name().into_string().ok())
                .collect(),
            waiting: Mutex::default(),
        }
    }

    /// Returns whether the image has a unit of this name that starts after
    /// `basic.target`, as all do that have default dependencies.
    pub(crate) fn waits_for_basic(&self, name: &str) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = waiting.get(name) {
            return *known;
        }
        let file = template(name).filter(|t| self.names.contains(t));
        let file = file.unwrap_or_else(|| name.to_string());
        let waits = self.names.contains(&file) && self.has_default_dependencies(&file);
        waiting.insert(name.to_string(), waits);
        waits
    }

    fn has_default_dependencies(&self, name: &str) -> bool {
        let paths = DIRECTORIES.iter().map(|d| self.root.path(d).join(name));
        let texts = paths.filter_map(|path| {
            let path = fs::canonicalize(path).ok()?;
            file::read_text(&path, MAX_UNIT_BYTES).ok()
        });
        // The first directory has precedence.
        let text = texts.take(1).next().unwrap_or_default();
        let without = text.lines().filter_map(|line| line.split_once('='));
        let mut without = without.filter(|(key, _)| key.trim() == "DefaultDependencies");
        !without.any(|(_, value)| matches!(value.trim(), "no" | "false" | "off" | "0"))
    }

    /// Returns whether `name` is reserved for the system, or the device image has a
    /// unit of this name or its template.
    pub(crate) fn has(&self, name: &str) -> bool {
        rules::is_system_name(name)
            || self.names.contains(name)
            || template(name).is_some_and(|t| self.names.contains(&t))
    }
}
