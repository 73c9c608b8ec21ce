//! Units of the image, whose names no unit of `/data/services` may take.

use std::collections::HashSet;
use std::fs;

use edge_common::Root;

use crate::rules;
use crate::units::template;

/// Directories of units that systemd reads beside the generator's: a link of the same
/// name would hide the unit, or be hidden by it.
const DIRECTORIES: [&str; 6] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.early",
];

/// Names of the units of the image.
pub(crate) struct Image(HashSet<String>);

impl Image {
    /// Reads the directories, once for all look-ups.
    pub(crate) fn read(root: &Root) -> Self {
        let entries = DIRECTORIES
            .iter()
            .filter_map(|directory| fs::read_dir(root.path(directory)).ok())
            .flat_map(|entries| entries.flatten());
        Self(
            entries
                .filter_map(|e| e.file_name().into_string().ok())
                .collect(),
        )
    }

    /// Whether the image has a unit of this name, or its template.
    pub(crate) fn has(&self, name: &str) -> bool {
        rules::is_system_name(name)
            || self.0.contains(name)
            || template(name).is_some_and(|t| self.0.contains(&t))
    }
}
