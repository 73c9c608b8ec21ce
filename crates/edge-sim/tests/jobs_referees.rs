//! AWS IoT Jobs of the local cloud, judged by AWS's own clients.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use edge_sim::endpoint::Behaviour;
use edge_sim::testbed::{Cloud, DeviceRoot, StrictEndpoint};
use serde_json::{Value, json};

fn python() -> Command {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap());
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or(home.join(".cache"), PathBuf::from);
    let path = cache.join("edge-ai/venv/bin/python");
    assert!(
        path.exists(),
        "{} is missing: run scripts/setup",
        path.display()
    );
    Command::new(path)
}

/// Runs the clients against endpoints, with the MQTT version `version`; compares what they saw.
fn judge(endpoints: &Path, ca: &Path, device: &DeviceRoot, version: &str) {
    device.provisioned(&[]);
    let identity = device.path("data/config/aws-iot");
    let output = python()
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/jobs_referees.py"
        ))
        .args([endpoints, ca])
        .arg(identity.join("device.crt"))
        .arg(identity.join("private.key"))
        .args(["edge-ai-s1", version])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    let wanted = json!({
        "empty": [[], []],
        "members": ["edge-ai-s1"],
        "all": ["edge-ai-s1"],
        "notified": [{ "QUEUED": ["edge-barn-5-canary"] }, { "set": "sha256:00", "release": 5 }],
        "tags": [{ "Key": "stage", "Value": "canary / 1" }],
        "again": "ResourceAlreadyExistsException",
        "invalid": "InvalidRequestException",
        "absent": "ResourceNotFoundException",
        "unsigned": "InvalidSignatureException",
        "described": { "set": "sha256:00", "release": 5 },
        "started": ["IN_PROGRESS", 2, { "phase": "fetch" }],
        "stale": ["VersionMismatch", "IN_PROGRESS", 2],
        "pending": [["edge-barn-5-canary"], []],
        "execution": ["IN_PROGRESS", { "phase": "fetch" }, true],
        "final": [
            ["InvalidStateTransition", "SUCCEEDED", 3],
            ["TerminalStateReached", null, null],
        ],
        "completed": ["COMPLETED", "über 5 %", 1, 12.5, true],
        "next": ["IN_PROGRESS", 2],
        "running": "InvalidStateTransitionException",
        "canceled": ["VersionMismatch", "CANCELED", 3],
        "listed": [["edge-barn-6", "CANCELED"], ["edge-barn-5-canary", "SUCCEEDED"]],
        "pages": ["edge-barn-5-canary", "edge-barn-6"],
        "deleted": "ResourceNotFoundException",
    });
    for (name, wanted) in wanted.as_object().unwrap() {
        assert_eq!(&seen[name], wanted, "{name}");
    }
}

#[test]
fn clients_of_aws_drive_a_job_in_the_local_cloud() {
    let cloud = Cloud::up();
    let device = DeviceRoot::allowed(&cloud, "s1");
    judge(
        &cloud.file("endpoints.json"),
        &cloud.file("ca.pem"),
        &device,
        "5",
    );
}

#[test]
fn clients_of_aws_drive_a_job_at_the_strict_endpoint() {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let device = DeviceRoot::strict(&cloud, "s1");
    let control = format!("http://127.0.0.1:{}", cloud.endpoint.control_port());
    let endpoints = json!({ "iot_port": cloud.endpoint.port(), "iot_control": control });
    let file = cloud.file("endpoints.json");
    fs::write(&file, endpoints.to_string()).unwrap();
    judge(&file, &cloud.file("ca.pem"), &device, "3");
}
