//! Revoked digests, and a damaged record of them.

use std::fs;

use edge_signature::set::ReleaseSet;
use edge_signature::{Digest, Format};
use serde_json::json;

use crate::fleet::{Fleet, LATER, SETS, set};
use crate::pulled::{self, is};

fn list(number: u64, revoked: &[&Digest], restored: &[&Digest]) -> ReleaseSet {
    let sorted = |digests: &[&Digest]| {
        let mut digests: Vec<Digest> = digests.iter().map(|d| (*d).clone()).collect();
        digests.sort();
        digests
    };
    ReleaseSet {
        revoked: sorted(revoked),
        restored: sorted(restored),
        ..ReleaseSet::new("revoked", number, LATER, &["*"])
    }
}

#[test]
fn a_revoked_digest_does_not_start_until_a_later_list_names_it() {
    let fleet = Fleet::new(1);
    fleet.policy(&json!({ "run": "any", "sets": { "threshold": 1 }, "engineer": "debug" }));
    let device = &fleet.device;
    let (v1, v2) = (fleet.app("v1", 1), fleet.app("v2", 2));
    is(&device.pull("hello-v1"), 0, "");
    is(&device.run("hello-v1"), 0, "0123");
    let take = |list: &ReleaseSet| is(&fleet.take(&fleet.release(list, 1)), 0, "revoked");
    take(&list(5, &[&v1.digest], &[]));
    assert!(fleet.proofs().is_empty());
    device.network(false);
    let why = "release set 5 has revoked";
    is(&device.run("hello-v1"), 125, why);
    is(
        &device.say(&["run", "-d", "--allow-downgrade", &device.image("hello-v1")]),
        125,
        why,
    );
    is(&device.say(&["run", "-d", "hello-v1"]), 125, why);
    is(&device.say(&["replace", "--apart", "hello-v1"]), 125, why);
    device.network(true);
    is(&device.pull("hello-v1"), 125, why);
    // Lists add up, also an older one that comes later, and a set.
    take(&list(3, &[&v2.digest], &[&v1.digest]));
    is(&device.run("hello-v1"), 125, why);
    is(&device.pull("hello-v2"), 125, "release set 3 has revoked");
    take(&list(6, &[], &[&v1.digest]));
    is(&device.run("hello-v1"), 0, "0123");
    is(&device.pull("hello-v2"), 125, "release set 3 has revoked");
    let (_, status) = fleet.json(&["set", "status"]);
    assert_eq!(
        status["revoked"],
        json!([{ "digest": v2.digest, "number": 3 }])
    );
    // A list is no set.
    let digest = fleet.release(&list(7, &[&v1.digest], &[]), 1);
    is(&fleet.take(&digest), 0, "");
    is(
        &device.say(&["set", "commit", digest.hex()]),
        125,
        "is not on this device",
    );
    // Revocations outlive the key.
    let anchors = device.path("etc/edge-ai/container-config");
    fs::remove_file(anchors.join("set-signing-0.pub")).unwrap();
    is(&device.run("hello-v1"), 125, "release set 7 has revoked");
}

#[test]
fn an_image_of_a_revoked_index_does_not_start_either() {
    let fleet = Fleet::new(1);
    fleet.policy(&json!({ "run": "any", "sets": { "threshold": 1 }, "engineer": "debug" }));
    let device = &fleet.device;
    let child = device.put("child");
    let size = device.server.manifest(child.as_str()).unwrap().len();
    let index = json!({ "schemaVersion": 2, "mediaType": pulled::INDEX, "manifests": [
        { "mediaType": pulled::OCI, "digest": child, "size": size, "platform": {
            "os": "linux", "architecture": edge_signature::architecture() } }] });
    let index = index.to_string();
    let server = &device.server;
    let index = server.put_manifest("hello-v1", pulled::INDEX, index.as_bytes());
    device.sign(&index, 1, Format::V2);
    is(&device.pull("hello-v1"), 0, "");
    for (number, digest) in [&index, &child].into_iter().enumerate() {
        let number = 2 * number as u64 + 1;
        is(&device.run("hello-v1"), 0, "0123");
        is(
            &fleet.take(&fleet.release(&list(number, &[digest], &[]), 1)),
            0,
            "",
        );
        is(&device.run("hello-v1"), 125, "has revoked");
        is(&device.pull("hello-v1"), 125, "has revoked");
        is(
            &fleet.take(&fleet.release(&list(number + 1, &[], &[digest]), 1)),
            0,
            "",
        );
    }
}

#[test]
fn damage_refuses_until_it_is_repaired() {
    let fleet = Fleet::new(1);
    fleet.policy(&json!({ "run": "any", "sets": { "threshold": 1 }, "engineer": "debug" }));
    let device = &fleet.device;
    let (v1, v2) = (fleet.app("v1", 1), fleet.app("v2", 2));
    is(&device.pull("hello-v2"), 0, "");
    let mut with_revoked = set(7, vec![v2.clone()]);
    with_revoked.revoked = vec![v1.digest.clone()];
    let digest = fleet.release(&with_revoked, 1);
    is(&fleet.take(&digest), 0, "");
    is(&device.say(&["set", "commit", digest.hex()]), 0, "");
    let files = SETS.map(|directory| device.path(directory).join("record"));
    fs::write(&files[0], "{").unwrap();
    is(
        &device.run("hello-v2"),
        0,
        "one of the two files is damaged",
    );
    fs::write(&files[1], "{").unwrap();
    is(&device.run("hello-v2"), 125, "set repair");
    is(&fleet.take(&digest), 125, "set repair");
    is(
        &device.say(&["set", "repair"]),
        0,
        "lowest number 7, 1 digests",
    );
    is(&device.run("hello-v2"), 0, "0123");
    is(&device.pull("hello-v1"), 125, "has revoked");
    let earlier = fleet.release(&set(6, vec![v2]), 1);
    fleet.refused(&earlier, "floor");
    let proof = fleet.proofs().pop().unwrap();
    let valid = fs::read(&proof).unwrap();
    for damaged in [
        &b""[..],
        b"{}",
        &valid[..valid.len() - 2],
        &vec![b' '; 3_000_000],
    ] {
        fs::write(&proof, damaged).unwrap();
        is(
            &device.say(&["set", "show", digest.hex()]),
            125,
            "is damaged",
        );
        let (_, status) = fleet.json(&["set", "status"]);
        assert!(status["sets"][0]["problem"].is_string(), "{status}");
    }
    // A valid proof under the name of another set.
    let other = proof.with_file_name(format!("{}.json", "0".repeat(64)));
    fs::write(&other, &valid).unwrap();
    is(
        &device.say(&["set", "show", &"0".repeat(64)]),
        125,
        "is of another set",
    );
    fs::remove_file(&other).unwrap();
    is(&fleet.take(&digest), 0, "");
    is(&device.say(&["set", "show", digest.hex()]), 0, "");
}
