//! File with the samples of the last days: records of a fixed size in a ring, each with a
//! checksum, written in place.
//!
//! The file has its full size from the start, so that a full disk stops no sample, and it is
//! not synced: a power loss costs the last samples and damages none of the others.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::sample::Sample;

/// Number of samples: seven days of five minutes.
pub(super) const SLOTS: u64 = 7 * 24 * 12;
/// Size of a record, in bytes.
const RECORD_BYTES: usize = 64;
/// Size of the file, in bytes: the records, and two copies of the mark.
pub(super) const FILE_BYTES: u64 = (SLOTS + 2) * RECORD_BYTES as u64;
/// First bytes of each record, with the version of the format.
const MAGIC: [u8; 4] = *b"ES1\n";

/// Ring of samples. The number of a sample rises by one with each.
pub(super) struct Ring {
    file: File,
    /// Number of the next sample.
    next: u64,
    /// Number of the first sample that was not sent.
    unsent: u64,
    /// Copy of the mark that is written next.
    copy: u64,
}

impl Ring {
    /// Opens the ring, and creates one in place of a file that is none.
    ///
    /// # Errors
    /// The file cannot be opened, created or enlarged, or is no regular file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let context = || format!("opening {}", path.display());
        // A FIFO must not block.
        const O_NONBLOCK: i32 = 0o4000;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(0o600).custom_flags(O_NONBLOCK).open(path);
        let file = file.with_context(context)?;
        let metadata = file.metadata().with_context(context)?;
        ensure!(metadata.is_file(), "{} is no regular file", path.display());
        if metadata.len() != FILE_BYTES {
            file.set_len(0).with_context(context)?;
            let zeros = vec![0; FILE_BYTES as usize];
            file.write_all_at(&zeros, 0).with_context(context)?;
        }
        let mut ring = Self {
            file,
            next: 0,
            unsent: 0,
            copy: 0,
        };
        for slot in 0..SLOTS {
            if let Some((number, _)) = ring.record(slot) {
                ring.next = ring.next.max(number + 1);
            }
        }
        let marks = [SLOTS, SLOTS + 1].map(|slot| ring.payload(slot));
        let marks = marks.iter().flatten().map(|(number, _)| *number);
        ring.unsent = marks.max().unwrap_or(0).min(ring.next);
        Ok(ring)
    }

    /// Returns number and content of a slot; `None` if it is empty or damaged.
    fn payload(&self, slot: u64) -> Option<(u64, [u8; Sample::BYTES])> {
        let mut record = [0; RECORD_BYTES];
        let place = slot * RECORD_BYTES as u64;
        self.file.read_exact_at(&mut record, place).ok()?;
        let (content, checksum) = record.split_at(RECORD_BYTES - 4);
        let is_valid = content.starts_with(&MAGIC) && checksum == checksum_of(content);
        let number = u64::from_le_bytes(content[4..12].try_into().ok()?);
        let payload = content[12..].try_into().ok()?;
        is_valid.then_some((number, payload))
    }

    fn write(&self, slot: u64, number: u64, payload: &[u8; Sample::BYTES]) -> io::Result<()> {
        let mut record = Vec::with_capacity(RECORD_BYTES);
        record.extend(MAGIC);
        record.extend(number.to_le_bytes());
        record.extend(payload);
        record.extend(checksum_of(&record));
        let place = slot * RECORD_BYTES as u64;
        self.file.write_all_at(&record, place)
    }

    /// Returns number and sample of a slot.
    fn record(&self, slot: u64) -> Option<(u64, Sample)> {
        let (number, payload) = self.payload(slot)?;
        // A number that belongs into another slot was not written here.
        (number % SLOTS == slot && number < u64::MAX / 2)
            .then(|| (number, Sample::from_bytes(&payload)))
    }

    /// Appends a sample in place of the oldest one.
    pub(super) fn push(&mut self, sample: &Sample) -> io::Result<()> {
        self.write(self.next % SLOTS, self.next, &sample.to_bytes())?;
        self.next += 1;
        Ok(())
    }

    /// Returns the number of samples that were not sent.
    pub(super) fn unsent_count(&self) -> u64 {
        (self.next - self.unsent).min(SLOTS)
    }

    /// Returns at most `limit` samples that were not sent with their numbers, the oldest
    /// first. Samples that were overwritten or damaged are skipped.
    pub(super) fn unsent(&self, limit: usize) -> Vec<(u64, Sample)> {
        let first = self.unsent.max(self.next.saturating_sub(SLOTS));
        let records = (first..self.next).filter_map(|number| self.sample(number));
        records.take(limit).collect()
    }

    /// Returns number and sample of the sample with this number, if it is whole.
    fn sample(&self, number: u64) -> Option<(u64, Sample)> {
        let record = self.record(number % SLOTS);
        record.filter(|(found, _)| *found == number)
    }

    /// Returns the newest sample of a boot that is in the ring.
    pub(super) fn newest_of(&self, boot: u32) -> Option<Sample> {
        let first = self.next.saturating_sub(SLOTS);
        let mut samples = (first..self.next)
            .rev()
            .filter_map(|number| self.sample(number));
        let newest = samples.find(|(_, sample)| sample.boot == boot);
        newest.map(|(_, sample)| sample)
    }

    /// Records that the samples below this number were sent. Of the two copies of the mark,
    /// one is always whole.
    pub(super) fn mark(&mut self, number: u64) -> io::Result<()> {
        self.unsent = number;
        self.copy = 1 - self.copy;
        self.write(SLOTS + self.copy, number, &[0; Sample::BYTES])
    }
}

/// Returns the CRC-32 of `content` (ISO-HDLC).
fn checksum_of(content: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for byte in content {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc >>= 1;
            if carry == 1 {
                crc ^= 0xedb8_8320;
            }
        }
    }
    (!crc).to_le_bytes()
}
