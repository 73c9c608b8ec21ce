//! Taking, showing and committing, and why not.

use std::fs;

use edge_signature::set::{ReleaseSet, Requires};
use serde_json::json;

use crate::fleet::{Fleet, set};
use crate::pulled::is;

#[test]
fn a_set_is_taken_shown_and_committed() {
    let fleet = Fleet::new(2);
    let device = &fleet.device;
    let digest = fleet.release(&set(7, vec![fleet.app("v1", 1)]), 2);
    let (code, taken) = fleet.json(&["set", "take", &fleet.reference(&digest)]);
    assert_eq!(code, 0, "{taken}");
    assert_eq!(taken["set"]["apps"][0]["name"], "hello");
    assert_eq!(taken["signers"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&taken["floor"], &taken["list"]),
        (&json!(0), &json!(false))
    );
    // Without a network, from the bytes.
    device.network(false);
    let (code, shown) = fleet.json(&["set", "show", digest.hex()]);
    assert_eq!((code, &shown), (0, &taken));
    is(
        &device.say(&["set", "show", digest.as_str()]),
        0,
        "hello v1",
    );
    is(
        &device.say(&["set", "commit", digest.hex()]),
        0,
        "set barn 7",
    );
    is(
        &device.say(&["set", "commit", digest.hex()]),
        0,
        "set barn 7",
    );
    let (_, status) = fleet.json(&["set", "status"]);
    assert_eq!(
        (&status["floor"], &status["threshold"]),
        (&json!(7), &json!(2))
    );
    assert_eq!(status["sets"][0]["committed"], true);
    is(&device.say(&["set", "status"]), 0, "below 7 are refused");
    is(
        &device.say(&["set", "take", &fleet.reference(&digest)]),
        124,
        "does not answer",
    );
}

#[test]
fn a_set_is_refused_with_the_kind_of_the_reason() {
    let fleet = Fleet::new(2);
    let device = &fleet.device;
    let app = fleet.app("v1", 1);
    let of = |change: fn(&mut ReleaseSet), number| {
        let mut set = set(number, vec![app.clone()]);
        change(&mut set);
        set
    };
    fleet.refused(&fleet.release(&of(|_| (), 1), 0), "signature");
    fleet.refused(&fleet.release(&of(|_| (), 2), 1), "signature");
    let expired = of(|set| set.expires = 1_000_000_000, 3);
    fleet.refused(&fleet.release(&expired, 2), "expired");
    let other = of(|set| set.things = vec!["other-*".into()], 4);
    fleet.refused(&fleet.release(&other, 2), "not-for");
    fleet.refused(&app.digest, "form");
    assert!(fleet.proofs().is_empty());
    let good = fleet.release(&of(|_| (), 9), 2);
    is(&fleet.take(&good), 0, "set barn 9");
    let earlier = fleet.release(&of(|_| (), 8), 2);
    is(&fleet.take(&earlier), 0, "set barn 8");
    is(&device.say(&["set", "commit", good.hex()]), 0, "");
    fleet.refused(&earlier, "floor");
    let (code, value) = fleet.json(&["set", "commit", earlier.hex()]);
    assert_eq!((code, &value["refused"]), (125, &json!("floor")));
    let mut revoking = of(|_| (), 10);
    revoking.apps = vec![fleet.app("v2", 2)];
    revoking.revoked = vec![app.digest.clone()];
    is(&fleet.take(&fleet.release(&revoking, 2)), 0, "set barn 10");
    fleet.refused(&fleet.release(&of(|_| (), 11), 2), "revoked");
    for (words, why) in [
        (&["set"][..], "take"),
        (&["set", "take"], "set takes"),
        (&["set", "take", "x"], "is named"),
        (&["set", "take", &device.image("set.barn.9")], "is named"),
        (
            &["set", "take", &format!("other.test/x@{good}")],
            "is named",
        ),
        (&["set", "show", "0123"], "is not the digest"),
        (&["set", "show", "../../../etc/passwd"], "is not the digest"),
        (&["set", "show", &"0".repeat(64)], "is not on this device"),
        (&["set", "frobnicate"], "set takes"),
    ] {
        is(&device.say(words), 125, why);
    }
}

#[test]
fn the_time_is_the_latest_that_is_known() {
    let fleet = Fleet::new(1);
    let device = &fleet.device;
    let mut soon = set(1, vec![fleet.app("v1", 1)]);
    soon.expires = 3_000_000_000;
    let digest = fleet.release(&soon, 1);
    is(&fleet.take(&digest), 0, "");
    let heartbeat = device.path("data/config/edge-heartbeat");
    fs::create_dir_all(&heartbeat).unwrap();
    let cloud = json!({ "v": 1, "unix": 3_000_000_001_u64 }).to_string();
    fs::write(heartbeat.join("cloud-time.json"), cloud).unwrap();
    fleet.refused(&digest, "expired");
    // It ends taking a set, not using it.
    is(&device.say(&["set", "show", digest.hex()]), 0, "");
    is(&device.say(&["set", "commit", digest.hex()]), 0, "");
    fs::remove_file(heartbeat.join("cloud-time.json")).unwrap();
    fs::write(device.path("etc/timestamp"), "20650124052001").unwrap();
    fleet.refused(&digest, "expired");
}

#[test]
fn roles_levels_and_absent_keys() {
    let fleet = Fleet::new(1);
    let device = &fleet.device;
    let anchors = device.path("etc/edge-ai/container-config");
    let digest = fleet.release(&set(7, vec![fleet.app("v1", 1)]), 1);
    // A key of another role signs no set, and a set key no image.
    let (own, other) = (
        anchors.join("set-signing-0.pub"),
        anchors.join("engineer-signing.pub"),
    );
    fs::rename(&own, &other).unwrap();
    is(&fleet.take(&digest), 125, "no set-signing*.pub");
    let (_, status) = fleet.json(&["set", "status"]);
    assert_eq!(status["enabled"], false);
    fs::copy(anchors.join("container-signing.pub"), &own).unwrap();
    is(&fleet.take(&digest), 125, "not trusted");
    fs::rename(&other, &own).unwrap();
    fleet.policy(&json!({ "engineer": "debug" }));
    is(&fleet.take(&digest), 125, "1 of 2 different keys");
    fleet.policy(&json!({ "sets": { "threshold": 1 } }));
    is(&fleet.take(&digest), 125, "needs the level `operate`");
    is(
        &device.say(&["set", "commit", digest.hex()]),
        125,
        "`operate`",
    );
    is(&device.say(&["set", "status"]), 0, "");
    fleet.policy(&json!({ "sets": { "threshold": 1 }, "engineer": "operate" }));
    is(&fleet.take(&digest), 0, "");
    is(&device.say(&["set", "show", digest.hex()]), 0, "");
    is(&device.say(&["set", "repair"]), 125, "`debug`");
    let ledger = device.say(&["ledger"]).1;
    assert!(
        ledger.contains("set take") && ledger.contains("set barn 7"),
        "{ledger}"
    );
    // What was verified once is verified again, with the keys of today.
    fs::copy(anchors.join("container-signing.pub"), &own).unwrap();
    is(
        &device.say(&["set", "show", digest.hex()]),
        125,
        "not trusted",
    );
}

#[test]
fn proofs_are_bounded_and_the_committed_one_stays() {
    let fleet = Fleet::new(1);
    let app = fleet.app("v1", 1);
    let mut digests = Vec::new();
    for number in 1..=12 {
        let mut set = set(number, vec![app.clone()]);
        set.requires = Requires {
            disk_mb: Some(number),
            ..Requires::default()
        };
        let digest = fleet.release(&set, 1);
        is(&fleet.take(&digest), 0, "");
        if number == 1 {
            is(&fleet.device.say(&["set", "commit", digest.hex()]), 0, "");
        }
        digests.push(digest);
    }
    assert_eq!(fleet.proofs().len(), 8);
    for (at, digest) in digests.iter().enumerate() {
        let code = fleet.device.say(&["set", "show", digest.hex()]).0;
        let is_kept = at == 0 || at >= 5;
        assert_eq!(code == 0, is_kept, "{at}");
    }
}
