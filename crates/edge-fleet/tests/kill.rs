//! edge-fleet killed at its system calls in six scenes: after the next run the device is at
//! a good end, nothing is left behind, and the run after that changes nothing.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod recorder;

use anyhow::{Result, ensure};
use edge_sim::kill_points::{Point, Reach, kill_at_points};
use recorder::{Recorder, digest, set};
use serde_json::{Value, json};

/// Distance between two points: 1 in the campaign, `cargo xtask campaign fleet-kill`.
fn every() -> usize {
    let text = std::env::var("EDGE_EVERY").unwrap_or_default();
    text.parse().unwrap_or(200)
}

/// End that a scene must have.
struct End {
    running: &'static [&'static str],
    status: &'static str,
    reason: &'static str,
    /// Maximum number of deployments, those of interrupted runs included.
    changes: usize,
}

const TAKEN: End = End {
    running: &["a-v2", "b-v2", "c-v2"],
    status: "SUCCEEDED",
    reason: "",
    changes: 4,
};
const REFUSED: End = End {
    running: &["a-v1", "b-v1", "c-v1"],
    status: "REJECTED",
    reason: "signature",
    changes: 0,
};
const BACK: End = End {
    running: &["a-v1", "b-v1", "c-v1"],
    status: "FAILED",
    reason: "health",
    changes: 8,
};

fn device() -> Recorder {
    let device = Recorder::new();
    for tag in ["a-v1", "b-v1", "c-v1"] {
        device.deploy(tag);
    }
    device.jobs(&[&set(7, &["a-v2", "b-v2", "c-v2"])]);
    device
}

/// Puts the device into a phase of the set, in which a run was interrupted.
fn in_phase(device: &Recorder, phase: &Value) {
    let set = set(7, &["a-v2", "b-v2", "c-v2"]);
    let hex = device.release(&set).hex().to_string();
    let text = String::from_utf8(set.to_bytes().unwrap()).unwrap();
    device.write(&format!("state/kept/{hex}"), &text);
    let candidate = json!({
        "v": 1, "id": "run-0", "set": format!("sha256:{hex}"),
        "repository": "registry.test/edge-ai", "name": "barn", "number": 7, "door": "job",
        "executions": [{ "id": "edge-barn-7-all", "number": 1, "queued": 5 }],
        "phase": phase, "later": true,
    });
    device.write_state("candidate.json", &candidate.to_string());
}

fn fetched(device: &Recorder) {
    for tag in ["a-v2", "b-v2", "c-v2"] {
        device.write(&format!("state/images/{tag}"), "");
    }
}

fn previous() -> Value {
    let deployed = |tag: &str| json!({ "digest": digest(tag), "version": "v1" });
    json!({ "a": deployed("a-v1"), "b": deployed("b-v1"), "c": deployed("c-v1") })
}

/// Device on which app `a` was replaced.
fn midway() -> Recorder {
    let device = device();
    let begun = json!({
        "name": "begun", "previous": previous(), "attempts": { "app": "", "tries": {} },
    });
    in_phase(&device, &begun);
    fetched(&device);
    let earlier = device.version("a-v1").replace("\"/a\"", "\"/a-previous\"");
    device.write("state/apps/a-previous", &earlier);
    device.write("state/apps/a", &device.version("a-v2"));
    device
}

fn committing() -> Recorder {
    let device = midway();
    for app in ["b", "c"] {
        let container = device.version(&format!("{app}-v2"));
        device.write(&format!("state/apps/{app}"), &container);
    }
    in_phase(&device, &json!({ "name": "commit" }));
    device
}

fn refused() -> Recorder {
    let device = device();
    device.write("state/refuse", "signature");
    device
}

fn fetching() -> Recorder {
    let device = device();
    in_phase(&device, &json!({ "name": "checked" }));
    device
}

fn going_back() -> Recorder {
    let device = midway();
    device.write("state/sick/c-v2", "");
    device
}

/// Checks what a kill left: whole files, each of them old or new.
fn check_interrupted(device: &Recorder) -> Result<()> {
    for name in device.names() {
        let whole = !name.starts_with(".new-");
        ensure!(
            !whole || device.state(&name).is_object(),
            "{name} is truncated"
        );
    }
    let results = device.state("results.json");
    let results = results["results"].as_array().cloned().unwrap_or_default();
    let succeeded = results.iter().any(|r| r["status"] == "SUCCEEDED");
    let stands = device.state("standing.json")["number"] == 7;
    ensure!(!succeeded || stands, "SUCCEEDED before the commit");
    Ok(())
}

fn check(device: &Recorder, end: &End) -> Result<()> {
    device.settle();
    check_interrupted(device)?;
    // A run that was interrupted three times at an app restores the earlier apps.
    let (code, output) = device.run(&[]);
    ensure!(code == 0, "the next run ends with {code}: {output}");
    let (status, reason) = device.result();
    ensure!(
        (&*status, &*reason) == (end.status, end.reason),
        "{status} {reason}"
    );
    let running = device.running();
    ensure!(running == end.running, "{running:?} run");
    let stands = device.state("standing.json")["number"] == 7;
    ensure!(stands == (end.status == "SUCCEEDED"), "stands: {stands}");
    let names = device.names();
    let known = ["report.json", "results.json", "standing.json"];
    ensure!(
        names.iter().all(|n| known.contains(&n.as_str())),
        "left behind: {names:?}"
    );
    let journal = device.journal();
    let is_change = |line: &&String| line.starts_with("replace --set") || line.starts_with("rollb");
    let changes = journal.iter().filter(is_change).count();
    ensure!(changes <= end.changes, "{changes} deployments: {journal:?}");
    let (code, output) = device.run(&[]);
    ensure!(code == 0, "the run after that ends with {code}: {output}");
    ensure!(
        device.journal() == journal,
        "the run after that changed something"
    );
    Ok(())
}

fn scene(name: &str, prepare: fn() -> Recorder, end: &End) {
    let command = |device: &Recorder| device.command_line(&[]);
    let judge = |device: &Recorder, _: &Point| check(device, end);
    let tally = kill_at_points(Reach::First, every(), prepare, command, judge).unwrap();
    println!("{name}: {tally}");
    assert!(tally.killed > 50, "{tally}");
}

#[test]
fn taking_survives_a_kill() {
    scene("take", device, &TAKEN);
}

#[test]
fn refusing_survives_a_kill() {
    scene("refuse", refused, &REFUSED);
}

#[test]
fn fetching_survives_a_kill() {
    scene("fetch", fetching, &TAKEN);
}

#[test]
fn replacing_survives_a_kill() {
    scene("switch 2 of 3", midway, &TAKEN);
}

#[test]
fn going_back_survives_a_kill() {
    scene("go back", going_back, &BACK);
}

#[test]
fn committing_survives_a_kill() {
    scene("commit", committing, &TAKEN);
}
