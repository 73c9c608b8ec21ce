//! The ledger as programs write it: in parallel, killed at each system call, not
//! writable, flooded with refusals, and under the limits that a caller sets.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

#[path = "../device/mod.rs"]
mod device;
mod limits;
#[allow(dead_code)]
#[path = "../engine/recorder.rs"]
mod recorder;
mod test_root;

use std::fs;

use anyhow::ensure;
use edge_sim::kill_points::{Reach, kill_at_points};

use recorder::Recorder;
use test_root::TestRoot;

#[test]
fn a_command_is_recorded_before_its_effect_and_looking_is_not() {
    let root = TestRoot::new();
    root.good(&["logout"]);
    let [begin, logout] = &root.records()[..] else {
        panic!("{:?}", root.records());
    };
    assert_eq!(begin["segment"]["number"], 1);
    assert_eq!(
        (&logout["verb"], &logout["verdict"]),
        (&"logout".into(), &"allowed".into())
    );
    assert_eq!((&logout["n"], &logout["prev"]), (&2.into(), &begin["hash"]));
    assert!(logout["who"]["user"].is_string() && logout["boot"].is_string());
    // An engine that knows no container. Docker's client is absent from this root.
    Recorder::start(&root.path("run/docker.sock"));
    root.say(&["ps"]);
    root.say(&["images"]);
    assert_eq!(root.records().len(), 2);
    let (code, _) = root.say(&["rm", "-f", "foo"]);
    assert_ne!(code, 0);
    let records = root.records();
    assert_eq!(records[2]["args"], serde_json::json!(["rm", "-f", "foo"]));
    assert_eq!(records[3]["verdict"], "failed");
    let text = root.good(&["ledger", "--tail", "1"]);
    assert!(
        text.starts_with("     4 ") && text.lines().count() == 1,
        "{text}"
    );
}

#[test]
fn a_device_without_records_says_so() {
    let root = TestRoot::new();
    for args in [
        &["ledger"][..],
        &["ledger", "--json"],
        &["ledger", "verify"],
    ] {
        let (code, text) = root.say(args);
        assert_eq!(code, 0, "{args:?}: {text}");
        assert!(text.contains("no records yet"), "{args:?}: {text}");
    }
    // A head that the cloud knows: records were here.
    let head = format!("3:{}", "a".repeat(64));
    let (code, text) = root.say(&["ledger", "verify", "--head", &head]);
    assert_ne!(code, 0, "{text}");
}

#[test]
fn values_and_passwords_are_not_recorded() {
    let root = TestRoot::new();
    for line in [
        &[
            "run",
            "-e",
            "A=hunter2",
            "--env=B=hunter2",
            "r.io/x:y",
            "sh",
            "-c",
            "C=hunter2 x",
        ][..],
        &["exec", "-eA=hunter2", "foo", "mysql", "--password=hunter2"],
        &["login", "--password", "hunter2"],
        &["frobnicate", "A=hunter2"],
    ] {
        root.say(line);
    }
    let text = root.good(&["ledger", "--json"]);
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.contains("A=…") && root.records().len() == 5);
}

#[test]
fn sixteen_processes_append_to_one_chain() {
    let root = TestRoot::new();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..5 {
                    root.good(&["logout"]);
                }
            });
        }
    });
    root.verified();
    assert_eq!(root.records().len(), 81);
}

#[test]
fn an_append_survives_a_kill_at_every_system_call() {
    let prepare = || {
        let root = TestRoot::new();
        root.good(&["logout"]);
        root
    };
    let tally = kill_at_points(
        Reach::Threads,
        1,
        prepare,
        |root| root.line(&["logout"]),
        |root, _| {
            let head = root.head();
            ensure!((2..=3).contains(&head.0), "head {head:?}");
            let (code, text) = root.say(&["logout"]);
            ensure!(code == 0, "{text}");
            root.verified();
            let after = root.head();
            ensure!(after.0 == head.0 + 1, "{head:?}, then {after:?}");
            Ok(())
        },
    );
    let tally = tally.unwrap();
    println!("{tally}");
    assert!(tally.killed > 100, "{tally}");
}

#[test]
fn a_first_record_survives_a_kill_at_every_change() {
    let tally = kill_at_points(
        Reach::Threads,
        1000,
        TestRoot::new,
        |root| root.line(&["logout"]),
        |root, _| {
            root.good(&["logout"]);
            root.verified();
            ensure!((2..=3).contains(&root.head().0));
            Ok(())
        },
    );
    assert!(tally.unwrap().killed > 20);
}

#[test]
fn without_a_ledger_only_what_makes_room_acts() {
    let root = TestRoot::new();
    root.good(&["logout"]);
    Recorder::start(&root.path("run/docker.sock"));
    let (ledger, aside) = (root.path("data/log/ledger"), root.path("data/log/aside"));
    fs::rename(&ledger, &aside).unwrap();
    fs::write(&ledger, "").unwrap();
    fs::create_dir(root.path("data/.docker")).unwrap();
    fs::write(root.path("data/.docker/config.json"), "{}").unwrap();
    let (code, text) = root.say(&["logout"]);
    assert_eq!(code, 125, "{text}");
    assert!(text.contains("the ledger cannot be written"), "{text}");
    assert!(root.path("data/.docker/config.json").exists());
    for line in [
        &["rm", "foo"][..],
        &["rmi", "foo"],
        &["system", "prune", "-f"],
        &["stop", "foo"],
    ] {
        let (_, text) = root.say(line);
        // So far as to start docker's client, which is absent from this root, or to prune
        // at the engine, which has nothing.
        let acts = ["starting docker", "reclaimed space"];
        let acts = acts.iter().any(|line| text.contains(line));
        assert!(acts, "{line:?}: {text}");
    }
    fs::remove_file(&ledger).unwrap();
    fs::rename(&aside, &ledger).unwrap();
    root.good(&["logout"]);
    root.verified();
    let records = root.records();
    let carried: Vec<_> = records.iter().filter(|r| r["carried"] == true).collect();
    let verbs: Vec<_> = carried
        .iter()
        .map(|r| r["verb"].as_str().unwrap())
        .collect();
    assert_eq!(verbs, ["rm", "rmi", "system prune", "stop"]);
    assert_eq!(records.last().unwrap()["verb"], "logout");
}

#[test]
fn refusals_do_not_push_the_past_out() {
    let root = TestRoot::new();
    root.good(&["logout"]);
    for n in 0..80 {
        root.say(&["frobnicate", &n.to_string()]);
    }
    let records = root.records();
    assert_eq!(
        records.iter().filter(|r| r["verdict"] == "denied").count(),
        60
    );
    // A minute later, in the time of the count.
    let count = root.path("run/edge-docker/ledger-refusals.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&count).unwrap()).unwrap();
    json["since_ms"] = 0.into();
    fs::write(&count, json.to_string()).unwrap();
    root.good(&["logout"]);
    let records = root.records();
    let last = &records[records.len() - 2];
    assert_eq!(
        (&last["count"], &last["verdict"]),
        (&20.into(), &"denied".into())
    );
    root.verified();
}

#[test]
fn a_shorter_or_other_ledger_is_found_by_the_reported_head() {
    let root = TestRoot::new();
    root.good(&["logout"]);
    let (counter, hash) = root.head();
    let head = format!("{counter}:{hash}");
    root.good(&["logout"]);
    root.good(&["ledger", "verify", "--head", &head]);
    fs::remove_dir_all(root.path("data/log/ledger")).unwrap();
    root.good(&["logout"]);
    let (code, text) = root.say(&["ledger", "verify", "--head", &head]);
    assert_eq!(code, 3, "{text}");
    for bad in ["1", "x:y", "1:ABC", &format!("-1:{hash}")] {
        assert_eq!(
            root.say(&["ledger", "verify", "--head", bad]).0,
            125,
            "{bad}"
        );
    }
}
