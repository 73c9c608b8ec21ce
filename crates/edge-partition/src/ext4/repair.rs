//! Repair of an ext4 file system by e2fsck, with a way back.
//!
//! A repair may destroy more than the damage did: `e2fsck -p` accepts zeroed group
//! descriptors as those of an empty file system. So each way of repairing records what it
//! overwrites, files are counted before and after, and a way that loses files is undone.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use edge_common::command::{Completed, run_within};
use edge_common::exit::Failure;
use edge_common::log::printable;
use edge_common::{Root, log};

use super::GRACE;
use super::inodes::{Descriptors, Files};
use super::superblock::{self, Superblock};
use super::undo::Undo;
use crate::exit_code::{DAMAGED, LOSSY, UNREADABLE};

/// Time limit of one run of e2fsck. A longer run is stopped, because the boot waits for
/// it; the mount then replays the journal, and the next boot checks again.
const CHECK_LIMIT: Duration = Duration::from_secs(120);
/// Time limit of all runs that repair, without the last undo.
const REPAIR_LIMIT: Duration = Duration::from_secs(300);
/// Length limit of e2fsck's output in a log message, in characters.
const MAX_REPORT_CHARS: usize = 2000;
/// Number of copies of the superblock that are tried.
const MAX_COPIES: usize = 3;
/// Bit of e2fsck's exit status: errors are left.
const LEFT: i32 = 4;
/// Bits of e2fsck's exit status with which nothing is known of the file system: it
/// could not be examined, wrong usage, cancelled, a library is missing.
const NOT_EXAMINED: i32 = !7;

/// Way of repairing: options of e2fsck.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// Only what is safe (`-p`).
    Preen,
    /// Everything, with the superblock and descriptors that e2fsck finds itself.
    All,
    /// Everything, with the copy of superblock and descriptors in this block.
    AllFromCopy { block: u64, block_bytes: u64 },
}

impl Way {
    fn options(&self, answer: &str) -> Vec<String> {
        let mut options = vec![answer.to_string()];
        if let Self::AllFromCopy { block, block_bytes } = self {
            options.extend([
                "-b".into(),
                block.to_string(),
                "-B".into(),
                block_bytes.to_string(),
            ]);
        }
        options
    }
}

/// Result of one run of e2fsck.
enum Outcome {
    /// The file system is in order, or was repaired.
    Good,
    /// Errors are left, or the file system could not be examined.
    Bad,
    /// The time limit was reached.
    Stopped,
}

/// File system on a device, with what is known of it before a repair.
struct Patient<'a> {
    root: &'a Root,
    device: &'a Path,
    /// Whether a file system that is marked as clean is checked, too.
    force: bool,
    /// Ways of repairing, in the order in which they are tried.
    ways: Vec<Way>,
    files: Files,
}

/// Checks the file system, and repairs it if necessary. With `force` it is checked even
/// if it is marked as clean.
///
/// # Errors
/// The file system cannot be read, cannot be repaired, or only with a loss of files;
/// then it is left as it was.
pub(crate) fn check(root: &Root, device: &Path, force: bool) -> Result<()> {
    let mut primary = superblock::superblock(device)?;
    let sound = |s: &Option<Superblock>| s.as_ref().is_some_and(|s| is_sound(device, s));
    let mut whole = sound(&primary);
    let mut force = force;
    // A clean file system is checked read-only, because `e2fsck -p` would update a
    // counter on the disk at every boot.
    if whole && primary.as_ref().is_some_and(|s| s.clean) {
        let options: &[&str] = if force { &["-n", "-f"] } else { &["-n"] };
        if matches!(
            run(root, device, options)?,
            Outcome::Good | Outcome::Stopped
        ) {
            return Ok(());
        }
        force = true;
    }
    if whole && primary.as_ref().is_some_and(|s| s.unreplayed) {
        // What the journal deletes is not lost, so it is replayed before files are
        // counted.
        run(root, device, &["-p", "-E", "journal_only"])?;
        primary = superblock::superblock(device)?;
        whole = sound(&primary);
    }
    let examined = examine(device, primary.as_ref(), whole);
    let (ways, files) = examined.map_err(|e| Failure::wrap(UNREADABLE, e))?;
    let patient = Patient {
        root,
        device,
        force,
        ways,
        files,
    };
    patient.repair()
}

/// Returns whether superblock and group descriptors are valid and agree with a copy.
fn is_sound(device: &Path, superblock: &Superblock) -> bool {
    let Some(geometry) = &superblock.geometry else {
        return false;
    };
    if !superblock::agrees_with_copy(device, superblock) {
        return false;
    }
    let Ok(descriptors) = Descriptors::read(device, geometry, geometry.first_block) else {
        return false;
    };
    if geometry.seed.is_some() || !descriptors.are_valid() {
        return descriptors.are_valid();
    }
    // Without checksums only a copy shows whether the descriptors are right.
    let copies = superblock::copies(device).unwrap_or_default();
    copies.first().is_none_or(|copy| {
        let others = Descriptors::read(device, geometry, copy.block);
        others.is_ok_and(|others| descriptors.agree_with(&others))
    })
}

/// Returns the ways of repairing and the number of files.
fn examine(device: &Path, primary: Option<&Superblock>, whole: bool) -> Result<(Vec<Way>, Files)> {
    let copies = superblock::copies(device)?;
    let primary = primary.and_then(|s| s.geometry.as_ref());
    let mut views: Vec<_> = primary.map(|g| (g, g.first_block)).into_iter().collect();
    let mut from_copies = Vec::new();
    for copy in copies.iter().take(MAX_COPIES) {
        if let Some(geometry) = &copy.superblock.geometry {
            views.push((geometry, copy.block));
            let block_bytes = geometry.block_bytes;
            from_copies.push(Way::AllFromCopy {
                block: copy.block,
                block_bytes,
            });
        }
    }
    let mut files = Files::default();
    for (geometry, block) in views {
        let counted = Descriptors::read(device, geometry, block)?.count(device)?;
        files = files.max(counted);
        // The copies describe the same tables.
        if whole {
            break;
        }
    }
    let ways = if whole {
        [vec![Way::Preen, Way::All], from_copies].concat()
    } else {
        [from_copies, vec![Way::All]].concat()
    };
    Ok((ways, files))
}

/// Counts the files of a file system whose first superblock is destroyed, by the copies
/// of the superblock.
pub(crate) fn files_by_copies(device: &Path) -> Result<Files> {
    Ok(examine(device, None, false)?.1)
}

impl Patient<'_> {
    fn repair(&self) -> Result<()> {
        let end = Instant::now() + REPAIR_LIMIT;
        let undo = Undo::new(self.root, self.device)?;
        let mut best: Option<(Files, &Way)> = None;
        for way in &self.ways {
            if Instant::now() >= end {
                break;
            }
            let Some(after) = self.attempt(way, &undo)? else {
                continue;
            };
            if after.sound >= self.files.sound && after.plausible >= self.files.plausible {
                return undo.discard();
            }
            undo.apply(self.root, self.device)?;
            if best.as_ref().is_none_or(|(files, _)| after > *files) {
                best = Some((after, way));
            }
        }
        match best {
            Some((files, way)) if files.sound >= self.files.sound => {
                self.attempt(way, &undo)?;
                undo.discard()
            }
            Some((files, _)) => Err(self.lossy(files)),
            None => Err(match self.read_whole() {
                Ok(()) => self.failure(DAMAGED, "is damaged and cannot be repaired"),
                Err(error) => Failure::wrap(UNREADABLE, error),
            }),
        }
    }

    /// Repairs in one way and returns the number of files afterwards, or `None` if that
    /// failed and was undone.
    fn attempt(&self, way: &Way, undo: &Undo) -> Result<Option<Files>> {
        if *way != Way::Preen {
            log::warn(format_args!(
                "repairing {} ({way:?})",
                self.device.display()
            ));
        }
        let answer = if *way == Way::Preen { "-p" } else { "-y" };
        let undo_options = ["-z".into(), undo.path().display().to_string()];
        let mut options = [way.options(answer), undo_options.to_vec()].concat();
        if self.force || *way != Way::Preen {
            options.push("-f".into());
        }
        let mut outcome = run(self.root, self.device, &options)?;
        if *way != Way::Preen && !matches!(outcome, Outcome::Stopped) && !self.is_in_order()? {
            // Some repairs, as of quotas, are complete only after a second run.
            let options = [vec!["-y".into(), "-f".into()], undo_options.to_vec()].concat();
            outcome = run(self.root, self.device, &options)?;
        }
        let stopped = matches!(outcome, Outcome::Stopped);
        if matches!(outcome, Outcome::Bad) || stopped && *way != Way::Preen {
            undo.apply(self.root, self.device)?;
            return Ok(None);
        }
        match self.result(way) {
            Ok(files) => Ok(Some(files)),
            Err(error) => {
                undo.apply(self.root, self.device)?;
                Err(Failure::wrap(UNREADABLE, error))
            }
        }
    }

    /// Returns the number of files after a repair.
    fn result(&self, way: &Way) -> Result<Files> {
        if *way != Way::Preen {
            self.read_whole()?;
        }
        self.count()
    }

    fn is_in_order(&self) -> Result<bool> {
        let checked = e2fsck(self.root, self.device, &["-n", "-f"])?;
        Ok(checked.success())
    }

    /// Lets e2fsck read all metadata.
    fn read_whole(&self) -> Result<()> {
        // With `-y` e2fsck ignores read errors, with `-n` it stops at them. What it could
        // not read it could not overwrite, because the undo file needs the old content.
        let checked = e2fsck(self.root, self.device, &["-n", "-f"])?;
        let code = checked.status.and_then(|status| status.code());
        if code.is_none_or(|code| code & NOT_EXAMINED != 0) {
            let device = self.device.display();
            bail!("{device} cannot be read whole: {}", checked.summary());
        }
        Ok(())
    }

    fn count(&self) -> Result<Files> {
        let superblock = superblock::superblock(self.device)?;
        let geometry = superblock.and_then(|s| s.geometry);
        let Some(geometry) = geometry else {
            return Ok(Files::default());
        };
        Descriptors::read(self.device, &geometry, geometry.first_block)?.count(self.device)
    }

    fn lossy(&self, files: Files) -> anyhow::Error {
        let (before, after) = (self.files.sound, files.sound);
        let reason = format!(
            "is damaged, and a repair would leave {after} of {before} files: copy the \
             partition, then run `e2fsck` by hand and boot again; nothing was changed"
        );
        self.failure(LOSSY, &reason)
    }

    fn failure(&self, code: u8, reason: &str) -> anyhow::Error {
        Failure::error(code, format_args!("{} {reason}", self.device.display()))
    }
}

fn e2fsck(root: &Root, device: &Path, options: &[impl AsRef<str>]) -> Result<Completed> {
    let mut command = root.command("/usr/sbin/e2fsck");
    command.args(options.iter().map(AsRef::as_ref)).arg(device);
    run_within(&mut command, "", CHECK_LIMIT, GRACE)
}

fn run(root: &Root, device: &Path, options: &[impl AsRef<str>]) -> Result<Outcome> {
    let completed = e2fsck(root, device, options)?;
    let Some(status) = completed.status else {
        log::warn(format_args!(
            "checking {} took longer than {} s",
            device.display(),
            CHECK_LIMIT.as_secs()
        ));
        return Ok(Outcome::Stopped);
    };
    match status.code() {
        Some(0) => Ok(Outcome::Good),
        // Bits of e2fsck's exit status: 1 means "repaired", and 2 means "reboot", which
        // concerns only a mounted file system.
        Some(code) if code & (LEFT | NOT_EXAMINED) == 0 => {
            log::info(format_args!("repaired: {}", shorten(&completed.output())));
            Ok(Outcome::Good)
        }
        _ => {
            let output = shorten(&completed.output());
            log::warn(format_args!("e2fsck: {status}: {output}"));
            Ok(Outcome::Bad)
        }
    }
}

/// Returns the beginning of `output` on one line, because e2fsck may print megabytes.
fn shorten(output: &str) -> String {
    let words: Vec<_> = output.split_whitespace().collect();
    let short: String = words.join(" ").chars().take(MAX_REPORT_CHARS).collect();
    printable(&short)
}
