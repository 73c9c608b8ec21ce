//! Audits at once, callers, and containers that could not be judged.

use std::fs;
use std::process::Stdio;

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
