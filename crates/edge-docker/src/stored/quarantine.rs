//! Quarantine for stored containers and other data of the engine that break a rule.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use edge_common::{file, log};

use super::disk::{entries, require_directory};

/// Number of directories that the quarantine keeps. They are for people to look at, and a
/// device that breaks a rule at each boot must not fill its disk with them.
const MAX_PLACES: usize = 64;
/// Size limit of a file `rule` that is read, in bytes.
const MAX_RULE_BYTES: u64 = 16 * 1024;

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

/// Deletes the oldest directories of the quarantine beyond [`MAX_PLACES`]. Not part of the
/// audit, because the deletion of volumes may take minutes.
pub(crate) fn trim(data_root: &Path) -> Result<()> {
    let mut places: Vec<_> = entries(&data_root.join("quarantine"))?
        .into_iter()
        .filter_map(|path| Some((age(&path)?, path)))
        .collect();
    places.sort();
    let excess = places.len().saturating_sub(MAX_PLACES);
    for (_, path) in places.into_iter().take(excess) {
        let removed = fs::remove_dir_all(&path);
        removed.with_context(|| format!("removing {}", path.display()))?;
        log::warn(format_args!(
            "deleted {}: the quarantine keeps {MAX_PLACES} directories",
            path.display()
        ));
    }
    Ok(())
}

/// Returns time and text, `WHAT: RULE`, of what is in the quarantine, the newest first. What
/// cannot be read is left out.
pub(crate) fn contents(data_root: &Path) -> Vec<(u64, String)> {
    let paths = entries(&data_root.join("quarantine")).unwrap_or_default();
    let mut found: Vec<_> = paths
        .iter()
        .filter_map(|path| {
            let text = file::read_text(&path.join("rule"), MAX_RULE_BYTES).ok()?;
            Some((age(path)?, text))
        })
        .collect();
    found.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
    found.truncate(MAX_PLACES);
    found
        .into_iter()
        .map(|((time, _), text)| (time, text))
        .collect()
}

/// Returns time and number of the directory `TIME-N`; `None` for another name, which
/// somebody else has given.
fn age(path: &Path) -> Option<(u64, u32)> {
    let (time, number) = path.file_name()?.to_str()?.split_once('-')?;
    Some((time.parse().ok()?, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_directories_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let quarantine = directory.path().join("quarantine");
        trim(directory.path()).unwrap();
        fs::create_dir_all(quarantine.join("looked-at")).unwrap();
        for n in 0..MAX_PLACES + 3 {
            fs::create_dir_all(quarantine.join(format!("{}-{n}/a", 90 + n / 20))).unwrap();
        }
        trim(directory.path()).unwrap();
        let exists = |name: &str| quarantine.join(name).exists();
        assert!(!exists("90-0") && !exists("90-2"));
        assert!(exists("90-3") && exists("looked-at"));
        assert_eq!(entries(&quarantine).unwrap().len(), MAX_PLACES + 1);
    }
}
