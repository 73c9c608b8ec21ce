//! The highest serial of each app that this device accepted: an older version
//! comes back only when the operator says so. Root's own directory.
//!
//! `--allow-downgrade` does not lower the mark. It notes the one serial that it
//! was said for, so that this version starts again without the option, after a
//! reboot too, and no other old one does. A newer version ends the note.

use std::fs::{self, File};
use std::io::ErrorKind;

use anyhow::{Context, Result};
use edge_common::{Root, file, log};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use edge_docker_policy::refusal::refuse;

/// Where they are kept, a file an app.
const DIRECTORY: &str = "/data/config/edge-docker/serials";
/// Largest record that is read, in bytes.
const LARGEST: u64 = 4096;
/// Old serials that are noted; the oldest note goes first.
const MOST: usize = 16;

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    highest: u64,
    #[serde(default)]
    allowed: Vec<u64>,
}

impl Record {
    fn accepts(&self, serial: u64) -> bool {
        serial >= self.highest || self.allowed.contains(&serial)
    }

    fn with(mut self, serial: u64) -> Self {
        if serial > self.highest {
            self.highest = serial;
            self.allowed.clear();
        } else if !self.accepts(serial) {
            self.allowed.push(serial);
            let over = self.allowed.len().saturating_sub(MOST);
            self.allowed.drain(..over);
        }
        self
    }
}

/// May this serial of `app` come in? Notes nothing.
///
/// # Errors
/// It is lower than one that was accepted; the record is damaged.
pub fn judge(root: &Root, app: &str, serial: u64, allow: bool) -> Result<()> {
    if allow {
        return Ok(());
    }
    let record = read(root, app).map_err(|error| {
        refuse(format_args!(
            "{app} is refused: the record of its serials is damaged ({error:#}), so an older \
             version could slip in; --allow-downgrade takes this one and makes the record anew"
        ))
    })?;
    match record {
        Some(record) if !record.accepts(serial) => Err(refuse(format_args!(
            "{app} with serial {serial} is refused: this device has accepted serial {}; \
             --allow-downgrade goes back",
            record.highest
        ))),
        _ => Ok(()),
    }
}

/// May this serial of `app` run? Notes that it was accepted.
///
/// # Errors
/// As [`judge`]; `/data` cannot be written.
pub fn check(root: &Root, app: &str, serial: u64, allow: bool) -> Result<()> {
    judge(root, app, serial, allow)?;
    let same = |r: &Option<Record>| r.as_ref().is_some_and(|r| r.clone().with(serial) == *r);
    if read(root, app).is_ok_and(|r| same(&r)) {
        return Ok(());
    }
    let directory = root.path(DIRECTORY);
    file::create_directory(&directory, 0o700)?;
    let lock = File::open(&directory).with_context(|| format!("opening {DIRECTORY}"))?;
    flock(&lock, FlockOperation::LockExclusive).with_context(|| format!("locking {DIRECTORY}"))?;
    // Somebody else may have accepted a higher one in between.
    judge(root, app, serial, allow)?;
    let old = read(root, app);
    if old
        .as_ref()
        .map_or(true, |r| r.as_ref().is_some_and(|r| !r.accepts(serial)))
    {
        log::warn(format_args!(
            "{app}: --allow-downgrade takes serial {serial}, older than one that was accepted here"
        ));
    }
    let record = match old {
        Ok(Some(record)) => record.with(serial),
        _ => Record::default().with(serial),
    };
    let text = serde_json::to_vec(&record).context("writing a serial")?;
    file::write(&directory.join(app), &text, 0o600)
}

/// The record of `app`; nothing if there is none yet.
fn read(root: &Root, app: &str) -> Result<Option<Record>> {
    let path = root.path(DIRECTORY).join(app);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    let text = file::read(&path, LARGEST)?;
    let record = serde_json::from_slice(&text).context("not a record of serials")?;
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
    fn a_lower_serial_needs_a_word_that_holds_for_it_alone() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        let check = |serial, allow| code(check(&root, "hello", serial, allow));
        assert_eq!(check(7, false), 0);
        assert_eq!((check(7, false), check(9, false)), (0, 0));
        assert_eq!((check(8, false), check(7, false)), (125, 125));
        assert_eq!(code(judge(&root, "hello", 7, false)), 125);
        assert_eq!(check(7, true), 0);
        // It starts again without the word; its neighbour does not.
        assert_eq!(
            (check(7, false), check(8, false), check(6, false)),
            (0, 125, 125)
        );
        assert_eq!((check(9, false), check(7, false)), (0, 0));
        // A newer version ends that.
        assert_eq!((check(10, false), check(7, false)), (0, 125));
        assert_eq!(code(super::check(&root, "other", 1, false)), 0);
        let path = root.path(DIRECTORY).join("hello");
        let mode = |p: &std::path::Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn a_damaged_record_lets_nothing_pass_until_it_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        check(&root, "hello", 7, false).unwrap();
        let path = root.path(DIRECTORY).join("hello");
        let good = fs::read(&path).unwrap();
        for bad in [
            &b""[..],
            b"{",
            b"7",
            b"{\"highest\":-1}",
            b"{\"highest\":7,\"lowest\":1}",
            &good[..good.len() - 1],
            &[b' '; 5000],
        ] {
            file::write(&path, bad, 0o600).unwrap();
            let error = check(&root, "hello", 9, false).unwrap_err();
            assert!(error.is::<Refusal>());
            assert!(error.to_string().contains("is damaged"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), bad);
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(code(check(&root, "hello", 9, false)), 125);
        fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink("/nowhere", &path).unwrap();
        assert_eq!(code(check(&root, "hello", 9, false)), 125);
        check(&root, "hello", 5, true).unwrap();
        assert_eq!(code(check(&root, "hello", 4, false)), 125);
    }

    #[test]
    fn accepted_at_once_the_highest_stays() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        std::thread::scope(|scope| {
            for serial in 1..=16 {
                let root = &root;
                scope.spawn(move || check(root, "hello", serial, false));
            }
        });
        assert_eq!(read(&root, "hello").unwrap().unwrap().highest, 16);
    }

    #[test]
    fn notes_do_not_pile_up() {
        let record = Record {
            highest: 100,
            allowed: Vec::new(),
        };
        let record = (1..=40).fold(record, Record::with);
        assert_eq!(record.allowed, (25..=40).collect::<Vec<_>>());
    }
}
