//! Command line of the executable, and refusals that need no engine.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edge-docker"))
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn help_and_version() {
    for args in [
        &["--help"][..],
        &[],
        &["run", "--help"],
        &["exec", "--help"],
    ] {
        let help = run(args);
        assert!(help.status.success());
        let help = String::from_utf8(help.stdout).unwrap();
        assert!(
            help.contains("Exit codes") && help.lines().all(|l| l.chars().count() <= 80),
            "{help}"
        );
    }
    assert!(run(&["--version"]).status.success());
}

#[test]
fn a_mistake_is_reported_in_one_line() {
    for (args, code) in [
        (&["run"][..], 125),
        (&["frobnicate"], 125),
        (&["run", "--privileged", "x"], 125),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(
            message.starts_with("edge-docker: ") && message.lines().count() == 1,
            "{message}"
        );
    }
}
