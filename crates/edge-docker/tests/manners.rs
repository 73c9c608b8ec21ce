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

/// Lines of `tests/corpus/hostile.txt`: words of the message, `|`, the line.
#[test]
fn hostile_lines_are_refused_by_the_rule_that_is_named() {
    let corpus = include_str!("corpus/hostile.txt");
    let lines = corpus
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    let mut count = 0;
    for line in lines {
        let (rule, words) = line.split_once(" | ").unwrap_or_else(|| panic!("{line}"));
        let words: Vec<_> = words.split(' ').collect();
        let output = run(&words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(125), "{line}: {said}");
        assert!(said.contains(rule), "{line}: {said}");
        count += 1;
    }
    assert!(count >= 60, "only {count} hostile lines");
}
