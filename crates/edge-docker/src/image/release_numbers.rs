//! Highest accepted release number of each app: a lower one is refused, so that an old
//! and vulnerable version, which was signed once, does not return unnoticed.
//!
//! `--allow-downgrade` does not lower the highest number, because every version in
//! between would become acceptable. It adds the single older number to a list, so that
//! this version can start again without the option, also after a reboot. A newer version
//! clears the list.

use std::fs;
use std::io::ErrorKind;

use anyhow::{Context, Result};
use edge_common::{Root, file, lock, log};
use serde::{Deserialize, Serialize};

use edge_docker_policy::refusal::refuse;

/// Directory of the records, one file named after each app, accessible to root only.
const DIRECTORY: &str = "/data/config/edge-docker/serials";
/// Size limit of the record of an app, in bytes.
const MAX_RECORD_BYTES: u64 = 4096;
/// Maximum number of older numbers in a record. A longer list could exceed the size limit
/// of the record, and the app could not be started any more.
const MAX_ALLOWED: usize = 16;

/// Accepted release numbers of one app, in the JSON form of its file.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// Highest release number that was accepted on this device.
    highest: u64,
    /// Lower release numbers that `--allow-downgrade` accepted, in the order of
    /// acceptance.
    #[serde(default)]
    allowed: Vec<u64>,
}

impl Record {
    fn accepts(&self, number: u64) -> bool {
        number >= self.highest || self.allowed.contains(&number)
    }

    /// Returns the record with `number` added: as the highest number, which clears the
    /// list, or as an older one.
    fn with(mut self, number: u64) -> Self {
        if number > self.highest {
            self.highest = number;
            self.allowed.clear();
        } else if !self.accepts(number) {
            self.allowed.push(number);
            let excess = self.allowed.len().saturating_sub(MAX_ALLOWED);
            self.allowed.drain(..excess);
        }
        self
    }
}

/// Refuses a release number below the highest accepted one, unless the record or `allow`
/// (`--allow-downgrade`) permits it. Records nothing.
pub(super) fn check(root: &Root, app: &str, number: u64, allow: bool) -> Result<()> {
    if allow {
        return Ok(());
    }
    // A damaged record does not count as absent: otherwise damaging a file on /data would
    // permit an old version.
    let record = read(root, app).map_err(|error| {
        refuse(format_args!(
            "{app} is refused: the record of its release numbers is damaged ({error:#}), so an \
             old version could be accepted; --allow-downgrade accepts this one and replaces the \
             record"
        ))
    })?;
    match record {
        Some(record) if !record.accepts(number) => Err(refuse(format_args!(
            "release number {number} of {app} is refused: this device has accepted release \
             number {}; pass --allow-downgrade to go back",
            record.highest
        ))),
        _ => Ok(()),
    }
}

/// Refuses a release number as [`check`] does, otherwise writes it to the record of the
/// app.
pub(super) fn accept(root: &Root, app: &str, number: u64, allow: bool) -> Result<()> {
    check(root, app, number, allow)?;
    // Every `run` and `create` calls this: the flash is written only if the record
    // changes.
    let is_known = |r: &Option<Record>| r.as_ref().is_some_and(|r| r.clone().with(number) == *r);
    if read(root, app).is_ok_and(|r| is_known(&r)) {
        return Ok(());
    }
    let directory = root.path(DIRECTORY);
    file::create_directory(&directory, 0o700)?;
    let _lock = lock::exclusive(&directory)?;
    // Checked again: another process may have accepted a higher number before the lock
    // was taken.
    check(root, app, number, allow)?;
    let old = read(root, app);
    let is_downgrade = match &old {
        Ok(record) => record.as_ref().is_some_and(|r| !r.accepts(number)),
        Err(_) => true,
    };
    if is_downgrade {
        log::warn(format_args!(
            "{app}: --allow-downgrade accepts release number {number}, older than one that was \
             accepted here"
        ));
    }
    let record = match old {
        Ok(Some(record)) => record.with(number),
        _ => Record::default().with(number),
    };
    let text = serde_json::to_vec(&record).context("encoding a record of release numbers")?;
    file::write(&directory.join(app), &text, 0o600)
}

/// Returns the record of `app`, or `None` if none was written yet.
fn read(root: &Root, app: &str) -> Result<Option<Record>> {
    let path = root.path(DIRECTORY).join(app);
    // `exists` would follow links, and a dangling link would count as an absent record.
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    let text = file::read(&path, MAX_RECORD_BYTES)?;
    let record = serde_json::from_slice(&text).context("parsing the record")?;
    Ok(Some(record))
}

#[cfg(test)]
mod tests {
    use edge_common::contract::exit_code;
    use edge_docker_policy::refusal::Refusal;

    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn code(result: Result<()>) -> u8 {
        match result {
            Ok(()) => 0,
            Err(error) if error.is::<Refusal>() => exit_code::REFUSED,
            Err(error) => panic!("{error:#}"),
        }
    }

    #[test]
    fn a_lower_number_needs_a_permission_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        let accept = |number, allow| code(accept(&root, "hello", number, allow));
        assert_eq!(accept(7, false), 0);
        assert_eq!((accept(7, false), accept(9, false)), (0, 0));
        assert_eq!((accept(8, false), accept(7, false)), (125, 125));
        assert_eq!(code(check(&root, "hello", 7, false)), 125);
        assert_eq!(accept(7, true), 0);
        // Number 7 is accepted without the option now, but neither 8 nor 6.
        assert_eq!(
            (accept(7, false), accept(8, false), accept(6, false)),
            (0, 125, 125)
        );
        assert_eq!((accept(9, false), accept(7, false)), (0, 0));
        // A newer version clears the list of older numbers.
        assert_eq!((accept(10, false), accept(7, false)), (0, 125));
        assert_eq!(code(super::accept(&root, "other", 1, false)), 0);
        let path = root.path(DIRECTORY).join("hello");
        let mode = |p: &std::path::Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn a_damaged_record_refuses_everything_until_it_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        accept(&root, "hello", 7, false).unwrap();
        let path = root.path(DIRECTORY).join("hello");
        let valid = fs::read(&path).unwrap();
        for damaged in [
            &b""[..],
            b"{",
            b"7",
            b"{\"highest\":-1}",
            b"{\"highest\":7,\"lowest\":1}",
            &valid[..valid.len() - 1],
            &[b' '; 5000],
        ] {
            file::write(&path, damaged, 0o600).unwrap();
            let error = accept(&root, "hello", 9, false).unwrap_err();
            assert!(error.is::<Refusal>());
            assert!(error.to_string().contains("is damaged"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), damaged);
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(code(accept(&root, "hello", 9, false)), 125);
        fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink("/nowhere", &path).unwrap();
        assert_eq!(code(accept(&root, "hello", 9, false)), 125);
        accept(&root, "hello", 5, true).unwrap();
        assert_eq!(code(accept(&root, "hello", 4, false)), 125);
    }

    #[test]
    fn concurrent_starts_keep_the_highest() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        std::thread::scope(|scope| {
            for number in 1..=16 {
                let root = &root;
                scope.spawn(move || accept(root, "hello", number, false));
            }
        });
        assert_eq!(read(&root, "hello").unwrap().unwrap().highest, 16);
    }

    #[test]
    fn allowed_numbers_are_limited() {
        let record = Record {
            highest: 100,
            allowed: Vec::new(),
        };
        let record = (1..=40).fold(record, Record::with);
        assert_eq!(record.allowed, (25..=40).collect::<Vec<_>>());
    }
}
