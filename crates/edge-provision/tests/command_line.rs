//! Command line of the executable.
#![allow(missing_docs)]

use std::path::Path;

use edge_sim::testbed::{check_help, check_wrong_usage};

const PROGRAM: &str = env!("CARGO_BIN_EXE_edge-provision");

#[test]
fn help_fits_a_terminal_and_names_the_exit_codes() {
    let pages = [&["--help"][..], &["status", "--help"], &["mark", "--help"]];
    check_help(
        Path::new(PROGRAM),
        &pages,
        &["Exit codes: 0 done", "7 the server"],
    );
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let lines = [
        &["--bad"][..],
        &["--budget", "0"],
        &["--spread", "9999"],
        &["--within", "3"],
        &["renew"],
    ];
    check_wrong_usage(Path::new(PROGRAM), &lines);
}
