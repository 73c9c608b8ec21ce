//! Results of the boot steps, one JSON line for each step. edge-heartbeat reports them
//! to the shadow, because operators can rarely read the journal of a device in the
//! field.
//!
//! The result of a finished step is in `/data/log/boot/<step>.json`. While a step runs,
//! and for every step until `/data` is mounted, the result is in `/run/edge-ai/boot`; a
//! result in `/run` is newer than one on `/data`. [`save_early`] moves finished results
//! to `/data` once it is mounted.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::{Root, exit, file, log, time};

/// Directory of the results of finished steps, on `/data`.
const SAVED: &str = "/data/log/boot";
/// Directory of the results of running steps, and of all steps until `/data` is
/// mounted.
const EARLY: &str = "/run/edge-ai/boot";
/// Length limit of a saved error message, in bytes. AWS allows 8 KiB for the shadow
/// document with all steps and everything else.
const MAX_MESSAGE_BYTES: usize = 500;
/// Size limit of a result file, in bytes. Larger files are skipped.
const MAX_RECORD_BYTES: u64 = 4096;
/// Maximum number of entries that are read from one directory of results.
const MAX_RECORDS: usize = 32;

/// Result of one boot step: the contents of `<step>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Name of the step and of its file, for example `edge-partition` or
    /// `edge-provision-renew`.
    pub tool: String,
    /// State of the step: `running`, `ok` or `failed`.
    pub result: String,
    /// Exit code; `None` while the step runs.
    pub code: Option<u8>,
    /// Error message of a failed step on one line, otherwise empty.
    pub message: String,
    /// Time at which the step started or ended, RFC 3339 in UTC. The time is too early
    /// if the clock was not set yet.
    pub time: String,
    /// Random identifier of the boot in which the step ran, from
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Duration in milliseconds; 0 while the step runs.
    pub duration_ms: u64,
}

/// Runs `work` as the boot step `tool`, records its result and returns it. If the
/// record cannot be written, a warning is logged and the result is returned unchanged.
pub fn recorded(root: &Root, tool: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let begun = Instant::now();
    let mut record = Record {
        tool: tool.into(),
        result: "running".into(),
        code: None,
        message: String::new(),
        time: time::now(),
        boot_id: id(root),
        duration_ms: 0,
    };
    // The `running` record is written to memory only, so that a step writes to the
    // flash once at each boot and not twice.
    let _ = write(&root.path(EARLY), &record);
    let result = work();
    record.time = time::now();
    record.duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    record.code = Some(result.as_ref().err().map_or(0, exit::code_of));
    record.result = if result.is_ok() { "ok" } else { "failed" }.into();
    if let Err(error) = &result {
        record.message = truncate(&format!("{error:#}"));
    }
    if let Err(error) = save(root, &record) {
        log::warn(format_args!("{error:#}"));
    }
    result
}

/// Writes a result to `/data`, or to `/run` if `/data` is not mounted or not writable.
fn save(root: &Root, record: &Record) -> Result<()> {
    // The mount point `/data` always exists; `/data/log` exists only on the mounted
    // file system.
    let saved = root.path("/data/log").is_dir() && write(&root.path(SAVED), record).is_ok();
    if !saved {
        return write(&root.path(EARLY), record);
    }
    let _ = fs::remove_file(path(&root.path(EARLY), &record.tool));
    Ok(())
}

fn path(directory: &Path, tool: &str) -> PathBuf {
    directory.join(format!("{tool}.json"))
}

fn write(directory: &Path, record: &Record) -> Result<()> {
    file::create_directory(directory, 0o755)?;
    let line = serde_json::to_string(record)? + "\n";
    file::write(&path(directory, &record.tool), line.as_bytes(), 0o644)
}

/// Moves the results of steps that ended before `/data` was mounted from `/run` to
/// `/data`.
///
/// # Errors
/// A result cannot be written to `/data`; it then stays in `/run`.
pub fn save_early(root: &Root) -> Result<()> {
    let early = read_directory(&root.path(EARLY));
    for record in early.iter().filter(|r| r.code.is_some()) {
        write(&root.path(SAVED), record)?;
        let _ = fs::remove_file(path(&root.path(EARLY), &record.tool));
    }
    Ok(())
}

/// Returns the newest result of each step, sorted by the name of the step.
pub fn records(root: &Root) -> Vec<Record> {
    let mut records = read_directory(&root.path(EARLY));
    for saved in read_directory(&root.path(SAVED)) {
        if !records.iter().any(|r| r.tool == saved.tool) {
            records.push(saved);
        }
    }
    records.sort_by(|a, b| a.tool.cmp(&b.tool));
    records
}

fn read_directory(directory: &Path) -> Vec<Record> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let lines = entries.flatten().take(MAX_RECORDS).filter_map(|entry| {
        let file = entry.path();
        let text = file::read(&file, MAX_RECORD_BYTES).ok()?;
        let record: Record = serde_json::from_slice(&text).ok()?;
        // A record under another file name, such as a copy, would count as a second
        // result of the step.
        (file == path(directory, &record.tool)).then_some(record)
    });
    lines.collect()
}

/// Returns the random identifier of this boot, empty if it cannot be read.
pub fn id(root: &Root) -> String {
    use std::io::Read;
    let mut text = String::new();
    // Files in /proc report a size of 0, so the content is read until its end.
    let file = fs::File::open(root.path("/proc/sys/kernel/random/boot_id"));
    let read = file.and_then(|f| f.take(64).read_to_string(&mut text));
    read.map_or_else(|_| String::new(), |_| text.trim().to_string())
}

fn truncate(text: &str) -> String {
    let text = log::printable(text);
    let end = (0..=MAX_MESSAGE_BYTES.min(text.len())).rfind(|i| text.is_char_boundary(*i));
    text[..end.unwrap_or(0)].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Failure;

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        (directory, root)
    }

    #[test]
    fn early_results_are_saved_once_data_is_mounted() {
        let (_directory, root) = root();
        recorded(&root, "one", || {
            assert_eq!(records(&root)[0].result, "running");
            Ok(())
        })
        .unwrap();
        assert!(root.path(EARLY).join("one.json").exists());
        fs::create_dir_all(root.path("/data/log")).unwrap();
        save_early(&root).unwrap();
        assert!(!root.path(EARLY).join("one.json").exists());
        let saved = records(&root);
        assert_eq!((saved.len(), saved[0].code), (1, Some(0)));
    }

    #[test]
    fn a_failure_is_recorded_and_returned() {
        let (_directory, root) = root();
        fs::create_dir_all(root.path("/data/log")).unwrap();
        let fail = || {
            Err(Failure::error(
                4,
                format_args!("no\nclock {}", "é".repeat(900)),
            ))
        };
        assert_eq!(exit::code_of(&recorded(&root, "two", fail).unwrap_err()), 4);
        let record = &records(&root)[0];
        assert_eq!((record.result.as_str(), record.code), ("failed", Some(4)));
        assert!(
            record.message.starts_with("no clock") && record.message.len() <= MAX_MESSAGE_BYTES
        );
        let text = fs::read_to_string(root.path(SAVED).join("two.json")).unwrap();
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn a_running_step_is_newer_and_invalid_records_are_skipped() {
        let (_directory, root) = root();
        fs::create_dir_all(root.path("/data/log")).unwrap();
        recorded(&root, "x", || Err(anyhow::anyhow!("first"))).unwrap_err();
        file::write(&root.path(SAVED).join("y.json"), b"{", 0o600).unwrap();
        file::write(&root.path(SAVED).join("z.json"), &[b' '; 9000], 0o600).unwrap();
        recorded(&root, "x", || {
            let seen = records(&root);
            assert_eq!((seen.len(), seen[0].result.as_str()), (1, "running"));
            Ok(())
        })
        .unwrap();
        assert_eq!(records(&root)[0].result, "ok");
    }

    #[test]
    fn a_record_that_cannot_be_written_changes_no_result() {
        let (_directory, root) = root();
        file::write(&root.path("/run"), b"", 0o600).unwrap();
        recorded(&root, "x", || Ok(())).unwrap();
    }
}
