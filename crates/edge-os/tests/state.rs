//! State files and variables: absent, truncated, hostile, oversized, of a newer version.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use edge_common::Root;
use edge_os::backend::{Backend, Efivars, Tegra, Variable};
use edge_os::floor;
use edge_os::journal::{Journal, Phase, Recorded};
use edge_os::reason::{Cause, MAX_LINES};
use edge_os::slot::Slot;
use edge_os::variables::{ATTEMPTS, Stage, Trial, Variables};

fn root() -> (tempfile::TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::at(directory.path());
    fs::create_dir_all(root.path("/data/os")).unwrap();
    fs::create_dir_all(root.path("/sys/firmware/efi/efivars")).unwrap();
    (directory, root)
}

fn variable(root: &Root, name: &str) -> std::path::PathBuf {
    let vendor = "781e084c-a330-417c-b678-38e696380cb9";
    root.path(format!("/sys/firmware/efi/efivars/{name}-{vendor}"))
}

#[test]
fn a_damaged_journal_is_not_an_absent_one() {
    let (_directory, root) = root();
    assert_eq!(Recorded::load(&root), Recorded::Absent);
    let path = root.path("/data/os/state.json");
    let deep = "[".repeat(20_000);
    let large = format!(r#"{{"v":1,"phase":"idle","x":"{}"}}"#, "x".repeat(70_000));
    for text in [
        "",
        "{",
        "null",
        r#"{"v":1}"#,
        r#"{"v":2,"phase":"idle"}"#,
        &deep,
        &large,
    ] {
        fs::write(&path, text).unwrap();
        let read = Recorded::load(&root);
        assert!(matches!(read, Recorded::Damaged(_)), "{:.60}", text);
        // A new update overwrites it.
        read.journal().save(&root, Phase::Idle).unwrap();
        assert!(matches!(Recorded::load(&root), Recorded::Known(_)));
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(Recorded::load(&root), Recorded::Damaged(_)));
}

#[test]
fn fields_of_a_newer_version_are_kept() {
    let (_directory, root) = root();
    let text = r#"{"v":1,"phase":"armed","later":[1],"update":{"target":"B","release":
        {"digest":"d","number":2,"version":"2"},"newer":{"x":1}}}"#;
    fs::write(root.path("/data/os/state.json"), text).unwrap();
    let mut journal: Journal = Recorded::load(&root).journal();
    journal.save(&root, Phase::Trial).unwrap();
    let text = fs::read_to_string(root.path("/data/os/state.json")).unwrap();
    for kept in [r#""later":[1]"#, r#""newer":{"x":1}"#, r#""phase":"trial""#] {
        assert!(text.contains(kept), "{text}");
    }
}

#[test]
fn the_journal_of_the_longest_reason_can_be_read() {
    let (_directory, root) = root();
    let lines = vec!["\u{1b}\u{7}é\n".repeat(5000); 3 * MAX_LINES];
    let cause = Cause::health(&"c".repeat(5000), &"d".repeat(5000), &lines);
    let text = serde_json::to_string(&cause).unwrap();
    assert!(text.len() < 16 * 1024 && !text.contains("\\u001b"));
    let Cause::Health { lines, .. } = cause else {
        panic!()
    };
    assert_eq!(lines.len(), MAX_LINES);
    let mut journal = Journal::default();
    journal
        .rest
        .insert("back".into(), serde_json::from_str(&text).unwrap());
    journal.save(&root, Phase::Back).unwrap();
}

#[test]
fn the_floor_is_the_higher_record_and_never_falls() {
    let (_directory, root) = root();
    assert_eq!(floor::read(&root, &[]), 0);
    floor::raise(&root, 5).unwrap();
    floor::raise(&root, 3).unwrap();
    assert_eq!(floor::read(&root, &[]), 5);
    assert_eq!(floor::read(&root, &[2, 7]), 7);
    assert!(
        floor::check(5, 4)
            .unwrap_err()
            .to_string()
            .contains("lower than 5")
    );
    floor::check(5, 5).unwrap();
    for file in ["/data/os/floor.json", "/data/os/floor-copy.json"] {
        for text in [
            "",
            "{}",
            "-1",
            r#"{"v":1,"number":-1}"#,
            r#"{"v":1,"number":1}"#,
        ] {
            fs::write(root.path(file), text).unwrap();
            assert_eq!(floor::read(&root, &[]), 5, "{file} {text}");
            floor::raise(&root, 0).unwrap();
        }
        fs::remove_file(root.path(file)).unwrap();
        floor::raise(&root, 0).unwrap();
        let text = fs::read_to_string(root.path(file)).unwrap();
        assert!(text.contains(r#""number":5"#), "{text}");
    }
}

#[test]
fn variables_are_files_with_attributes() {
    let (_directory, root) = root();
    let efivars = Efivars::new(&root);
    assert_eq!(efivars.get(Variable::FwNext).unwrap(), None);
    efivars.set(Variable::FwNext, 1).unwrap();
    let path = variable(&root, "BootChainFwNext");
    assert_eq!(fs::read(&path).unwrap(), [7, 0, 0, 0, 1, 0, 0, 0]);
    // Attributes of an existing variable stay: the firmware refuses others.
    let status = variable(&root, "RootfsStatusSlotB");
    fs::write(&status, [3, 0, 0, 0, 0xff, 0, 0, 0]).unwrap();
    efivars.set(Variable::Status(Slot::B), 0).unwrap();
    assert_eq!(fs::read(&status).unwrap(), [3, 0, 0, 0, 0, 0, 0, 0]);
    efivars.delete(Variable::FwNext).unwrap();
    efivars.delete(Variable::FwNext).unwrap();
    assert!(!path.exists());
}

#[test]
fn odd_variables_are_errors_or_absent() {
    let (_directory, root) = root();
    let tegra = Tegra::new(&root);
    let path = variable(&root, "BootChainFwNext");
    fs::write(&path, "").unwrap();
    assert_eq!(tegra.number(Variable::FwNext).unwrap(), None);
    for bytes in [
        &[7][..],
        &[7, 0, 0],
        &[7, 0, 0, 0],
        &[7, 0, 0, 0, 1],
        &[7; 5000],
    ] {
        fs::write(&path, bytes).unwrap();
        tegra.number(Variable::FwNext).unwrap_err();
        Variables::read(&tegra).unwrap_err();
    }
    // A status that is no number lets no slot look bootable.
    fs::remove_file(&path).unwrap();
    fs::write(variable(&root, "RootfsStatusSlotB"), [7, 0, 0, 0, 0]).unwrap();
    let read = Variables::read(&tegra).unwrap();
    assert!(read.unbootable(Slot::B) && !read.unbootable(Slot::A));
    // Not mounted is not "no variables".
    fs::remove_dir_all(root.path("/sys/firmware/efi/efivars")).unwrap();
    tegra.get(Variable::FwNext).unwrap_err();
    tegra.delete(Variable::FwNext).unwrap_err();
    tegra.set(Variable::FwNext, 1).unwrap_err();
}

#[test]
fn the_counter_is_set_by_nvidias_program() {
    let (_directory, root) = root();
    let tegra = Tegra::new(&root);
    tegra.reset_counter().unwrap_err();
    fs::create_dir_all(root.path("/usr/sbin")).unwrap();
    let program = root.path("/usr/sbin/nvbootctrl");
    for (script, good) in [
        ("[ \"$*\" = verify ]", true),
        ("echo broken >&2; exit 1", false),
    ] {
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let result = tegra.reset_counter();
        assert_eq!(result.is_ok(), good);
        if let Err(error) = result {
            assert!(error.to_string().contains("broken"), "{error}");
        }
    }
}

#[test]
fn a_trial_fits_into_a_number() {
    for slot in Slot::ALL {
        for stage in Stage::ALL {
            for left in 0..=ATTEMPTS {
                let trial = Trial { slot, stage, left };
                assert_eq!(Trial::decode(trial.encode()), Some(trial));
            }
        }
    }
    for number in [
        0,
        u32::MAX,
        0x0200_0003,
        0x0102_0003,
        0x0100_0703,
        0x0100_0004,
    ] {
        assert_eq!(Trial::decode(number), None, "{number:#x}");
    }
}

/// efivarfs sets the flag on variables that the kernel does not know. Needs root, and a
/// file system with flags, such as ext4.
#[test]
fn protected_variables_are_written_and_deleted() {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let (_directory, root) = root();
    let efivars = Efivars::new(&root);
    let protect = || {
        let file = fs::File::open(variable(&root, "BootChainFwNext")).unwrap();
        let flags = ioctl_getflags(&file).unwrap();
        ioctl_setflags(&file, flags | IFlags::IMMUTABLE).unwrap();
    };
    efivars.set(Variable::FwNext, 0).unwrap();
    protect();
    efivars.set(Variable::FwNext, 1).unwrap();
    protect();
    efivars.delete(Variable::FwNext).unwrap();
    assert_eq!(efivars.get(Variable::FwNext).unwrap(), None);
}
