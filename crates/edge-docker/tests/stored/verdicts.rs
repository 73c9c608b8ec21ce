//! Audits at once, callers, and containers that could not be judged.

use std::fs;
use std::process::Stdio;

use serde_json::json;

use crate::device::{self, Device};
use crate::edited::{StoredContainer, entries};
use crate::make;

const MOUNT: [&str; 2] = ["-v", "/data/apps/foo/state:/data"];

#[test]
fn audits_at_once_take_their_turn() {
    let mut device = Device::start();
    device.start_engine();
    let image = device.image("foo", 0);
    let ids: Vec<_> = (0..6)
        .map(|n| make(&device, &format!("c{n}"), &MOUNT, &image.name))
        .collect();
    device.stop_engine();
    let audit = || {
        let mut command = device.command(&["edge-docker", "audit-stored"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    let audits: Vec<_> = (0..8).map(|_| audit()).collect();
    for audit in audits {
        let output = audit.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", device::output_text(&output));
    }
    for directory in ["quarantine", "withheld"] {
        let path = device.path(&format!("/data/docker/{directory}"));
        assert!(entries(&path).is_empty(), "{directory}");
    }
    device.start_engine();
    device::until("all containers", || {
        (device.running().len() == ids.len()).then_some(())
    });
}

#[test]
fn only_systemd_calls_the_audit() {
    let device = Device::start();
    let mut command = device.command(&["edge-docker", "audit-stored"]);
    let output = command.env("SUDO_UID", "1000").output().unwrap();
    let text = device::output_text(&output);
    assert_eq!(output.status.code(), Some(125), "{text}");
    assert!(text.contains("systemd calls it"), "{text}");
    assert!(!device.path("/data/docker/quarantine").exists());
}

#[test]
fn a_container_that_could_not_be_judged_is_back_at_the_next_start() {
    let mut device = Device::start();
    device.start_engine();
    let image = device.image("foo", 0);
    let id = make(&device, "foo", &MOUNT, &image.name);
    let other = make(&device, "other", &[], &image.name);
    device.stop_engine();
    let container = StoredContainer::of(&device, &id);
    let withheld = device.path(&format!("/data/docker/withheld/{id}"));
    let record = device.path(&format!("/data/config/edge-docker/containers/{id}.json"));
    let key = device.json(&format!("/data/config/edge-docker/containers/{id}.json"));
    let key = key["Labels"]["edge.pins"].as_str().unwrap().to_string();
    let mounts = device.path(&format!("/data/config/edge-docker/pins/{key}.json"));
    let away = [mounts, record, container.directory.join("hostconfig.json")];
    for (number, from) in away.iter().enumerate() {
        let original = fs::read(from).unwrap();
        fs::write(from, &original[..original.len() / 2]).unwrap();
        for _ in 0..2 {
            let (messages, kept) = container.audit();
            let expected = format!("withheld container {id}");
            assert!(
                !kept && messages.contains(&expected),
                "{number}: {messages}"
            );
            assert!(withheld.exists() && StoredContainer::of(&device, &other).directory.exists());
        }
        let reported = device.json("/data/log/boot/edge-docker-audit.json");
        assert_eq!(reported["result"], "failed", "{reported}");
        assert!(
            reported["message"].as_str().unwrap().contains("withheld"),
            "{reported}"
        );
        match number {
            2 => fs::write(withheld.join("hostconfig.json"), original).unwrap(),
            _ => fs::write(from, original).unwrap(),
        }
        assert_eq!(container.audit(), (String::new(), true), "{number}");
    }
    let reported = device.json("/data/log/boot/edge-docker-audit.json");
    assert_eq!(reported["result"], "ok", "{reported}");
    device.start_engine();
    device::until("both", || (device.running().len() == 2).then_some(()));
    assert!(!device.path("/data/docker/quarantine").exists());
}

/// Records of earlier versions state no version, and more mounts were accepted; a record of
/// a later version is no reason to lose a container.
#[test]
fn containers_of_other_versions_are_kept() {
    let mut device = Device::start();
    device.start_engine();
    let image = device.image("foo", 0);
    let mounts: Vec<_> = (0..32).map(|n| format!("--tmpfs=/m{n}")).collect();
    let mounts: Vec<_> = mounts.iter().map(String::as_str).collect();
    let id = make(&device, "foo", &mounts, &image.name);
    device.stop_engine();
    let container = StoredContainer::of(&device, &id);
    let name = format!("/data/config/edge-docker/containers/{id}.json");
    let write = |path: &std::path::Path, value: &serde_json::Value| {
        fs::write(path, value.to_string()).unwrap();
    };
    let record = device.path(&name);
    let mut value = device.json(&name);
    assert_eq!(value["v"], 1);
    value.as_object_mut().unwrap().remove("v");
    let host = container.directory.join("hostconfig.json");
    let mut stored: serde_json::Value = serde_json::from_slice(&fs::read(&host).unwrap()).unwrap();
    for n in 32..60 {
        value["HostConfig"]["Tmpfs"][format!("/m{n}")] = "".into();
        stored["Tmpfs"][format!("/m{n}")] = "".into();
    }
    write(&record, &value);
    write(&host, &stored);
    assert_eq!(container.audit(), (String::new(), true));

    for (version, expected) in [
        (2.into(), "withheld container"),
        ("x".into(), "quarantined container"),
    ] {
        value["v"] = version;
        write(&record, &value);
        let (messages, kept) = container.audit();
        assert!(!kept && messages.contains(expected), "{messages}");
        if value["v"] == 2 {
            assert!(messages.contains("later device image"), "{messages}");
        }
    }
}

/// A record of release numbers that cannot be read says nothing about a container: it is
/// kept for the time when the record is repaired, unless another one has taken its place.
#[test]
fn a_damaged_record_of_release_numbers_loses_no_container() {
    let mut device = Device::start();
    device.start_engine();
    let image = device.image("foo", 0);
    let id = make(&device, "foo", &MOUNT, &image.name);
    let records = ["serials", "serials-copy"].map(|d| format!("/data/config/edge-docker/{d}/foo"));
    let original = fs::read(device.path(&records[0])).unwrap();
    let damage = |device: &Device| {
        for record in &records {
            device.write(record, b"{");
        }
    };
    device.stop_engine();
    damage(&device);
    let (messages, kept) = StoredContainer::of(&device, &id).audit();
    let expected = format!("withheld container {id}");
    assert!(!kept && messages.contains(&expected), "{messages}");
    assert!(messages.contains("--allow-downgrade"), "{messages}");
    for record in &records {
        device.write(record, &original);
    }
    device.start_engine();
    device::until("foo", || (device.running() == ["foo"]).then_some(()));

    // The way out that the message names.
    device.stop_engine();
    damage(&device);
    device.start_engine();
    assert_eq!(device.running(), [""; 0]);
    let run = ["run", "-d", "--restart=always", "--allow-downgrade"];
    let run = [&["edge-docker"], &run[..], &["--name=foo", &image.name]].concat();
    let new = device.good(&run);
    device.restart_after_power_loss();
    device.good(&["rm", "-f", "/run/docker.pid"]);
    device.start_engine();
    device::until("foo", || (device.running() == ["foo"]).then_some(()));
    assert!(StoredContainer::of(&device, &new).directory.exists());
    let rule = device.good(&["sh", "-c", "cat /data/docker/quarantine/*/rule"]);
    assert!(rule.contains("another container has its name"), "{rule}");
    device.good(&["edge-docker", "replace", "--recover"]);
}

/// A revocation can be taken back, and a damaged record of what is revoked says nothing about
/// a container: it is kept for that time, by any kind of policy.
#[test]
fn a_revoked_container_is_back_when_its_digest_is_restored() {
    let mut device = Device::start();
    device.start_engine();
    let image = device.image("foo", 0);
    let other = device.image("bar", 8);
    let id = make(&device, "foo", &MOUNT, &image.name);
    make(&device, "bar", &[], &other.name);
    device.stop_engine();
    let container = StoredContainer::of(&device, &id);
    let files = ["sets", "sets-copy"].map(|d| format!("/data/config/edge-docker/{d}/record"));
    let state = |device: &Device, revoked: bool| {
        let statement = json!({ "number": 5, "revoked": revoked });
        let digest = image.manifest.digest.as_str();
        let record = json!({ "v": 1, "floor": 0, "committed": null,
            "digests": { digest: statement } });
        for file in &files {
            device.write(file, record.to_string().as_bytes());
        }
    };
    let withheld = device.path(&format!("/data/docker/withheld/{id}"));
    state(&device, true);
    for _ in 0..2 {
        let (messages, kept) = container.audit();
        let expected = format!("withheld container {id}");
        let is_told = messages.contains(&expected) && messages.contains("has revoked");
        assert!(!kept && is_told && withheld.exists(), "{messages}");
    }
    let reported = device.json("/data/log/boot/edge-docker-audit.json");
    let message = reported["message"].as_str().unwrap();
    assert!(
        message.starts_with("withheld foo: ") && message.contains("release set 5"),
        "{message}"
    );
    let ledger = device.good(&["edge-docker", "ledger", "--json"]);
    assert!(ledger.contains("has revoked"), "{ledger}");
    // Neither of the two says what is revoked: both apps wait for the repair.
    for file in &files {
        device.write(file, b"{");
    }
    let (messages, kept) = container.audit();
    assert!(!kept && messages.contains("set repair"), "{messages}");
    assert_eq!(entries(&device.path("/data/docker/withheld")).len(), 2);
    let directory = container.directory.clone();
    state(&device, false);
    device.start_engine();
    device::until("both", || {
        (device.running() == ["bar", "foo"]).then_some(())
    });
    assert!(directory.exists());
    assert!(!device.path("/data/docker/quarantine").exists());
}
