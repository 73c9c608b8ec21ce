//! Command line of the executable.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-vpn"));
    command.args(args).output().unwrap()
}

#[test]
fn help_fits_a_terminal_and_names_the_exit_codes() {
    for args in [&["--help"][..], &["status", "--help"], &["sshd", "--help"]] {
        let output = run(args);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        let widest = text.lines().map(|l| l.chars().count()).max().unwrap_or(0);
        assert!((20..=80).contains(&widest), "{args:?}: {widest} columns");
    }
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    assert!(
        help.contains("Exit codes: 0 ready") && help.contains("12 SSH does not answer"),
        "{help}"
    );
}

#[test]
fn wrong_usage_is_exit_code_2() {
    assert_eq!(run(&["--version"]).status.code(), Some(0));
    for args in [
        &["--bad"][..],
        &["--budget", "0"],
        &["--budget", "9999"],
        &["connect"],
        &["status", "--yaml"],
    ] {
        assert_eq!(run(args).status.code(), Some(2), "{args:?}");
    }
}
