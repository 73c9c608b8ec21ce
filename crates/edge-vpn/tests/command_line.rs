//! Command line of the executable.
#![allow(missing_docs)]

use std::path::Path;

use edge_sim::testbed::{check_help, check_needs_root, check_wrong_usage};

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

/// What an unprivileged user may not read is neither absent nor broken.
#[test]
fn an_unprivileged_user_is_told_to_be_root() {
    let prepare = "mkdir -p data/config etc/edge-ai/container-config; chmod 0700 data/config; \
                   echo '{\"ssh\":\"vpn\"}' >etc/edge-ai/container-config/policy.json; \
                   echo '{\"provider\":\"wireguard\",\"range\":\"10.77.0.0/16\"}' >etc/edge-ai/vpn.json";
    let text = check_needs_root(Path::new(PROGRAM), prepare, "status");
    assert!(!text.contains("absent"), "{text}");
    check_needs_root(Path::new(PROGRAM), prepare, "status --json");
}
