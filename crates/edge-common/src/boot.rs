//! What became of each step of the boot, one line of JSON a step, so that a
//! failure can be seen from a distance.
//!
//! A step that has ended is in `/data/log/boot/<step>.json`. While it runs, and
//! as long as there is no `/data`, its line is in `/run/edge-ai/boot`: what is
//! there is newer. [`carry`] moves it once `/data` is mounted.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::{Root, exit, file, log, time};

/// Where the lines are kept.
pub const DIRECTORY: &str = "/data/log/boot";
/// Where they wait for `/data`.
pub const EARLY: &str = "/run/edge-ai/boot";
/// Longest message that is kept, in bytes.
const MESSAGE: usize = 500;
/// Largest line that is read, in bytes.
const LARGEST: u64 = 4096;
/// Most steps that are read.
const MOST: usize = 32;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Program, or program and verb.
    pub tool: String,
    /// `running`, `ok` or `failed`. One that still runs in an earlier boot was
    /// cut off.
    pub result: String,
    /// Exit code, once it has ended.
    pub code: Option<u8>,
    /// Why it failed.
    pub message: String,
    /// When it was written, RFC 3339; before the clock is set this is early.
    pub time: String,
    /// The kernel's name of the boot.
    pub boot_id: String,
    /// How long it took.
    pub duration_ms: u64,
}

/// Does `work`, the step `tool` of the boot, and leaves its result as a line.
/// That the line cannot be written is said, and changes no result.
///
/// # Errors
/// Those of `work`.
pub fn recorded(root: &Root, tool: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let begun = Instant::now();
    let mut record = Record {
        tool: tool.into(),
        result: "running".into(),
        code: None,
        message: String::new(),
        time: time::now(),
        boot_id: boot_id(root),
        duration_ms: 0,
    };
    // Only a memory file system: to say that a step runs costs no wear.
    let _ = put(&root.path(EARLY), &record);
    let result = work();
    record.time = time::now();
    record.duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    record.code = Some(result.as_ref().err().map_or(0, exit::code_of));
    record.result = if result.is_ok() { "ok" } else { "failed" }.into();
    if let Err(error) = &result {
        record.message = short(&format!("{error:#}"));
    }
    if let Err(error) = keep(root, &record) {
        log::warn(format_args!("{error:#}"));
    }
    result
}

/// Puts a line where it stays, or where it waits if that cannot be.
fn keep(root: &Root, record: &Record) -> Result<()> {
    let kept = root.path("/data/log").is_dir() && put(&root.path(DIRECTORY), record).is_ok();
    if !kept {
        return put(&root.path(EARLY), record);
    }
    let _ = fs::remove_file(place(&root.path(EARLY), &record.tool));
    Ok(())
}

fn place(directory: &Path, tool: &str) -> PathBuf {
    directory.join(format!("{tool}.json"))
}

fn put(directory: &Path, record: &Record) -> Result<()> {
    file::create_directory(directory, 0o755)?;
    let line = serde_json::to_string(record)? + "\n";
    file::write(&place(directory, &record.tool), line.as_bytes(), 0o644)
}

/// Moves the lines of steps that ended before `/data` was there.
///
/// # Errors
/// One cannot be written; it then stays where it is.
pub fn carry(root: &Root) -> Result<()> {
    let waiting = read_directory(&root.path(EARLY));
    for record in waiting.iter().filter(|r| r.code.is_some()) {
        put(&root.path(DIRECTORY), record)?;
        let _ = fs::remove_file(place(&root.path(EARLY), &record.tool));
    }
    Ok(())
}

/// The newest line of each step, by name.
pub fn records(root: &Root) -> Vec<Record> {
    let mut records = read_directory(&root.path(EARLY));
    for kept in read_directory(&root.path(DIRECTORY)) {
        if !records.iter().any(|r| r.tool == kept.tool) {
            records.push(kept);
        }
    }
    records.sort_by(|a, b| a.tool.cmp(&b.tool));
    records
}

fn read_directory(directory: &Path) -> Vec<Record> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let lines = entries.flatten().take(MOST).filter_map(|entry| {
        let path = entry.path();
        let text = file::read(&path, LARGEST).ok()?;
        let record: Record = serde_json::from_slice(&text).ok()?;
        // The name decides which step it is: a copy under another name is none.
        (path == place(directory, &record.tool)).then_some(record)
    });
    lines.collect()
}

/// The kernel's name of this boot.
pub fn boot_id(root: &Root) -> String {
    use std::io::Read;
    let mut text = String::new();
    // Files of /proc say that they are empty: read them until their end.
    let file = fs::File::open(root.path("/proc/sys/kernel/random/boot_id"));
    let read = file.and_then(|f| f.take(64).read_to_string(&mut text));
    read.map_or_else(|_| String::new(), |_| text.trim().to_string())
}

/// At most [`MESSAGE`] bytes on one line.
fn short(text: &str) -> String {
    let text = log::printable(text);
    let end = (0..=MESSAGE.min(text.len())).rfind(|i| text.is_char_boundary(*i));
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
    fn early_lines_wait_and_are_carried() {
        let (_directory, root) = root();
        recorded(&root, "one", || {
            assert_eq!(records(&root)[0].result, "running");
            Ok(())
        })
        .unwrap();
        assert!(root.path(EARLY).join("one.json").exists());
        fs::create_dir_all(root.path("/data/log")).unwrap();
        carry(&root).unwrap();
        assert!(!root.path(EARLY).join("one.json").exists());
        let kept = records(&root);
        assert_eq!((kept.len(), kept[0].code), (1, Some(0)));
    }

    #[test]
    fn a_failure_keeps_code_and_message_and_stays_a_failure() {
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
        assert!(record.message.starts_with("no clock") && record.message.len() <= MESSAGE);
        let text = fs::read_to_string(root.path(DIRECTORY).join("two.json")).unwrap();
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn what_runs_is_newer_than_what_is_kept_and_garbage_is_passed_over() {
        let (_directory, root) = root();
        fs::create_dir_all(root.path("/data/log")).unwrap();
        recorded(&root, "x", || Err(anyhow::anyhow!("first"))).unwrap_err();
        file::write(&root.path(DIRECTORY).join("y.json"), b"{", 0o600).unwrap();
        file::write(&root.path(DIRECTORY).join("z.json"), &[b' '; 9000], 0o600).unwrap();
        recorded(&root, "x", || {
            let seen = records(&root);
            assert_eq!((seen.len(), seen[0].result.as_str()), (1, "running"));
            Ok(())
        })
        .unwrap();
        assert_eq!(records(&root)[0].result, "ok");
    }

    #[test]
    fn no_place_for_a_line_changes_no_result() {
        let (_directory, root) = root();
        file::write(&root.path("/run"), b"", 0o600).unwrap();
        recorded(&root, "x", || Ok(())).unwrap();
    }
}
