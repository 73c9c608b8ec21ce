//! The executable's manners, and refusals that need no engine.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::process::{Command, Output};

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edge-docker"))
        .args(words)
        .output()
        .unwrap()
}

#[test]
fn help_and_version() {
    for words in [&["--help"][..], &[], &["run", "--help"]] {
        let help = run(words);
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
fn a_mistake_is_told_in_one_line() {
    for (words, code) in [
        (&["run"][..], 125),
        (&["frobnicate"], 125),
        (&["run", "--privileged", "x"], 125),
    ] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.starts_with("edge-docker: ") && said.lines().count() == 1,
            "{said}"
        );
    }
}
