//! edge-fleet with an edge-docker that keeps its apps as files: sets that are carried out,
//! refused and taken back, holds, damaged files, and the command line.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod recorder;

use std::fs;
use std::os::unix::fs::symlink;

use edge_signature::set::Window;
use recorder::{Recorder, set};
use serde_json::json;

fn rejected(reason: &str) -> (String, String) {
    ("REJECTED".into(), reason.into())
}

/// Device whose apps `a` and `b` were deployed by hand.
fn device() -> Recorder {
    let device = Recorder::new();
    device.deploy("a-v1");
    device.deploy("b-v1");
    device
}

#[test]
fn a_set_is_carried_out_once() {
    let device = device();
    device.converge();
    assert!(device.journal().is_empty(), "nothing is to do");
    let mut next = set(7, &["a-v2", "c-v1"]);
    next.remove = vec!["b".into()];
    device.jobs(&[&next]);
    device.converge();
    assert_eq!(device.running(), ["a-v2", "c-v1"]);
    assert_eq!(device.result().0, "SUCCEEDED");
    let journal = device.journal();
    assert_eq!(
        journal,
        [
            "set take SET --json",
            "pull --quiet --set SET a-v2",
            "pull --quiet --set SET c-v1",
            "stop b",
            "rm b",
            "replace --set SET a-v2",
            "replace --set SET c-v1",
            "set commit SET --json",
        ]
    );
    let report = device.state("report.json");
    assert_eq!(report["set"], json!({ "name": "barn", "number": 7 }));
    assert_eq!(
        device.names(),
        ["report.json", "results.json", "standing.json"]
    );
    device.converge();
    assert_eq!(device.journal(), journal, "the second run changes nothing");
    assert_eq!(device.run(&["status"]).0, 0);
}

#[test]
fn a_version_that_fails_is_taken_back_with_its_reason() {
    let device = device();
    device.write("state/sick/b-v2", "");
    device.jobs(&[&set(7, &["a-v2", "b-v2"])]);
    device.converge();
    assert_eq!(device.running(), ["a-v1", "b-v1"]);
    assert_eq!(device.result(), ("FAILED".into(), "health".into()));
    let results = device.state("results.json");
    let details = &results["results"][0]["details"];
    assert_eq!(details["message"], "its health check fails | one | two");
    assert_eq!(details["app"], "b");
    assert!(device.journal().contains(&"rollback a".into()));
    assert_eq!(device.state("standing.json"), json!(null));
    assert_eq!(device.run(&["status"]).0, 3);
}

#[test]
fn a_refused_set_stops_nothing() {
    for (file, text, reason) in [
        ("state/refuse", "signature", "signature"),
        ("state/refuse", "expired", "expired"),
        ("state/forbidden/b-v2", "", "policy"),
        ("state/full", "", "disk"),
    ] {
        let device = device();
        device.write(file, text);
        device.jobs(&[&set(7, &["a-v2", "b-v2"])]);
        device.converge();
        assert_eq!(device.result(), rejected(reason), "{file}");
        let journal = device.journal();
        assert!(
            !journal.iter().any(|l| l.starts_with("replace")),
            "{journal:?}"
        );
        assert_eq!(device.running(), ["a-v1", "b-v1"]);
        assert_eq!(device.run(&["status"]).0, 3);
    }
    let device = device();
    let mut large = set(7, &["a-v2"]);
    large.requires.disk_mb = Some(1 << 40);
    device.jobs(&[&large]);
    device.converge();
    assert_eq!(device.result(), rejected("disk"));
    assert_eq!(device.journal(), ["set take SET --json"]);
}

#[test]
fn without_a_network_a_set_waits() {
    let device = device();
    device.write("state/offline", "");
    device.jobs(&[&set(7, &["a-v2"])]);
    device.converge();
    assert_eq!(device.run(&["status"]).0, 4);
    assert_eq!(device.state("report.json")["reason"], "offline");
    assert!(device.journal().is_empty());
    device.remove("state/offline");
    device.converge();
    assert_eq!(device.result().0, "SUCCEEDED");
}

#[test]
fn held_apps_are_left_alone_until_the_hold_ends() {
    let device = device();
    device.write_state(
        "holds.json",
        r#"{"v":1,"holds":{"a":{"door":"stop","until":4000000000},"b":{"door":"rm","until":7}}}"#,
    );
    device.jobs(&[&set(7, &["a-v2", "b-v2"])]);
    device.converge();
    assert_eq!(device.running(), ["a-v1", "b-v1"]);
    let report = device.state("report.json");
    assert_eq!(report["reason"], "held");
    let held = report["held"].as_array().unwrap();
    assert_eq!((held.len(), &held[0]["app"]), (1, &json!("a")));
    let (code, output) = device.run(&["hold", "list"]);
    assert!(
        code == 0 && output.starts_with("a  stop  until 2096-"),
        "{output}"
    );
    assert_eq!(device.run(&["hold", "end", "a"]).0, 0);
    device.converge();
    assert_eq!(device.running(), ["a-v2", "b-v2"]);
}

#[test]
fn a_damaged_file_of_holds_holds_every_app() {
    let device = device();
    device.write_state("holds.json", "{");
    device.jobs(&[&set(7, &["a-v2"])]);
    let (code, output) = device.run(&[]);
    assert!(code == 5 && output.contains("holds.json"), "{output}");
    assert_eq!(device.running(), ["a-v1", "b-v1"]);
    let held = &device.state("report.json")["held"];
    assert_eq!(held.as_array().unwrap().len(), 2, "{held}");
    assert_eq!(device.run(&["status"]).0, 5);
    assert_ne!(device.run(&["hold", "end", "a"]).0, 0);
    assert_eq!(device.run(&["hold", "end", "--all"]).0, 0);
    device.converge();
    assert_eq!(device.running(), ["a-v2", "b-v1"]);
}

#[test]
fn holds_that_become_unreadable_midway_stop_the_set_where_it_is() {
    let device = device();
    device.jobs(&[&set(7, &["a-v2"])]);
    device.write("state/offline", "");
    device.converge();
    device.remove("state/offline");
    let mut candidate = device.state("candidate.json");
    let digest = device.release(&set(7, &["a-v2"]));
    fs::copy(
        device.path(&format!("state/sets/{}", digest.hex())),
        device.path(&format!("state/kept/{}", digest.hex())),
    )
    .unwrap();
    device.write("state/images/a-v2", "");
    candidate["phase"] = json!({
        "name": "begun",
        "previous": { "a": { "digest": recorder::digest("a-v1"), "version": "v1" } },
        "attempts": { "app": "", "tries": {} },
    });
    device.write_state("candidate.json", &candidate.to_string());
    device.write_state("holds.json", "{");
    assert_eq!(device.run(&[]).0, 5);
    assert_eq!(device.state("candidate.json")["phase"]["name"], "begun");
    assert_eq!(device.running(), ["a-v1", "b-v1"]);
    device.run(&["hold", "end", "--all"]);
    device.converge();
    assert_eq!(device.result().0, "SUCCEEDED");
}

#[test]
fn a_set_waits_for_its_window() {
    let device = device();
    let mut next = set(7, &["a-v2"]);
    let now = std::process::Command::new("date")
        .arg("+%w")
        .output()
        .unwrap();
    let today: u32 = String::from_utf8_lossy(&now.stdout).trim().parse().unwrap();
    let window = |day| Window {
        day: Some(day),
        minutes: 60,
        start: 12 * 60,
    };
    next.window = Some(window((today + 3) % 7));
    device.jobs(&[&next]);
    device.converge();
    assert_eq!(device.state("report.json")["reason"], "window");
    assert_eq!(device.running(), ["a-v1", "b-v1"]);
    // A clock that is behind the time of the image says nothing about a window.
    next.serial = 8;
    next.window = Some(Window {
        day: None,
        minutes: 1440,
        start: 0,
    });
    device.write("etc/timestamp", "20900101000000");
    device.jobs(&[&next]);
    device.converge();
    assert_eq!(device.state("report.json")["reason"], "window");
    device.remove("etc/timestamp");
    device.converge();
    assert_eq!(device.running(), ["a-v2", "b-v1"]);
}

#[test]
fn apps_that_differ_are_repaired_with_pauses() {
    let device = device();
    device.jobs(&[&set(7, &["a-v2", "b-v2"])]);
    device.converge();
    device.jobs(&[]);
    device.deploy("a-v1");
    device.converge();
    assert_eq!(device.running(), ["a-v2", "b-v2"]);
    device.deploy("a-v1");
    device.write("state/sick/a-v2", "");
    for _ in 0..5 {
        device.converge();
    }
    let tries = device.journal();
    let tries = tries.iter().filter(|l| *l == "replace --set SET a-v2");
    assert_eq!(tries.count(), 2 + 3, "three tries, then a pause");
    let report = device.state("report.json");
    assert_eq!(report["drift"][0]["failures"], 3, "{report}");
    assert_eq!(device.run(&["status"]).0, 4);
}

#[test]
fn the_newest_set_wins_and_an_older_one_is_rejected() {
    let device = device();
    device.jobs(&[&set(8, &["a-v3"]), &set(7, &["a-v2"])]);
    device.converge();
    assert_eq!(device.running(), ["a-v3", "b-v1"]);
    let results = device.state("results.json");
    let results = results["results"].as_array().unwrap();
    let older = results.iter().find(|r| r["id"] == "edge-barn-7-all");
    assert_eq!(older.unwrap()["status"], "REJECTED");
    assert_eq!(older.unwrap()["details"]["reason"], "superseded");
    let replaced = device.journal();
    let replaced = replaced.iter().filter(|l| l.starts_with("replace"));
    assert_eq!(replaced.count(), 1);
}

#[test]
fn a_demanded_set_is_carried_out_without_a_network() {
    let device = device();
    let next = set(7, &["a-v2"]);
    let digest = device.release(&next);
    device.write_state(
        "request.json",
        &json!({ "v": 1, "set": digest.hex() }).to_string(),
    );
    device.converge();
    assert_eq!(device.running(), ["a-v1", "b-v1"], "a set that is not kept");
    assert!(!device.names().contains(&"request.json".into()));
    device.write(
        &format!("state/kept/{}", digest.hex()),
        &String::from_utf8(next.to_bytes().unwrap()).unwrap(),
    );
    device.write("state/images/a-v2", "");
    device.write("state/offline", "");
    device.write_state(
        "request.json",
        &json!({ "v": 1, "set": digest }).to_string(),
    );
    device.converge();
    assert_eq!(device.running(), ["a-v2", "b-v1"]);
    assert_eq!(device.state("standing.json")["number"], 7);
    assert!(!device.names().contains(&"request.json".into()));
    for text in [
        "",
        "{",
        "[]",
        r#"{"set":7}"#,
        r#"{"set":"../x"}"#,
        r#"{"set":"é"}"#,
    ] {
        device.write_state("request.json", text);
        device.converge();
        assert!(!device.names().contains(&"request.json".into()), "{text}");
    }
}

#[test]
fn a_deployment_that_was_interrupted_is_finished_first() {
    let device = device();
    device.write("state/status", r#"{"name":"a","phase":"trial"}"#);
    device.jobs(&[&set(7, &["a-v2"])]);
    device.converge();
    assert_eq!(device.journal()[0], "replace --recover");
    assert_eq!(device.result().0, "SUCCEEDED");
}

#[test]
fn damaged_files_are_kept_aside_and_reported_once() {
    for name in [
        "standing.json",
        "candidate.json",
        "results.json",
        "repairs.json",
    ] {
        let device = device();
        device.jobs(&[&set(7, &["a-v2"])]);
        device.write_state(name, r#"{"v":1,"se"#);
        assert_eq!(device.run(&["status"]).0, 5, "{name}");
        let (code, output) = device.run(&[]);
        assert!(code == 5 && output.contains(name), "{output}");
        assert_eq!(device.running(), ["a-v2", "b-v1"], "{name}");
        assert!(device.names().contains(&format!("{name}.damaged")));
        device.converge();
    }
    let device = device();
    for text in ["", "{", "null"] {
        device.write_state("in/jobs.json", text);
        let (code, output) = device.run(&[]);
        assert!(code == 5 && output.contains("jobs.json"), "{output}");
    }
    device.remove("data/config/edge-fleet/in/jobs.json");
    symlink(
        "/dev/zero",
        device.path("data/config/edge-fleet/in/jobs.json"),
    )
    .unwrap();
    assert_eq!(device.run(&[]).0, 5);
}

#[test]
fn an_engine_that_does_not_answer_ends_the_run() {
    let device = device();
    device.jobs(&[&set(7, &["a-v2"])]);
    device.write("state/apps/x", "{");
    let (code, output) = device.run(&[]);
    assert!(code == 1 && output.contains("listing the apps"), "{output}");
    device.remove("state/apps/x");
    fs::remove_file(device.path("usr/bin/edge-docker")).unwrap();
    assert_eq!(device.run(&[]).0, 1);
}

#[test]
fn the_command_line_is_that_of_every_tool() {
    let device = device();
    for (args, expected) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&["status", "--help"], 0),
        (&["x"], 2),
        (&["--x"], 2),
        (&["hold", "end"], 2),
        (&["hold", "end", "a", "--all"], 2),
        (&["status", "--json"], 0),
        (&["run"], 0),
    ] {
        let (code, output) = device.run(args);
        assert_eq!(code, expected, "{args:?}: {output}");
        let is_narrow = output.lines().all(|line| line.chars().count() <= 80);
        assert!(args[0] == "status" || is_narrow, "{output}");
    }
    let text = device.run(&["status", "--json"]).1;
    let status: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status["phase"], "none");
}
