//! Stored containers that are kept from the engine for one start: those that could not be
//! judged, and those that are recreated. Before the next start they are back and are
//! audited again.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_common::{file, log};

use super::disk::{entries, require_directory};
use super::files;
use super::quarantine::Quarantine;

/// Directory `withheld` among the engine's data, which the engine does not read. It is on
/// the same file system as the containers, so that a move is a rename.
pub(crate) struct Withheld {
    directory: PathBuf,
    containers: PathBuf,
}

impl Withheld {
    /// Returns the withheld containers below `data_root`, the directory of the engine's
    /// data.
    pub(crate) fn below(data_root: &Path) -> Self {
        Self {
            directory: data_root.join("withheld"),
            containers: data_root.join("containers"),
        }
    }

    /// Creates the directory while there may be space: a full disk is a reason to withhold
    /// a container, and must not prevent it. An error is reported by [`Withheld::receive`].
    pub(super) fn prepare(&self) {
        let _ = file::create_directory(&self.directory, 0o700);
    }

    /// Returns the directory of the withheld container `id`.
    pub(crate) fn path(&self, id: &str) -> PathBuf {
        self.directory.join(id)
    }

    /// Moves all withheld containers back, to be audited again.
    ///
    /// Returns the IDs of those whose names other containers have by now.
    pub(super) fn restore(&self, quarantine: &mut Quarantine) -> Result<Vec<String>> {
        let mut replaced = Vec::new();
        let withheld = entries(&self.directory)?;
        if withheld.is_empty() {
            return Ok(replaced);
        }
        let mut names = self.names()?;
        for path in withheld {
            // The engine would load one of them only. Unreadable files name nothing.
            let name = files::read(&path).map(|stored| stored.name().to_string());
            let name = name.unwrap_or_default();
            if !name.is_empty() && !names.insert(name) {
                let rule = "another container has its name since";
                quarantine.receive(&path, "withheld container", rule)?;
                let id = path.file_name().unwrap_or_default();
                replaced.push(id.to_string_lossy().into_owned());
                continue;
            }
            let place = self.containers.join(path.file_name().unwrap_or_default());
            if fs::symlink_metadata(&place).is_ok() {
                quarantine.receive(&path, "withheld container", "another one has its ID")?;
                continue;
            }
            fs::create_dir_all(&self.containers).context("creating the engine's directory")?;
            fs::rename(&path, &place).with_context(|| format!("moving {} back", path.display()))?;
        }
        Ok(replaced)
    }

    /// Returns the names of the containers that the engine has.
    fn names(&self) -> Result<BTreeSet<String>> {
        let stored = entries(&self.containers)?.into_iter();
        let stored = stored.filter_map(|path| files::read(&path).ok());
        Ok(stored.map(|stored| stored.name().to_string()).collect())
    }

    /// Moves the container in `path` out of the engine's reach, and logs why.
    pub(super) fn receive(&self, path: &Path, what: &str, why: &str) -> Result<()> {
        file::create_directory(&self.directory, 0o700)?;
        require_directory(&self.directory)?;
        let place = self.directory.join(path.file_name().unwrap_or_default());
        match fs::rename(path, &place) {
            // It vanished while it was read.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            moved => {
                let context = || format!("moving {} out of the engine's reach", path.display());
                moved.with_context(context)?;
                file::sync_directory(path.parent().unwrap_or(path))?;
            }
        }
        log::error(format_args!(
            "withheld {} until the next start: {why}",
            what.trim_end()
        ));
        Ok(())
    }
}
