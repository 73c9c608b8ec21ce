//! The executable's manners.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::process::{Command, Output};

fn run(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-vpn"));
    command.args(words).output().unwrap()
}

#[test]
fn help_fits_a_terminal_and_names_the_exit_codes() {
    for words in [&["--help"][..], &["status", "--help"], &["sshd", "--help"]] {
        let output = run(words);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        let widest = text.lines().map(|l| l.chars().count()).max().unwrap_or(0);
        assert!((20..=80).contains(&widest), "{words:?}: {widest} columns");
    }
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    assert!(
        help.contains("Exit codes: 0 ready") && help.contains("12 SSH does not answer"),
        "{help}"
    );
}

#[test]
fn wrong_words_are_2() {
    assert_eq!(run(&["--version"]).status.code(), Some(0));
    for words in [
        &["--bad"][..],
        &["--budget", "0"],
        &["--budget", "9999"],
        &["connect"],
        &["status", "--yaml"],
    ] {
        assert_eq!(run(words).status.code(), Some(2), "{words:?}");
    }
}
