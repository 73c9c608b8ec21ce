//! Verification of the chain: every byte of the ledger up to its head.

use std::io;
use std::path::Path;

use anyhow::Result;

use super::record::{Expired, Head, MAX_LINE_BYTES, Record};
use super::segments::{self, SEGMENT_BYTES};

/// Maximum number of findings that are kept; one edit causes several.
const MAX_FINDINGS: usize = 20;
/// Attempts to read segments while others expire.
const ATTEMPTS: usize = 3;

/// Result of a verification.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Last whole record; `None` if there is none.
    pub(super) head: Option<Head>,
    /// Counter of the oldest record.
    pub(super) first: u64,
    /// Bytes of a torn record at the end, which a power loss explains.
    pub(super) torn: usize,
    /// Deviations that no power loss explains.
    pub(super) findings: Vec<String>,
}

/// Verifies the ledger in `directory`, and that it contains the record `expected`.
pub(super) fn verify(directory: &Path, expected: Option<&Head>) -> Result<Report> {
    for _ in 1..ATTEMPTS {
        match Walk::over(directory, expected) {
            Err(error) if is_absent(&error) => {}
            result => return result,
        }
    }
    Walk::over(directory, expected)
}

fn is_absent(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|e| e.kind() == io::ErrorKind::NotFound)
}

/// State of a verification that reads the segments in order.
struct Walk<'a> {
    report: Report,
    /// Record that the next one has to follow; `None` after a finding.
    before: Option<Head>,
    expected: Option<&'a Head>,
    is_expected_found: bool,
    /// Position before the first record, which an expired segment has to explain.
    start: Option<(u64, Head)>,
    expired: Vec<Expired>,
}

impl<'a> Walk<'a> {
    fn over(directory: &Path, expected: Option<&'a Head>) -> Result<Report> {
        let mut walk = Walk {
            report: Report::default(),
            before: None,
            expected,
            is_expected_found: false,
            start: None,
            expired: Vec::new(),
        };
        let numbers = segments::list(directory)?;
        for (at, number) in numbers.iter().enumerate() {
            if at > 0 && numbers[at - 1] + 1 != *number {
                walk.find(format!("segments before {number} are missing"));
            }
            let bytes = segments::read(directory, *number)?;
            walk.segment(*number, &bytes, at + 1 == numbers.len());
        }
        walk.require_start();
        walk.require_expected();
        Ok(walk.report)
    }

    fn find(&mut self, finding: String) {
        if self.report.findings.len() < MAX_FINDINGS {
            self.report.findings.push(finding);
        }
    }

    fn segment(&mut self, number: u64, bytes: &[u8], is_last: bool) {
        if bytes.len() != SEGMENT_BYTES {
            self.find(format!("segment {number} has not {SEGMENT_BYTES} bytes"));
        }
        let used = segments::used(bytes);
        let mut offset = 0;
        while let Some(feed) = bytes[offset..used].iter().position(|b| *b == b'\n') {
            let line = &bytes[offset..offset + feed];
            match Record::decode(line) {
                Some((record, head)) => self.record(number, offset == 0, record, head),
                // A torn record has no valid one behind it.
                None if is_last && is_torn(&bytes[offset..]) => break,
                None => {
                    self.find(format!("segment {number}, byte {offset}: not a record"));
                    self.before = None;
                }
            }
            offset += feed + 1;
        }
        let rest = &bytes[offset..];
        match segments::used(rest) {
            0 if offset > 0 => {}
            torn if is_last && offset > 0 && is_torn(rest) => self.report.torn = torn,
            _ => self.find(format!("segment {number}, byte {offset}: not a record")),
        }
    }

    fn record(&mut self, number: u64, is_first: bool, record: Record, head: Head) {
        let n = record.n;
        match &self.before {
            Some(before)
                if before.hash != record.prev || before.counter.checked_add(1) != Some(n) =>
            {
                let after = before.counter;
                self.find(format!("record {n} does not follow record {after}"));
            }
            None if self.start.is_none() => {
                self.report.first = n;
                let before = Head {
                    counter: n.saturating_sub(1),
                    hash: record.prev,
                };
                self.start = Some((number, before));
            }
            _ => {}
        }
        match record.entry.segment {
            Some(segment) if is_first && segment.number == number => {
                if !segment.damage.is_empty() {
                    self.find(format!("record {n}: {}", segment.damage));
                }
                self.expired.extend(segment.expired);
            }
            None if !is_first => {}
            _ => self.find(format!("record {n} is not in its segment")),
        }
        if let Some(expected) = self.expected.filter(|e| e.counter == n) {
            self.is_expected_found = expected.hash == head.hash;
            if !self.is_expected_found {
                self.find(format!("record {n} is not the reported one"));
            }
        }
        self.before = Some(head.clone());
        self.report.head = Some(head);
    }

    /// Requires that the first record is the first of all, or that the segment before it
    /// is noted as expired with exactly its last record.
    fn require_start(&mut self) {
        let Some((number, before)) = self.start.take() else {
            return;
        };
        let noted = self.expired.iter().find(|e| e.number + 1 == number);
        let explained = match noted {
            Some(expired) => expired.last.as_ref() == Some(&before),
            None => number == 1 && before == Head::start(),
        };
        if !explained {
            self.find(format!("what was before segment {number} is missing"));
        }
    }

    fn require_expected(&mut self) {
        let Some(expected) = self.expected.filter(|_| !self.is_expected_found) else {
            return;
        };
        let expired = self
            .expired
            .iter()
            .any(|e| e.last.as_ref() == Some(expected));
        if expired || *expected == Head::start() {
            return;
        }
        let n = expected.counter;
        let finding = match &self.report.head {
            Some(_) if n < self.report.first => {
                format!("record {n} has expired: it cannot be compared")
            }
            Some(head) if n <= head.counter => format!("record {n} is not the reported one"),
            _ => format!("the ledger ends before the reported record {n}"),
        };
        self.find(finding);
    }
}

/// Returns whether bytes at the end of the last segment may be one torn record: short
/// enough, and without a whole record.
fn is_torn(rest: &[u8]) -> bool {
    let length = segments::used(rest);
    let is_whole = |line: &[u8]| {
        let line = line.strip_suffix(b"\n");
        line.is_some_and(|line| Record::decode(line).is_some())
    };
    length <= MAX_LINE_BYTES
        && !rest[..length]
            .split_inclusive(|b| *b == b'\n')
            .any(is_whole)
}
