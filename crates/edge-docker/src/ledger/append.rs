//! Appending to the ledger, one process at a time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_common::contract::path::{LEDGER, LEDGER_HEAD};
use edge_common::{Root, file, lock};
use serde_json::json;

use super::record::{Entry, Head};
use super::refusals::Refusals;
use super::segments::Writer;
use super::{journal, pending};

/// Time that a command waits for others to append.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two attempts to get the lock.
const LOCK_INTERVAL: Duration = Duration::from_millis(2);

/// Appends a record durably, and copies it to the journal.
pub(super) fn append(root: &Root, entry: Entry) -> Result<()> {
    // Also if the append fails: then it is the only trace that does not expire with /run.
    journal::copy(root, &entry);
    let directory = directory(root)?;
    let _lock = hold(&directory)?;
    let mut writer = Writer::open(&directory)?;
    settle(root, &mut writer, &mut Refusals::read(root), entry.boot_ms)?;
    writer.append(entry)?;
    write_head(root, &writer.head);
    Ok(())
}

/// Appends the record of a refusal, unless there were too many within a minute.
pub(super) fn append_limited(root: &Root, entry: Entry) -> Result<()> {
    let directory = directory(root)?;
    let _lock = hold(&directory)?;
    let mut writer = Writer::open(&directory)?;
    let mut refusals = Refusals::read(root);
    settle(root, &mut writer, &mut refusals, entry.boot_ms)?;
    if refusals.admit(entry.boot_ms) {
        writer.append(entry)?;
        write_head(root, &writer.head);
    }
    refusals.write(root);
    Ok(())
}

/// Appends what earlier commands could not: records kept in `/run`, and the number of
/// refusals without a record.
fn settle(root: &Root, writer: &mut Writer, refusals: &mut Refusals, now_ms: u64) -> Result<()> {
    pending::carry_over(root, writer)?;
    if let Some(count) = refusals.take_unrecorded(now_ms) {
        let entry = Entry {
            verdict: super::Verdict::Denied.name().into(),
            rule: format!("{count} further refused or failed commands within a minute"),
            count,
            ..super::now()
        };
        journal::copy(root, &entry);
        writer.append(entry)?;
        refusals.write(root);
    }
    Ok(())
}

/// Returns the directory of the ledger, and creates it on the mounted data partition.
fn directory(root: &Root) -> Result<PathBuf> {
    let directory = root.path(LEDGER);
    // The mount point `/data` always exists; `/data/config` exists only on the mounted
    // file system.
    if !directory.is_dir() {
        if !root.path("/data/config").is_dir() {
            bail!("{LEDGER} does not exist");
        }
        file::create_directory(&root.path("/data/log"), 0o755)?;
        file::create_directory(&directory, 0o700)?;
    }
    Ok(directory)
}

/// Locks the ledger. Gives up after a time: a stuck process must not keep a device from
/// being repaired.
fn hold(directory: &Path) -> Result<File> {
    let end = Instant::now() + LOCK_TIMEOUT;
    loop {
        if let Some(lock) = lock::try_exclusive(directory)? {
            return Ok(lock);
        }
        if Instant::now() > end {
            bail!(
                "another process holds {LEDGER} for {} s",
                LOCK_TIMEOUT.as_secs()
            );
        }
        std::thread::sleep(LOCK_INTERVAL);
    }
}

/// Writes the head for edge-heartbeat, whole. An error is ignored: the next record
/// writes it again.
fn write_head(root: &Root, head: &Head) {
    let write = || -> Result<()> {
        let path = root.path(LEDGER_HEAD);
        let directory = path.parent().context("a path without a directory")?;
        file::create_directory(directory, 0o755)?;
        let text = json!({ "v": 1, "counter": head.counter, "hash": head.hash });
        // In memory, so there is nothing to sync. The lock excludes another writer.
        let new = path.with_extension("new");
        file::put(&new, text.to_string().as_bytes(), 0o644)?;
        std::fs::rename(&new, &path).context("renaming the head of the ledger")
    };
    let _ = write();
}
