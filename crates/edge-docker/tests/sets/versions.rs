//! Versions that a set names: what their own signatures say, also with a lower number.

use std::fs;

use edge_signature::Digest;
use edge_signature::set::SetApp;

use crate::fleet::{Fleet, set};
use crate::pulled::{Said, is};

/// Mistake in the entry of an app, and a part of the refusal.
type Wrong = (fn(&mut SetApp), &'static str);

fn pull(fleet: &Fleet, set: &Digest, tag: &str) -> Said {
    fleet.device.say(&["pull", "-q", "--set", set.hex(), tag])
}

fn take(fleet: &Fleet, number: u64, app: &SetApp) -> Digest {
    let digest = fleet.release(&set(number, vec![app.clone()]), 1);
    is(&fleet.take(&digest), 0, "");
    digest
}

#[test]
fn a_version_is_what_its_own_signature_says() {
    let fleet = Fleet::new(1);
    let v1 = fleet.app("v1", 1);
    let first = take(&fleet, 1, &v1);
    is(
        &pull(&fleet, &first, "hello-v1"),
        0,
        &format!("@{}", v1.digest),
    );
    is(&pull(&fleet, &first, "hello-v2"), 125, "names hello-v1");
    let other = ["pull", "-q", "--set", "x", "hello-v1"];
    is(&fleet.device.say(&other), 125, "is not the digest");
    let wrong: [Wrong; 3] = [
        (|app| app.serial = 9, "has release number 1"),
        (
            |app| app.run = Digest::of(b"other"),
            "another run specification",
        ),
        (|app| app.version = "v3".into(), "hello-v3"),
    ];
    for (number, (change, why)) in wrong.into_iter().enumerate() {
        let mut app = v1.clone();
        change(&mut app);
        let tag = app.tag();
        let digest = take(&fleet, 2 + number as u64, &app);
        is(&pull(&fleet, &digest, &tag), 125, why);
        for form in ["--apart", "--check"] {
            let replace = ["replace", form, "--set", digest.hex(), &tag];
            is(&fleet.device.say(&replace), 125, why);
        }
    }
}

#[test]
fn a_lower_number_needs_the_set_that_names_it() {
    let fleet = Fleet::new(1);
    let device = &fleet.device;
    let (v1, v2) = (fleet.app("v1", 1), fleet.app("v2", 2));
    let first = take(&fleet, 1, &v1);
    let path = device.path("data/config/edge-docker/serials");
    for directory in [path.clone(), path.with_file_name("serials-copy")] {
        fs::create_dir_all(&directory).unwrap();
        let record = r#"{"v":1,"highest":2,"allowed":[]}"#;
        fs::write(directory.join("hello"), record).unwrap();
    }
    is(&device.pull("hello-v1"), 125, "accepted release number 2");
    is(&pull(&fleet, &first, "hello-v1"), 0, "");
    // A pull accepts nothing for good.
    is(&device.pull("hello-v1"), 125, "accepted release number 2");
    let newest = take(&fleet, 9, &v2);
    is(&device.say(&["set", "commit", newest.hex()]), 0, "");
    is(&pull(&fleet, &first, "hello-v1"), 125, "below 9");
    is(&pull(&fleet, &newest, "hello-v2"), 0, "");
    let hex = newest.hex();
    for (words, why) in [
        (&["run", "--set", hex, "hello-v2"][..], "belongs to replace"),
        (
            &[
                "replace",
                "--apart",
                "--allow-downgrade",
                "--set",
                hex,
                "hello-v2",
            ],
            "exclude",
        ),
        (
            &["pull", "--allow-downgrade", "--set", hex, "hello-v2"],
            "exclude",
        ),
    ] {
        is(&device.say(words), 125, why);
    }
}
