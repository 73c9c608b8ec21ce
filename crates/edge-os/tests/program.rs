//! The executable: help, version, wrong usage, and a machine without the firmware.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use std::process::{Command, Output};

fn edge_os(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-os"));
    command.args(arguments).output().unwrap()
}

#[test]
fn manners() {
    let help = edge_os(&["--help"]);
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(help.status.success() && text.contains("Exit codes:"));
    assert!(text.lines().all(|l| l.chars().count() <= 80));
    assert!(edge_os(&["--version"]).status.success());
    for wrong in [
        &[][..],
        &["x"],
        &["mark"],
        &["mark", "gate"],
        &["check", "--bundle", "x"],
    ] {
        assert_eq!(edge_os(wrong).status.code(), Some(2), "{wrong:?}");
    }
    assert_eq!(edge_os(&["install"]).status.code(), Some(2));
}

#[test]
fn without_slots_nothing_is_claimed() {
    for arguments in [
        &["status"][..],
        &["settle"],
        &["rollback"],
        &["mark", "initrd"],
    ] {
        let output = edge_os(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}
