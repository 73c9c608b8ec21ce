//! Records that are kept in `/run` while the ledger is not writable, for example on a
//! read-only file system, until an append succeeds again.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context, Result, bail};
use edge_common::{Root, file};

use super::record::Entry;
use super::segments::Writer;

/// File with one JSON line per record.
const FILE: &str = "/run/edge-docker/ledger-pending.jsonl";
/// Size limit of the file in bytes. Beyond it the actions are permitted without a
/// record: a device on which nothing can be removed could not be repaired.
const MAX_FILE_BYTES: u64 = 512 * 1024;

/// Keeps a record for the next append.
pub(super) fn keep(root: &Root, entry: &Entry) -> Result<()> {
    let path = root.path(FILE);
    file::create_directory(path.parent().unwrap_or(&path), 0o700)?;
    let mut line = serde_json::to_vec(entry).context("writing a record of the ledger")?;
    line.push(b'\n');
    let mut options = File::options();
    let mut file = options.create(true).append(true).mode(0o600).open(&path)?;
    if file.metadata()?.len() + line.len() as u64 > MAX_FILE_BYTES {
        bail!("{FILE} is full");
    }
    // One write for the whole line, so that the lines of two processes do not mix.
    file.write_all(&line).context("writing a record to /run")
}

/// Appends the kept records to the ledger, and returns them.
pub(super) fn carry_over(root: &Root, writer: &mut Writer) -> Result<Vec<Entry>> {
    let path = root.path(FILE);
    let Ok(text) = file::read(&path, MAX_FILE_BYTES) else {
        return Ok(Vec::new());
    };
    let mut carried = Vec::new();
    for line in text.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        // A line that was cut off by a full file system is not readable.
        let Ok(mut entry) = serde_json::from_slice::<Entry>(line) else {
            continue;
        };
        entry.carried = true;
        writer.append(entry.clone())?;
        carried.push(entry);
    }
    std::fs::remove_file(&path).context("removing the records from /run")?;
    Ok(carried)
}
