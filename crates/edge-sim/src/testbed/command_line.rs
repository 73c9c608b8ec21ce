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

/// Runs a program as an unprivileged user, with a root of its own that is a copy of this
/// machine's. `prepare` is a script of root's, whose working directory is that root.
/// Needs root.
fn unprivileged(program: &Path, prepare: &str, args: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let (mount, program) = (directory.path().display(), program.display());
    let script = format!(
        "set -e; mount -t tmpfs none {mount}; cd {mount}; mkdir upper work root; \
         mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work none root; cd root; \
         {prepare}; cp {program} under-test; \
         exec chroot . setpriv --reuid 61000 --regid 61000 --clear-groups /under-test {args}"
    );
    let mut command = Command::new("/usr/bin/unshare");
    let command = command.args(["--mount", "sh", "-c", &script]);
    command.output().unwrap()
}

/// Checks that a program without the rights that it needs says so, with exit code 77, and
/// returns its output.
pub fn check_needs_root(program: &Path, prepare: &str, args: &str) -> String {
    let output = unprivileged(program, prepare, args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{args}: {message}");
    assert!(message.contains("cannot be read: run as root"), "{message}");
    text(&output.stdout)
}
