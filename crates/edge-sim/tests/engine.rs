//! The container engine for builds, on a machine that has an engine of its own.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::Command;

use edge_sim::testbed::{edge_sim, program, run};

/// Network and mount namespace of a laptop on which docker has created its bridge.
const LAPTOP: &str = r#"
ip link set lo up
ip link add docker0 type bridge
ip addr add 172.17.0.1/16 dev docker0
ip -oneline address > "$2/before"
host=$("$1" engine up --dir "$2/engine")
ip -oneline address > "$2/during"
docker --host "$host" network inspect --format '{{.Driver}}' bridge
"$1" engine up --dir "$2/engine" | grep -qxF "$host"
nsenter --target "$(cat "$2/engine/dockerd.pid")" --net ip -oneline address > "$2/inside"
"$1" engine down --purge --dir "$2/engine"
ip -oneline address > "$2/after"
cmp "$2/before" "$2/during"
cmp "$2/before" "$2/after"
"#;

fn laptop(directory: &Path) -> Command {
    let mut command = Command::new("/usr/bin/unshare");
    command.args([
        "--net", "--mount", "--", "/bin/sh", "-euc", LAPTOP, "laptop",
    ]);
    command.arg(program("edge-sim")).arg(directory);
    command
}

/// An engine in the host's network would delete the bridge, or give it other addresses.
#[test]
fn the_bridge_of_the_machines_engine_survives() {
    let directory = tempfile::tempdir().unwrap();
    let (code, printed) = run(&mut laptop(directory.path()));
    assert_eq!(code, 0, "{printed}");
    assert!(printed.starts_with("bridge\n"), "{printed}");
    let inside = std::fs::read_to_string(directory.path().join("inside")).unwrap();
    assert!(inside.contains(" docker0 "), "{inside}");
    assert!(inside.contains(" 10.0.2.100/24 "), "no way out: {inside}");
    assert!(!directory.path().join("engine").exists());
}

/// A second stop, and a stop without a start, are not errors.
#[test]
fn a_stop_can_be_repeated() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let down = edge_sim(&["engine", "down"], directory.path());
        assert!(down.status.success());
    }
}
