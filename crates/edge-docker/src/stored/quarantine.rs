//! Quarantine for stored containers and other data of the engine that break a rule.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use edge_common::{file, log};

use super::disk::require_directory;

/// Directory `quarantine` among the engine's data, which the engine does not read. It is
/// accessible to root only, and on the same file system as the data, so that a move is a
/// rename.
pub(super) struct Quarantine {
    directory: PathBuf,
    time: u64,
    count: u32,
}

impl Quarantine {
    /// Returns the quarantine below `data_root`, the directory of the engine's data.
    pub(super) fn below(data_root: &Path) -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            directory: data_root.join("quarantine"),
            time: time.unwrap_or_default().as_secs(),
            count: 0,
        }
    }

    /// Moves `path` to a new directory of the quarantine, writes the broken rule to the
    /// file `rule` beside it, and logs both.
    pub(super) fn receive(&mut self, path: &Path, what: &str, rule: &str) -> Result<()> {
        let context = || format!("moving {} out of the engine's reach", path.display());
        file::create_directory(&self.directory, 0o700)?;
        require_directory(&self.directory)?;
        let name = path.file_name().with_context(context)?;
        let place = loop {
            let place = self.directory.join(format!("{}-{}", self.time, self.count));
            self.count += 1;
            match fs::DirBuilder::new().mode(0o700).create(&place) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => break made.map(|()| place).with_context(context)?,
            }
        };
        fs::rename(path, place.join(name)).with_context(context)?;
        file::sync_directory(path.parent().unwrap_or(path))?;
        let text = format!("{what}: {rule}\n");
        // On a full disk the move must be enough: the rule is in the journal, too.
        if let Err(error) = file::write(&place.join("rule"), text.as_bytes(), 0o600) {
            log::warn(format_args!("{error:#}"));
        }
        log::error(format_args!(
            "quarantined {} to {}: {rule}",
            what.trim_end(),
            place.display()
        ));
        Ok(())
    }
}
