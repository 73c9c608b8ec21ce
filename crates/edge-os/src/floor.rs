//! Floor of the OS's release numbers: the highest one that was committed. An image with a
//! lower number is not installed. The way back to the other slot is no way down: the
//! floor stays.

use anyhow::{Result, bail};
use edge_common::contract::path::{OS_DIRECTORY, OS_FLOOR, OS_FLOOR_COPY};
use edge_common::{Root, file, log};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Size limit of a record, in bytes.
const MAX_BYTES: u64 = 4096;

#[derive(Serialize, Deserialize)]
struct Record {
    v: u32,
    number: u64,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Returns the floor: the higher one of both records, and of the numbers that the caller
/// knows otherwise, from the journal and the running image. Damaged records are reported
/// and repaired by the next [`raise`].
pub fn read(root: &Root, known: &[u64]) -> u64 {
    let records = [OS_FLOOR, OS_FLOOR_COPY].map(|path| record(root, path));
    let kept = records.into_iter().flatten().map(|r| r.number);
    kept.chain(known.iter().copied()).max().unwrap_or(0)
}

fn record(root: &Root, path: &str) -> Option<Record> {
    let path = root.path(path);
    if !path.exists() {
        return None;
    }
    let read = file::read(&path, MAX_BYTES);
    let record = read.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
    record
        .inspect_err(|error| log::warn(format_args!("{}: {error:#}", path.display())))
        .ok()
}

/// Raises the floor to the number of a committed image. A lower number changes nothing.
///
/// # Errors
/// A record cannot be written.
pub fn raise(root: &Root, number: u64) -> Result<()> {
    let number = read(root, &[number]);
    file::create_directory(&root.path(OS_DIRECTORY), 0o755)?;
    for path in [OS_FLOOR, OS_FLOOR_COPY] {
        let before = record(root, path);
        if before.as_ref().is_some_and(|r| r.number == number) {
            continue;
        }
        let rest = before.map(|r| r.rest).unwrap_or_default();
        let text = serde_json::to_vec(&Record { v: 1, number, rest })?;
        file::write(&root.path(path), &text, 0o644)?;
    }
    Ok(())
}

/// Refuses a number below the floor.
///
/// # Errors
/// The number is lower.
pub fn check(floor: u64, number: u64) -> Result<()> {
    if number < floor {
        bail!(
            "release number {number} is lower than {floor}, which was committed: push the \
             version again, with a new number"
        );
    }
    Ok(())
}
