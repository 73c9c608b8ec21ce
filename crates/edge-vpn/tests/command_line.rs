//! Command line of the executable.
#![allow(missing_docs)]

use std::path::Path;

use edge_sim::testbed::{check_help, check_wrong_usage};

const PROGRAM: &str = env!("CARGO_BIN_EXE_edge-vpn");

#[test]
fn help_fits_a_terminal_and_names_the_exit_codes() {
    let pages = [&["--help"][..], &["status", "--help"], &["sshd", "--help"]];
    check_help(
        Path::new(PROGRAM),
        &pages,
        &["Exit codes: 0 ready", "12 SSH does not answer"],
    );
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let lines = [
        &["--bad"][..],
        &["--budget", "0"],
        &["--budget", "9999"],
        &["connect"],
        &["status", "--yaml"],
    ];
    check_wrong_usage(Path::new(PROGRAM), &lines);
}
