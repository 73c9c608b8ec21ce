//! Edits of the chain that `ledger verify` must find, and torn ends that it must not.

use std::fs;
use std::path::Path;

use super::record::{Entry, Head, Record};
use super::segments::{self, MAX_SEGMENTS, SEGMENT_BYTES, Writer, path};
use super::verify::verify;

/// Reproducible pseudo-random numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

fn entry(n: usize) -> Entry {
    Entry {
        verb: "rm".into(),
        args: vec!["rm".into(), format!("foo-{n}")],
        verdict: "allowed".into(),
        ..super::now()
    }
}

/// Writes three segments with ten records each and returns the head.
fn chain(directory: &Path) -> Head {
    let mut writer = Writer::open(directory).unwrap();
    for number in 1..=3 {
        for n in 0..10 {
            writer.append(entry(n)).unwrap();
        }
        if number < 3 {
            let head = writer.head.clone();
            writer = Writer::create(directory, number + 1, &head, String::new()).unwrap();
        }
    }
    writer.head
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let used = &bytes[..segments::used(bytes)];
    used.split_inclusive(|b| *b == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

fn padded(lines: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = lines.concat();
    bytes.resize(SEGMENT_BYTES, 0);
    bytes
}

/// Returns `bytes` with one edit, cut or swap.
fn edited(bytes: &[u8], random: &mut Random) -> (&'static str, Vec<u8>) {
    let used = segments::used(bytes);
    let mut new = bytes.to_vec();
    let mut lines = lines(bytes);
    let (one, other) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(9) {
        0 => {
            new[random.below(used)] ^= 1 << random.below(8);
            ("a bit", new)
        }
        1 => {
            let at = random.below(used);
            new[at] = new[at].wrapping_add(1 + u8::try_from(random.below(255)).unwrap());
            ("a byte", new)
        }
        2 => {
            new.remove(random.below(used));
            new.push(0);
            ("a byte cut", new)
        }
        3 => {
            new.insert(
                random.below(used),
                b'0' + u8::try_from(random.below(10)).unwrap(),
            );
            new.pop();
            ("a byte inserted", new)
        }
        4 => {
            lines.remove(one);
            ("a record cut", padded(&lines))
        }
        5 if one != other => {
            lines.swap(one, other);
            ("records swapped", padded(&lines))
        }
        6 => {
            lines.insert(other, lines[one].clone());
            ("a record repeated", padded(&lines))
        }
        7 => {
            let from = random.below(used);
            new[from..].fill(0);
            ("the end cut", new)
        }
        _ => {
            // A record of another content with a hash of its own.
            let line = &lines[one][..lines[one].len() - 1];
            let (mut record, _) = Record::decode(line).unwrap();
            record.entry.verb = "ps".into();
            lines[one] = record.encode().unwrap().0;
            ("a record forged", padded(&lines))
        }
    }
}

#[test]
fn ten_thousand_edits_before_a_reported_head_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let head = chain(at);
    let whole = verify(at, Some(&head)).unwrap();
    assert!(whole.findings.is_empty(), "{:?}", whole.findings);
    assert_eq!((whole.first, whole.head.as_ref()), (1, Some(&head)));
    let segments: Vec<_> = (1..=3).map(|n| segments::read(at, n).unwrap()).collect();
    let mut random = Random(0x1ed6_e75e_ed15_900d);
    let mut edits = 0;
    while edits < 10_000 {
        let number = random.below(3);
        let (kind, bytes) = edited(&segments[number], &mut random);
        if bytes == segments[number] {
            continue;
        }
        edits += 1;
        let file = path(at, number as u64 + 1);
        edge_common::file::put(&file, &bytes, 0o600).unwrap();
        let report = verify(at, Some(&head)).unwrap();
        assert!(!report.findings.is_empty(), "segment {number}: {kind}");
        edge_common::file::put(&file, &segments[number], 0o600).unwrap();
    }
}

#[test]
fn absent_exchanged_and_foreign_segments_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let head = chain(at);
    let found = |change: &dyn Fn()| {
        let kept: Vec<_> = (1..=3).map(|n| segments::read(at, n).unwrap()).collect();
        change();
        let findings = verify(at, Some(&head)).unwrap().findings;
        for number in segments::list(at).unwrap() {
            fs::remove_file(path(at, number)).unwrap();
        }
        for (number, bytes) in (1..).zip(&kept) {
            edge_common::file::put(&path(at, number), bytes, 0o600).unwrap();
        }
        !findings.is_empty()
    };
    for number in 1..=3 {
        assert!(found(&|| fs::remove_file(path(at, number)).unwrap()));
    }
    assert!(found(&|| {
        let (one, two) = (
            segments::read(at, 1).unwrap(),
            segments::read(at, 2).unwrap(),
        );
        edge_common::file::put(&path(at, 1), &two, 0o600).unwrap();
        edge_common::file::put(&path(at, 2), &one, 0o600).unwrap();
    }));
    // Bytes behind the last record of a segment that is not the last.
    assert!(found(&|| {
        let mut bytes = segments::read(at, 1).unwrap();
        bytes[SEGMENT_BYTES - 1] = b'x';
        edge_common::file::put(&path(at, 1), &bytes, 0o600).unwrap();
    }));
    // All of it begun again, with as many records.
    assert!(found(&|| {
        for number in 1..=3 {
            fs::remove_file(path(at, number)).unwrap();
        }
        chain(at);
    }));
    assert!(verify(at, Some(&head)).unwrap().findings.is_empty());
}

#[test]
fn a_torn_record_is_cut_off_and_noted() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let mut writer = Writer::open(at).unwrap();
    writer.append(entry(1)).unwrap();
    let before = writer.head.clone();
    let whole = segments::read(at, 1).unwrap();
    writer.append(entry(2)).unwrap();
    let longer = segments::read(at, 1).unwrap();
    let (from, to) = (segments::used(&whole), segments::used(&longer));
    // A power loss stores any of the blocks of a write.
    for cut in [from + 1, from + 70, to - 1] {
        for is_begin_lost in [false, true] {
            let mut torn = whole.clone();
            match is_begin_lost {
                false => torn[from..cut].copy_from_slice(&longer[from..cut]),
                true => torn[cut..to].copy_from_slice(&longer[cut..to]),
            }
            edge_common::file::put(&path(at, 1), &torn, 0o600).unwrap();
            let report = verify(at, Some(&before)).unwrap();
            assert!(report.findings.is_empty(), "{cut}: {:?}", report.findings);
            assert!(report.torn > 0);
            let mut writer = Writer::open(at).unwrap();
            assert_eq!(writer.head, before);
            let record = writer.append(entry(3)).unwrap();
            assert_eq!(record.entry.cut, report.torn as u64);
            let report = verify(at, Some(&writer.head)).unwrap();
            assert!(report.findings.is_empty() && report.torn == 0);
        }
    }
}

#[test]
fn a_damaged_end_begins_another_segment_and_is_a_finding() {
    for damage in [
        |bytes: &mut Vec<u8>| bytes.truncate(SEGMENT_BYTES / 2),
        |bytes: &mut Vec<u8>| bytes[SEGMENT_BYTES - 1] = b'x',
        |bytes: &mut Vec<u8>| bytes.clear(),
        |bytes: &mut Vec<u8>| bytes.fill(b'\n'),
        |bytes: &mut Vec<u8>| bytes.fill(0),
        |bytes: &mut Vec<u8>| bytes.push(0),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        chain(at);
        let mut bytes = segments::read(at, 3).unwrap();
        damage(&mut bytes);
        edge_common::file::put(&path(at, 3), &bytes, 0o600).unwrap();
        let mut writer = Writer::open(at).unwrap();
        writer.append(entry(1)).unwrap();
        assert_eq!(segments::list(at).unwrap(), [1, 2, 3, 4]);
        assert!(!verify(at, None).unwrap().findings.is_empty());
    }
}

#[test]
fn the_oldest_segments_expire_and_leave_their_hash() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let mut writer = Writer::open(at).unwrap();
    let mut first_head = None;
    for number in 2..=MAX_SEGMENTS + 3 {
        writer.append(entry(1)).unwrap();
        first_head.get_or_insert(writer.head.clone());
        let head = writer.head.clone();
        writer = Writer::create(at, number, &head, String::new()).unwrap();
    }
    let numbers = segments::list(at).unwrap();
    assert_eq!((numbers.len() as u64, numbers[0]), (MAX_SEGMENTS, 4));
    let report = verify(at, Some(&writer.head)).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    // The last record of an expired segment can still be compared.
    let report = verify(at, first_head.as_ref()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let other = Head {
        hash: writer.head.hash.clone(),
        ..first_head.unwrap()
    };
    assert!(!verify(at, Some(&other)).unwrap().findings.is_empty());
    // Another segment that is gone is not explained.
    fs::remove_file(path(at, 4)).unwrap();
    assert!(!verify(at, None).unwrap().findings.is_empty());
}

#[test]
fn a_full_segment_is_followed_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let mut writer = Writer::open(at).unwrap();
    let long = Entry {
        rule: "x".repeat(7000),
        ..entry(1)
    };
    for _ in 0..160 {
        writer.append(long.clone()).unwrap();
    }
    assert_eq!(segments::list(at).unwrap(), [1, 2]);
    assert!(verify(at, Some(&writer.head)).unwrap().findings.is_empty());
    assert_eq!(Writer::open(at).unwrap().head, writer.head);
}

#[test]
fn unknown_fields_of_a_later_version_are_kept() {
    let (line, _) = Record::after(&Head::start(), entry(1)).encode().unwrap();
    let text = String::from_utf8(line[65..line.len() - 1].to_vec()).unwrap();
    let text = text.replacen('{', "{\"later\":[1],", 1);
    let line = format!("{} {text}", super::record::sha256(text.as_bytes()));
    let (record, _) = Record::decode(line.as_bytes()).unwrap();
    let (again, _) = record.encode().unwrap();
    assert!(String::from_utf8(again).unwrap().contains("\"later\":[1]"));
}
