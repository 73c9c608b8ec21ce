//! File in memory with what a repair overwrites, from which it is undone.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use edge_common::command::run_within;
use edge_common::exit::Failure;
use edge_common::{Root, file, log};

use crate::exit_code::DAMAGED;

/// Time limit of an undo. Stopping it would leave half a repair.
const UNDO_LIMIT: Duration = Duration::from_secs(300);
/// Directory of the undo file. The unit mounts memory there, which bounds its size.
const UNDO_DIRECTORY: &str = "/run/edge-ai/repair";
/// Beginning of the name of an undo file, before the process ID.
const UNDO_PREFIX: &str = "undo-";
/// Size of an undo file in which nothing is recorded: its header and a copy of the
/// superblock. e2fsck leaves one that e2undo does not accept if it cannot open the file
/// system.
const EMPTY_BYTES: u64 = 2048;
/// Number of bytes with the first superblock.
const BEGINNING_BYTES: u64 = 4096;

/// File that records what a repair overwrites.
pub(super) struct Undo {
    path: PathBuf,
    /// Beginning of the device. e2undo leaves the time of the repair in the superblock.
    beginning: Vec<u8>,
}

impl Undo {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Prepares an undo file for a repair of `device`.
    pub(super) fn new(root: &Root, device: &Path) -> Result<Self> {
        let directory = root.path(UNDO_DIRECTORY);
        file::create_directory(&directory, 0o700)?;
        let beginning = beginning(device)?;
        remove_leftovers(root, &directory)?;
        // A manual run for another device may work at the same time.
        let path = directory.join(format!("{UNDO_PREFIX}{}", std::process::id()));
        let undo = Self { path, beginning };
        undo.discard()?;
        Ok(undo)
    }

    /// Removes the file: the repair is good.
    pub(super) fn discard(&self) -> Result<()> {
        file::remove(&self.path).map(|_| ())
    }

    /// Restores what was recorded.
    ///
    /// # Errors
    /// The device has not the content from before the repair.
    pub(super) fn apply(&self, root: &Root, device: &Path) -> Result<()> {
        let Ok(recorded) = std::fs::metadata(&self.path) else {
            return Ok(());
        };
        if recorded.len() <= EMPTY_BYTES && beginning(device)? == self.beginning {
            return self.discard();
        }
        let mut command = root.command("/usr/sbin/e2undo");
        // -f: the superblock, by which e2undo recognises the file system, was changed.
        let command = command.arg("-f").arg(&self.path).arg(device);
        let completed = run_within(command, "", UNDO_LIMIT, super::GRACE)?;
        if !completed.success() {
            let reason = format!(
                "undoing a repair of {}: {}; the rest is in {}",
                device.display(),
                completed.summary(),
                self.path.display()
            );
            return Err(Failure::error(DAMAGED, reason));
        }
        let context = || format!("writing {}", device.display());
        let target = File::options()
            .write(true)
            .open(device)
            .with_context(context)?;
        target
            .write_all_at(&self.beginning, 0)
            .with_context(context)?;
        target.sync_all().with_context(context)?;
        log::info(format_args!("undid the repair of {}", device.display()));
        self.discard()
    }
}

/// Reads the beginning of the device, with the superblock.
fn beginning(device: &Path) -> Result<Vec<u8>> {
    let context = || format!("reading {}", device.display());
    let mut bytes = Vec::new();
    let mut source = File::open(device)
        .with_context(context)?
        .take(BEGINNING_BYTES);
    source.read_to_end(&mut bytes).with_context(context)?;
    Ok(bytes)
}

/// Removes undo files of processes that were killed, which occupy memory.
fn remove_leftovers(root: &Root, directory: &Path) -> Result<()> {
    let entries = std::fs::read_dir(directory);
    let entries = entries.with_context(|| format!("reading {}", directory.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(UNDO_PREFIX);
        if process.is_some_and(|pid| !root.path("/proc").join(pid).exists()) {
            file::remove(&entry.path())?;
        }
    }
    Ok(())
}
