//! IDs in place of names: docker's client acts on the container that was judged.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::test_root::{SANDBOX_ID, TestRoot};

/// Program in the place of docker's client that records its arguments.
const CLIENT: &str = "#!/bin/sh\nfor a; do echo \"$a\"; done >> \"${0%/*}/arguments\"\n";

#[test]
fn the_client_gets_ids() {
    let test_root = TestRoot::new();
    let client = test_root.path("/usr/bin/docker");
    fs::create_dir_all(client.parent().unwrap()).unwrap();
    fs::write(&client, CLIENT).unwrap();
    fs::set_permissions(&client, fs::Permissions::from_mode(0o755)).unwrap();
    let received = client.with_file_name("arguments");
    let id = "ab".repeat(32);
    let labels = json!({ "edge.sandbox": "toy", "edge.app": "", "edge.image": "sandbox/toy" });
    let state = json!({ "Running": true, "Restarting": false, "ExitCode": 0, "OOMKilled": false,
        "Error": "", "StartedAt": "2026-01-01T00:00:00Z" });
    let found = json!({ "Id": id, "Name": "/toy", "Image": SANDBOX_ID, "State": state,
        "Config": { "Labels": labels },
        "HostConfig": { "RestartPolicy": { "Name": "no" }, "AutoRemove": false } });
    test_root.recorder.container("toy", found);
    for command in [
        "start", "restart", "unpause", "stop", "kill", "pause", "rm", "wait",
    ] {
        let outcome = test_root.run_line(&[command, "toy"]);
        assert_eq!(outcome.code, 0, "{command}: {}", outcome.message);
        let arguments = fs::read_to_string(&received).unwrap();
        fs::remove_file(&received).unwrap();
        let last: Vec<_> = arguments.lines().rev().take(2).collect();
        assert_eq!(last, [id.as_str(), "--"], "{command}: {arguments}");
    }
    // One that is absent is not waited for under its name.
    let outcome = test_root.run_line(&["wait", "absent"]);
    assert_eq!(outcome.message, "");
    assert!(!received.exists());
}
