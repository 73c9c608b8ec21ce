use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use edge_common::contract::exit_code;
use edge_common::file;
use edge_docker_policy::refusal::Refusal;
use tempfile::TempDir;

use super::record::{COPIES, DIRECTORY};
use super::*;
use crate::journal::{Journal, Kept, Phase};

const APP: &str = "hello";

fn device() -> (TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::at(directory.path());
    (directory, root)
}

fn code(result: Result<()>) -> u8 {
    match result {
        Ok(()) => 0,
        Err(error) if error.is::<Refusal>() => exit_code::REFUSED,
        Err(error) => panic!("{error:#}"),
    }
}

/// Exit codes of starts with these numbers, none of which changes anything.
fn checks<const N: usize>(root: &Root, numbers: [u64; N]) -> [u8; N] {
    numbers.map(|number| code(check_number(root, APP, number)))
}

#[test]
fn a_lower_number_needs_a_permission_of_its_own() {
    let (_directory, root) = device();
    assert_eq!(checks(&root, [1, 9]), [0, 0]);
    raise(&root, APP, 7, false).unwrap();
    assert_eq!(checks(&root, [6, 7, 9]), [125, 0, 0]);
    raise(&root, APP, 9, false).unwrap();
    raise(&root, APP, 8, false).unwrap();
    assert_eq!(checks(&root, [7, 8, 9]), [125, 125, 0]);
    // Number 7 is accepted without the option now, but neither 8 nor 6.
    raise(&root, APP, 7, true).unwrap();
    assert_eq!(checks(&root, [6, 7, 8, 9]), [125, 0, 125, 0]);
    allow(&root, APP, 6).unwrap();
    allow(&root, APP, 12).unwrap();
    assert_eq!(checks(&root, [6, 7, 8, 9]), [0, 0, 125, 0]);
    // A newer version clears the list of older numbers.
    raise(&root, APP, 10, false).unwrap();
    assert_eq!(checks(&root, [6, 7, 9, 10]), [125, 125, 125, 0]);
    assert_eq!(code(check_number(&root, "other", 1)), 0);
    for directory in [DIRECTORY, COPIES] {
        let path = root.path(directory).join(APP);
        let mode = |p: &std::path::Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }
}

#[test]
fn a_damaged_record_is_repaired_from_its_copy() {
    let (_directory, root) = device();
    raise(&root, APP, 7, false).unwrap();
    let path = root.path(DIRECTORY).join(APP);
    let valid = fs::read(&path).unwrap();
    let lower = String::from_utf8_lossy(&valid).replace('7', "2");
    let older = br#"{"v":1,"highest":7,"allowed":[1,2,3]}"#;
    for directory in [DIRECTORY, COPIES] {
        let path = root.path(directory).join(APP);
        for damaged in [
            &b""[..],
            b"{",
            b"7",
            b"{\"highest\":-1}",
            &valid[..valid.len() - 1],
            &[b' '; 5000],
            lower.as_bytes(),
            older,
        ] {
            file::write(&path, damaged, 0o600).unwrap();
            assert_eq!(checks(&root, [2, 7]), [125, 0], "{damaged:?}");
            assert_eq!(fs::read(&path).unwrap(), valid);
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(checks(&root, [2, 7]), [125, 0]);
        assert_eq!(fs::read(&path).unwrap(), valid);
    }
}

#[test]
fn damage_of_both_refuses_everything_until_they_are_replaced() {
    let (_directory, root) = device();
    raise(&root, APP, 7, false).unwrap();
    let paths = [DIRECTORY, COPIES].map(|d| root.path(d).join(APP));
    for path in &paths {
        file::write(path, b"{", 0o600).unwrap();
    }
    let error = check_number(&root, APP, 9).unwrap_err();
    assert!(error.is::<Refusal>() && error.to_string().contains("is damaged"));
    assert!(raise(&root, APP, 9, false).is_err());
    for path in &paths {
        fs::remove_file(path).unwrap();
        std::os::unix::fs::symlink("/nowhere", path).unwrap();
    }
    assert_eq!(checks(&root, [9]), [125]);
    raise(&root, APP, 5, true).unwrap();
    assert_eq!(checks(&root, [4, 5]), [125, 0]);
}

/// Journal of a deployment of number 9 in the place of 7.
fn journal(phase: Phase) -> Journal {
    let kept = |id: &str, number| Kept {
        number: Some(number),
        ..Kept::new(id)
    };
    let mut journal = Journal::new(APP, APP, "image");
    journal.phase = phase;
    journal.new = Some(kept("new", 9));
    journal.old = Some(kept("old", 7));
    journal
}

#[test]
fn a_removed_record_is_rebuilt_from_the_last_deployment() {
    for (phase, floor) in [
        (Phase::Trial, 7),
        (Phase::Keep, 7),
        (Phase::Deployed, 9),
        (Phase::RolledBack, 7),
    ] {
        let (_directory, root) = device();
        journal(phase).write(&root).unwrap();
        assert_eq!(checks(&root, [floor - 1, floor]), [125, 0], "{phase:?}");
        // Also when a number was edited in both files.
        for directory in [DIRECTORY, COPIES] {
            let record = br#"{"v":1,"highest":3,"allowed":[2]}"#;
            file::write(&root.path(directory).join(APP), record, 0o600).unwrap();
        }
        assert_eq!(checks(&root, [2, floor - 1, floor]), [125, 125, 0]);
    }
}

#[test]
fn fields_of_a_later_version_stay() {
    let (_directory, root) = device();
    let path = root.path(DIRECTORY).join(APP);
    file::create_directory(path.parent().unwrap(), 0o700).unwrap();
    // As an earlier version wrote it, without version and copy.
    file::write(&path, br#"{"highest":7,"later":{"a":1}}"#, 0o600).unwrap();
    assert_eq!(checks(&root, [6, 7]), [125, 0]);
    raise(&root, APP, 8, false).unwrap();
    let record = fs::read_to_string(&path).unwrap();
    assert!(record.contains(r#""later":{"a":1}"#) && record.contains(r#""v":1"#));
    file::write(&path, br#"{"v":2,"highest":7}"#, 0o600).unwrap();
    fs::remove_file(root.path(COPIES).join(APP)).unwrap();
    assert_eq!(checks(&root, [8]), [125]);
}

#[test]
fn concurrent_starts_keep_the_highest() {
    let (_directory, root) = device();
    std::thread::scope(|scope| {
        for number in 1..=16 {
            let root = &root;
            scope.spawn(move || raise(root, APP, number, false).unwrap());
        }
    });
    assert_eq!(checks(&root, [15, 16]), [125, 0]);
}

#[test]
fn allowed_numbers_are_limited() {
    let record = (1..=40).fold(Record::new(100), Record::with_older);
    assert_eq!(record.allowed, (25..=40).collect::<Vec<_>>());
}
