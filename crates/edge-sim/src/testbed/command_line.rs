//! Checks of a program's command line, the same for every device tool.

use std::path::Path;
use std::process::{Command, Output};

fn output(program: &Path, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap()
}

/// Checks that the help pages fit a terminal of 80 columns, and that `--help` contains
/// all of `texts`.
pub fn check_help(program: &Path, pages: &[&[&str]], texts: &[&str]) {
    for args in pages {
        let output = output(program, args);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        let widest = text.lines().map(|l| l.chars().count()).max().unwrap_or(0);
        assert!((20..=80).contains(&widest), "{args:?}: {widest} columns");
    }
    let help = String::from_utf8(output(program, &["--help"]).stdout).unwrap();
    assert!(texts.iter().all(|text| help.contains(text)), "{help}");
}

/// Checks that `--version` succeeds and that each of `lines` is wrong usage, exit code 2.
pub fn check_wrong_usage(program: &Path, lines: &[&[&str]]) {
    assert_eq!(output(program, &["--version"]).status.code(), Some(0));
    for args in lines {
        assert_eq!(output(program, args).status.code(), Some(2), "{args:?}");
    }
}
