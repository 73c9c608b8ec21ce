//! Decisions on the corpora, compared with the checker, without an engine.
#![allow(clippy::unwrap_used, missing_docs)]

mod decision;

use decision::edits;
use serde_json::{Value, json};

const STORED: &str = include_str!("../../edge-docker/tests/corpus/stored.json");

#[test]
fn an_honest_stored_container_passes_and_every_edit_is_refused() {
    let honest: Value = serde_json::from_str(STORED).unwrap();
    decision::stored_container(&honest).unwrap();
    for edit in edits::corpus() {
        // The audit compares the image with the signature, which is not part of this.
        if edit.pointer == "/Image" {
            continue;
        }
        let mut edited = honest.clone();
        let field = if edit.file == "hostconfig.json" {
            "host"
        } else {
            "config"
        };
        let pointer = format!("/{field}{}", edit.pointer);
        edits::put(&mut edited, &pointer, edit.value);
        let refused = decision::stored_container(&edited).expect_err(&pointer);
        assert!(refused.contains(edit.rule), "{pointer}: {refused}");
    }
}

fn many(count: usize, entry: fn(usize) -> (String, Value)) -> Value {
    Value::Object((0..count).map(entry).collect())
}

#[test]
fn a_request_and_a_container_that_agree_on_harm_are_refused() {
    let honest: Value = serde_json::from_str(STORED).unwrap();
    for (field, value) in [
        ("CapAdd", json!(["SYS_ADMIN"])),
        ("NetworkMode", json!("host")),
        ("Runtime", json!("nvidia")),
        ("SecurityOpt", json!(["seccomp=unconfined"])),
        ("Sysctls", json!({ "kernel.domainname": "x" })),
        ("CapAdd", json!(["NET_RAW"])),
        ("CapAdd", json!(["CAP_MKNOD"])),
        ("CpusetCpus", json!("0-9999999999")),
        ("ExtraHosts", json!(["x:127.0.0.1"])),
        ("ExtraHosts", json!(["x:10.0.0.1\n127.0.0.1 y"])),
        ("GroupAdd", json!(["4294967295"])),
        ("GroupAdd", json!(["61000"])),
        ("Tmpfs", many(257, |n| (format!("/x{n}"), json!("")))),
        (
            "Ulimits",
            json!([{ "Name": "rtprio", "Soft": 99, "Hard": 99 }]),
        ),
        (
            "Ulimits",
            json!([{ "Name": "nofile", "Soft": 2, "Hard": 1 }]),
        ),
        ("ShmSize", json!(1_i64 << 40)),
        ("Tmpfs", json!({ "/x": "size=9999g" })),
        ("Tmpfs", json!({ "/proc/x": "" })),
        (
            "LogConfig",
            json!({ "Type": "json-file", "Config": { "tag": "{{pad \"a\" 1000000000000 0}}" } }),
        ),
        (
            "LogConfig",
            json!({ "Type": "json-file", "Config": { "max-file": "1000000000" } }),
        ),
        (
            "LogConfig",
            json!({ "Type": "json-file", "Config": { "max-size": "-1" } }),
        ),
    ] {
        let mut edited = honest.clone();
        for side in ["/host", "/requested/HostConfig"] {
            edits::put(&mut edited, &format!("{side}/{field}"), value.clone());
        }
        assert!(decision::stored_container(&edited).is_err(), "{field}");
    }
}

#[test]
fn labels_and_users_that_both_sides_state_are_refused() {
    let honest: Value = serde_json::from_str(STORED).unwrap();
    let labels = many(65, |n| (format!("name{n}"), json!("")));
    for labels in [labels, json!({ "name": "x".repeat(4096) })] {
        let mut edited = honest.clone();
        for side in ["/config/Config", "/requested"] {
            let own = labels.as_object().unwrap().clone();
            edited
                .pointer_mut(&format!("{side}/Labels"))
                .unwrap()
                .as_object_mut()
                .unwrap()
                .extend(own);
        }
        let refusal = decision::stored_container(&edited).unwrap_err();
        assert!(refusal.contains("labels of"), "{refusal}");
    }
    for user in ["61000", "061000:0", "0:61000"] {
        let mut edited = honest.clone();
        for side in ["/config/Config", "/requested"] {
            edits::put(&mut edited, &format!("{side}/User"), json!(user));
        }
        let refusal = decision::stored_container(&edited).unwrap_err();
        assert!(refusal.contains("login user"), "{refusal}");
    }
}

#[test]
fn containers_of_this_version_and_of_earlier_ones_pass() {
    // The corpus is of an earlier version: no capability is dropped, labels are missing.
    let earlier: Value = serde_json::from_str(STORED).unwrap();
    assert_eq!(earlier["requested"]["HostConfig"]["CapDrop"], json!([]));
    let mut narrowed = earlier.clone();
    for side in ["/host", "/requested/HostConfig"] {
        edits::put(&mut narrowed, &format!("{side}/CapDrop"), json!(["ALL"]));
        let added = json!(["CHOWN", "SYS_CHROOT"]);
        edits::put(&mut narrowed, &format!("{side}/CapAdd"), added);
    }
    for side in ["/config/Config", "/requested"] {
        edits::put(
            &mut narrowed,
            &format!("{side}/Labels/edge.sandbox"),
            json!(""),
        );
    }
    decision::stored_container(&narrowed).unwrap();
    // An edit of one side alone is found.
    for (pointer, new) in [
        ("/host/CapDrop", json!([])),
        ("/host/CapAdd", json!(["CHOWN", "SYS_CHROOT", "SETUID"])),
        ("/config/Config/Labels/edge.sandbox", json!("foo")),
    ] {
        let mut edited = narrowed.clone();
        edits::put(&mut edited, pointer, new);
        assert!(decision::stored_container(&edited).is_err(), "{pointer}");
    }
}

#[test]
fn inputs_of_the_fuzz_targets_are_decided() {
    let mount = "-v\n/data/apps/hello:/data\nr.io/edge-ai:hello-v1";
    let body = decision::line_input(mount).unwrap();
    assert!(body.contains("/run/edge-docker/pins/"), "{body}");
    assert!(decision::line_input("create\n--privileged\nsandbox/toy").is_err());
    assert!(decision::line_input("ps\n-a").is_ok());
    assert!(decision::request_input("GET /v1.41/containers/json").is_ok());
    assert!(decision::request_input("POST /v1.41/containers/create\n{}").is_err());
    assert!(decision::stored_input(STORED).is_ok());
    assert!(decision::stored_input("{\"app\":\"hello\"}").is_err());
}

#[test]
fn no_network_is_not_that_of_the_device() {
    let image = "r.io/edge-ai:net-v1";
    for order in [
        ["run", "--network=none", "--grant=vpn", image],
        ["run", "--grant=vpn", "--network=none", image],
    ] {
        let refused = decision::line(&order).unwrap_err();
        assert!(refused.contains("omit one of them"), "{refused}");
    }
    decision::line(&["run", "--network=none", image]).unwrap();
    decision::line(&["run", "--grant=vpn", image]).unwrap();
}
