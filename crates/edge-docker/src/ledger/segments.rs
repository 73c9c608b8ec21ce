//! Files of the ledger: segments of 1 MiB that are filled with zeros when they are
//! created, so that an append needs no space and no change of the file's metadata.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_common::file;

use super::record::{Expired, Head, MAX_LINE_BYTES, Record, Segment, sha256};

/// Size of a segment in bytes.
pub(super) const SEGMENT_BYTES: usize = 1 << 20;
/// Number of segments that are kept. With the one that is being created the ledger
/// takes 64 MiB at most.
pub(super) const MAX_SEGMENTS: u64 = 63;
/// End of the names of segments.
const EXTENSION: &str = ".ledger";

/// Returns the path of segment `number`.
pub(super) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:08}{EXTENSION}"))
}

/// Returns the numbers of all segments, the oldest first.
pub(super) fn list(directory: &Path) -> Result<Vec<u64>> {
    let entries = fs::read_dir(directory);
    let entries = entries.with_context(|| format!("reading {}", directory.display()))?;
    let mut numbers = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("reading {}", directory.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.strip_suffix(EXTENSION).and_then(|n| n.parse().ok());
        // Another spelling of a number, such as `1.ledger`, is no segment.
        if let Some(number) = number.filter(|n| path(directory, *n).ends_with(&name)) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads a segment, at most one byte more than a segment has.
pub(super) fn read(directory: &Path, number: u64) -> Result<Vec<u8>> {
    let path = path(directory, number);
    let context = || format!("reading {}", path.display());
    let mut bytes = Vec::with_capacity(SEGMENT_BYTES + 1);
    let file = open(&path).with_context(context)?;
    file.take(SEGMENT_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(context)?;
    Ok(bytes)
}

fn open(path: &Path) -> std::io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    File::options().read(true).custom_flags(flags).open(path)
}

/// End of the records in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// Offset behind the last whole record.
    pub(super) offset: usize,
    /// Last whole record.
    pub(super) last: Option<Head>,
    /// Bytes of a torn record behind it.
    pub(super) torn: usize,
    /// Whether the end is more than one torn record, so that nothing is appended.
    pub(super) damaged: bool,
}

/// Returns the number of bytes before the zeros at the end.
pub(super) fn used(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut rest = bytes;
    // In blocks, because most of a segment is zeros.
    while let Some(before) = rest.strip_suffix(&ZEROS) {
        rest = before;
    }
    rest.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1)
}

/// Finds the last whole record in the bytes of a segment. Only that record is verified:
/// an append must not take longer the more the ledger holds.
pub(super) fn tail(bytes: &[u8]) -> Tail {
    let end = used(bytes);
    let mut until = end;
    while let Some(feed) = bytes[..until].iter().rposition(|b| *b == b'\n') {
        let start = bytes[..feed].iter().rposition(|b| *b == b'\n');
        let start = start.map_or(0, |at| at + 1);
        if let Some((_, head)) = Record::decode(&bytes[start..feed]) {
            let torn = end - (feed + 1);
            return Tail {
                offset: feed + 1,
                last: Some(head),
                torn,
                damaged: torn > MAX_LINE_BYTES || bytes.len() != SEGMENT_BYTES,
            };
        }
        until = feed;
    }
    Tail {
        offset: 0,
        last: None,
        torn: end,
        damaged: true,
    }
}

/// Segment to which records are appended.
pub(super) struct Writer {
    directory: PathBuf,
    number: u64,
    file: File,
    offset: usize,
    pub(super) head: Head,
    /// Bytes of a torn record that [`Writer::open`] removed.
    pub(super) cut: usize,
}

impl Writer {
    /// Opens the newest segment, and cuts off a torn record at its end. Begins a new
    /// segment if there is none, or if the end of the newest one is damaged.
    pub(super) fn open(directory: &Path) -> Result<Self> {
        file::remove_leftovers(directory)?;
        let numbers = list(directory)?;
        let Some(number) = numbers.last().copied() else {
            return Self::create(directory, 1, &Head::start(), String::new());
        };
        remove_expired(directory, number, &numbers)?;
        let bytes = read(directory, number)?;
        let tail = tail(&bytes);
        let head = tail.last.clone().unwrap_or_else(Head::start);
        if tail.damaged {
            let damage = format!("the end of segment {number} is damaged");
            return Self::create(directory, number + 1, &head, damage);
        }
        let file = open_for_writing(&path(directory, number))?;
        if tail.torn > 0 {
            file.write_all_at(&vec![0; tail.torn], tail.offset as u64)?;
            file.sync_data()?;
        }
        Ok(Self {
            directory: directory.into(),
            number,
            file,
            offset: tail.offset,
            head,
            cut: tail.torn,
        })
    }

    /// Appends a record durably. Begins a new segment if the record does not fit.
    pub(super) fn append(&mut self, mut entry: super::record::Entry) -> Result<Record> {
        entry.cut = std::mem::take(&mut self.cut) as u64;
        let mut record = Record::after(&self.head, entry);
        let (mut line, mut head) = record.encode()?;
        if self.offset + line.len() > SEGMENT_BYTES {
            *self = Self::create(&self.directory, self.number + 1, &self.head, String::new())?;
            record = Record::after(&self.head, record.entry);
            (line, head) = record.encode()?;
        }
        self.file.write_all_at(&line, self.offset as u64)?;
        self.file.sync_data()?;
        self.offset += line.len();
        self.head = head;
        Ok(record)
    }

    /// Creates a segment with its first record, whole or not at all, and removes the
    /// segments that are too many, whose hashes that record keeps.
    pub(super) fn create(
        directory: &Path,
        number: u64,
        before: &Head,
        damage: String,
    ) -> Result<Self> {
        let numbers = list(directory)?;
        let mut expired = Vec::new();
        for old in numbers.iter().filter(|n| *n + MAX_SEGMENTS <= number) {
            let bytes = read(directory, *old)?;
            expired.push(Expired {
                number: *old,
                last: tail(&bytes).last,
                sha256: sha256(&bytes),
            });
        }
        let entry = super::record::Entry {
            segment: Some(Segment {
                number,
                expired,
                damage,
            }),
            ..super::now()
        };
        let (line, head) = Record::after(before, entry).encode()?;
        let mut content = vec![0; SEGMENT_BYTES];
        content[..line.len()].copy_from_slice(&line);
        let path = path(directory, number);
        file::write(&path, &content, 0o600)?;
        remove_expired(directory, number, &numbers)?;
        Ok(Self {
            directory: directory.into(),
            number,
            file: open_for_writing(&path)?,
            offset: line.len(),
            head,
            cut: 0,
        })
    }
}

/// Removes segments that the first record of segment `newest` names as expired; a power
/// loss may have left them.
fn remove_expired(directory: &Path, newest: u64, numbers: &[u64]) -> Result<()> {
    for old in numbers.iter().filter(|n| *n + MAX_SEGMENTS <= newest) {
        file::remove(&path(directory, *old))?;
    }
    Ok(())
}

fn open_for_writing(path: &Path) -> Result<File> {
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    File::options()
        .write(true)
        .custom_flags(flags)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))
}
