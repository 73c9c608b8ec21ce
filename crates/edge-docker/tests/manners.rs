//! Command line of the executable, and refusals that need no engine.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
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

/// docker's client would name the engine's socket, and a group that does not exist.
#[test]
fn without_sudo_it_says_what_to_type() {
    // Another user may not reach the build directory.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("edge-docker");
    fs::copy(env!("CARGO_BIN_EXE_edge-docker"), &program).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--reuid", "61000", "--regid", "61000", "--clear-groups"]);
        command.arg(&program).args(args).output().unwrap()
    };
    for (args, typed) in [
        (&["ps"][..], "type sudo edge-docker ps\n"),
        (
            &["logs", "-f", "hello"],
            "type sudo edge-docker logs -f hello\n",
        ),
        (
            &["run", "-e", "A=two words"],
            "type sudo edge-docker run -e …\n",
        ),
        (
            &["ledger", "verify"],
            "type sudo edge-docker ledger verify\n",
        ),
    ] {
        let output = run(args);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(77), "{message}");
        assert!(
            message.ends_with(typed) && message.lines().count() == 1,
            "{message}"
        );
    }
    for args in [
        &["--help"][..],
        &["help"],
        &["run", "--help"],
        &["--version"],
    ] {
        assert!(run(args).status.success(), "{args:?}");
    }
}
