//! Kept proofs and serials: what runs without a network, and what does not.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod pulled;

use std::fs;

use edge_signature::Format;
use pulled::{Device, annotations, is};
use serde_json::{Value, json};

#[test]
fn what_was_verified_starts_without_network() {
    for format in [Format::V2, Format::V3] {
        let device = Device::new();
        let digest = device.push("hello-v1", 1, format);
        is(&device.pull("hello-v1"), 0, &format!("@{digest}"));
        device.network(false);
        is(&device.run("hello-v1"), 0, "0123");
        let name = format!("{}@{digest}", device.server.repository());
        is(&device.say(&["run", "-d", &name]), 0, "0123");
        is(&device.run("hello-v2"), 124, "does not answer");
        is(&device.pull("hello-v1"), 124, "does not answer");
        // The engine lost the image: only the network can bring it back.
        device.engine.has.lock().unwrap().clear();
        is(&device.run("hello-v1"), 124, "does not answer");
        device.network(true);
        is(&device.run("hello-v1"), 0, "0123");
    }
}

#[test]
fn a_damaged_proof_lets_nothing_run_and_is_mended() {
    let device = Device::new();
    let digest = device.push("hello-v1", 1, Format::V2);
    let other = device.put("other-v1");
    device.sign_as(&other, Format::V2, &annotations("other", "v1", 1));
    is(&device.pull("hello-v1"), 0, "");
    is(&device.pull("other-v1"), 0, "");
    let path = device.proof(&digest);
    let good = fs::read(&path).unwrap();
    let other = fs::read(device.proof(&other)).unwrap();
    let mut tampered: Value = serde_json::from_slice(&good).unwrap();
    let signature = tampered.pointer_mut("/signed/0/signature").unwrap();
    let text = signature.as_str().unwrap();
    let at = text.len() / 2;
    let letter = if &text[at..=at] == "A" { "B" } else { "A" };
    *signature = format!("{}{letter}{}", &text[..at], &text[at + 1..]).into();
    let mut unsigned: Value = serde_json::from_slice(&good).unwrap();
    unsigned["signed"] = json!([]);
    let cases: [(Vec<u8>, &str); 8] = [
        (good[..good.len() / 2].to_vec(), "is damaged"),
        (Vec::new(), "is damaged"),
        (b"[]".to_vec(), "is damaged"),
        (vec![b' '; 17 << 20], "larger than"),
        (other, "is of another digest"),
        (tampered.to_string().into_bytes(), "is invalid"),
        (unsigned.to_string().into_bytes(), "no signature"),
        (b"\xff\xfe".to_vec(), "is damaged"),
    ];
    device.engine.asked();
    for (bad, wanted) in cases {
        fs::write(&path, bad).unwrap();
        device.network(false);
        let said = device.run("hello-v1");
        is(&said, 124, wanted);
        is(&said, 124, "does not answer");
        assert!(!device.engine.created());
        device.network(true);
        is(&device.run("hello-v1"), 0, "0123");
        assert_eq!(fs::read(&path).unwrap(), good);
        assert!(device.engine.created());
    }
    fs::remove_file(&path).unwrap();
    device.network(false);
    is(&device.run("hello-v1"), 124, "does not answer");
    device.network(true);
    is(&device.run("hello-v1"), 0, "0123");
    assert_eq!(fs::read(&path).unwrap(), good);
}

#[test]
fn an_older_version_comes_back_only_when_told_to() {
    let device = Device::new();
    for serial in 1..=4 {
        device.push(&format!("hello-v{serial}"), serial, Format::V2);
    }
    for tag in ["hello-v1", "hello-v2", "hello-v3"] {
        is(&device.pull(tag), 0, "");
    }
    // A pull accepts nothing: the version before still runs.
    is(&device.run("hello-v1"), 0, "0123");
    is(&device.run("hello-v3"), 0, "0123");
    device.engine.asked();
    for tag in ["hello-v1", "hello-v2"] {
        is(&device.pull(tag), 125, "accepted release number 3");
        is(&device.run(tag), 125, "--allow-downgrade");
    }
    assert!(!device.engine.created());
    let old = device.image("hello-v2");
    let said = device.say(&["run", "-d", "--allow-downgrade", &old]);
    is(&said, 0, "accepts release number 2, older than");
    // It starts again after a reboot without network, its neighbour does not.
    device.network(false);
    is(&device.run("hello-v2"), 0, "0123");
    is(&device.run("hello-v1"), 125, "accepted release number 3");
    is(&device.run("hello-v3"), 0, "0123");
    device.network(true);
    is(&device.pull("hello-v2"), 0, "");
    is(&device.pull("hello-v4"), 0, "");
    is(&device.run("hello-v2"), 0, "0123");
    is(&device.run("hello-v4"), 0, "0123");
    is(&device.run("hello-v2"), 125, "accepted release number 4");
    let pull = ["pull", "-q", "--allow-downgrade", &device.image("hello-v1")];
    is(&device.say(&pull), 0, "accepts release number 1");
    is(&device.run("hello-v1"), 0, "0123");

    let record = |name: &str| device.path(&format!("data/config/edge-docker/{name}/hello"));
    fs::write(record("serials"), "{").unwrap();
    is(&device.run("hello-v4"), 0, "repaired");
    fs::write(record("serials"), "{").unwrap();
    fs::write(record("serials-copy"), "{").unwrap();
    is(&device.run("hello-v4"), 125, "is damaged");
    is(
        &device.say(&["run", "-d", "--allow-downgrade", &device.image("hello-v4")]),
        0,
        "",
    );
    is(&device.run("hello-v1"), 125, "accepted release number 4");
}
