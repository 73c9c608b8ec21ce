//! Units of the device image, whose names are not allowed in `/data/services`.

use std::collections::HashSet;
use std::fs;

use edge_common::Root;

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

/// Set of the file names in [`DIRECTORIES`].
pub(crate) struct Image(HashSet<String>);

impl Image {
    /// Lists all of [`DIRECTORIES`] once, so that each look-up needs no system call.
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

    /// Returns whether `name` is reserved for the system, or the device image has a
    /// unit of this name or its template.
    pub(crate) fn has(&self, name: &str) -> bool {
        rules::is_system_name(name)
            || self.0.contains(name)
            || template(name).is_some_and(|t| self.0.contains(&t))
    }
}
