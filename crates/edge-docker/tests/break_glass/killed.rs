//! Taking of a ticket, killed at every system call.

use std::ffi::OsString;
use std::fs;

use anyhow::ensure;
use edge_sim::kill_points::{Reach, kill_at_points};

use crate::test_root::TestRoot;
use crate::tickets::{CONFIG, ENGINEER, Engineer, THING, config, ticket};

const EFFECT: &str = "run/edge-ai/break-glass.json";

/// Device with a signed ticket in the file `ticket`, and without an engine.
fn prepare(engineer: &Engineer) -> TestRoot {
    let root = TestRoot::new();
    let write = |path: &str, content: &[u8]| {
        let path = root.path(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write(ENGINEER, &engineer.0.public_key_to_pem().unwrap());
    write(CONFIG, config(THING).as_bytes());
    write("ticket", &engineer.ticket(&ticket(1, "net")));
    write("proc/sys/kernel/random/boot_id", b"boot\n");
    root
}

/// Program and arguments that take the ticket.
fn take(root: &TestRoot) -> Vec<OsString> {
    let mut line = OsString::from("exec");
    for part in root.line(&["ticket"]) {
        line.push(" ");
        line.push(part);
    }
    line.push(" <");
    line.push(root.path("ticket"));
    vec!["/bin/sh".into(), "-c".into(), line]
}

/// Takes the ticket; returns whether it is in effect because of this call.
fn takes(root: &TestRoot) -> bool {
    let line = take(root);
    let mut command = std::process::Command::new(&line[0]);
    let output = command.args(&line[1..]).env_clear().output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(0) => true,
        Some(125) => {
            assert!(
                text.contains("valid once") || text.contains("in effect"),
                "{text}"
            );
            false
        }
        code => panic!("{code:?}: {text}"),
    }
}

#[test]
fn a_ticket_that_is_killed_at_any_system_call_is_never_used_twice() {
    let engineer = Engineer::new();
    let tally = kill_at_points(
        Reach::Threads,
        1,
        || prepare(&engineer),
        take,
        |root, _| {
            let effect = root.path(EFFECT);
            let first = effect.exists();
            if first {
                let ledger = root.good(&["ledger", "--json"]);
                ensure!(ledger.contains("\"verb\":\"ticket\""), "not recorded");
            }
            let second = takes(root);
            ensure!(!(first && second), "taken twice");
            ensure!(second || first == effect.exists(), "an effect of nothing");
            // As after a restart.
            let _ = fs::remove_dir_all(root.path("run"));
            fs::create_dir(root.path("run")).unwrap();
            ensure!(!takes(root), "taken after the restart");
            ensure!(!effect.exists(), "in effect after the restart");
            root.verified();
            Ok(())
        },
    );
    let tally = tally.unwrap();
    println!("{tally}");
    assert!(tally.killed > 150, "{tally}");
}
