//! Quarantine: where the boot audit moves what the engine must not see.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use edge_common::{file, log};

use super::disk::directory;

/// A directory among the engine's data, where it never looks: on the same file
/// system and mount as what is moved. Root's alone.
pub struct Quarantine {
    directory: PathBuf,
    time: u64,
    count: u32,
}

impl Quarantine {
    /// `<data-root>/quarantine`.
    pub fn below(data_root: &Path) -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            directory: data_root.join("quarantine"),
            time: time.unwrap_or_default().as_secs(),
            count: 0,
        }
    }

    /// Moves `path` here and says so; the rule lies beside it.
    ///
    /// # Errors
    /// It cannot be moved.
    pub fn take(&mut self, path: &Path, what: &str, rule: &str) -> Result<()> {
        let context = || format!("moving {} out of the engine's reach", path.display());
        file::create_directory(&self.directory, 0o700)?;
        directory(&self.directory)?;
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
        file::write(
            &place.join("rule"),
            format!("{what}: {rule}\n").as_bytes(),
            0o600,
        )?;
        file::sync_directory(path.parent().unwrap_or(path))?;
        tell(what.trim_end(), rule, &place);
        Ok(())
    }
}

/// Says what was moved.
fn tell(what: &str, rule: &str, place: &Path) {
    let place = place.display();
    log::error(format_args!(
        "{what} is kept from the engine: {rule}; it lies in {place}"
    ));
}
