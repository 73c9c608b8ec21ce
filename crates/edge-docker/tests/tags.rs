//! Tags and signatures: a registry, or a file on `/data`, that names another version or
//! another app.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod pulled;

use std::fs;

use edge_signature::{Digest, Format};
use pulled::{Device, OCI, annotations, is};

impl Device {
    /// Serves the manifest `digest` under another tag.
    fn serve_as(&self, tag: &str, digest: &Digest) {
        let bytes = self.server.manifest(digest.as_str()).unwrap();
        self.server.put_manifest(tag, OCI, &bytes);
    }

    fn sign_version(&self, digest: &Digest, app: &str, version: &str, number: u64) {
        self.sign_as(digest, Format::V2, &annotations(app, version, number));
    }

    fn tag_file(&self, tag: &str) -> std::path::PathBuf {
        self.path(&format!("data/config/edge-docker/tags/{tag}"))
    }
}

#[test]
fn a_registry_cannot_serve_another_version_or_app_under_a_tag() {
    let device = Device::new();
    let hello = device.push("hello-v1", 1, Format::V2);
    let other = device.put("other-v1");
    device.sign_version(&other, "other", "v1", 1);
    device.serve_as("hello-v2", &hello);
    device.serve_as("hello-v3", &other);
    for (tag, signed) in [("hello-v2", "hello v1"), ("hello-v3", "other v1")] {
        let expected = format!("tag {tag} is refused: the image is signed as {signed}");
        is(&device.run(tag), 125, &expected);
        is(&device.pull(tag), 125, &expected);
        is(
            &device.say(&["explain", &device.image(tag)]),
            125,
            &expected,
        );
        assert!(!device.engine.created());
        assert!(!device.tag_file(tag).exists());
    }
    // A tag beside a digest is a statement, too: it would be shown as the image's name.
    let named = |tag: &str| format!("{}@{hello}", device.image(tag));
    is(
        &device.say(&["run", "-d", &named("hello-v2")]),
        125,
        "tag hello-v2 is refused",
    );
    is(&device.say(&["run", "-d", &named("hello-v1")]), 0, "0123");
    let by_digest = format!("{}@{hello}", device.server.repository());
    is(&device.say(&["run", "-d", &by_digest]), 0, "0123");
    is(&device.run("hello-v1"), 0, "0123");
    device.network(false);
    is(
        &device.say(&["run", "-d", &named("hello-v2")]),
        124,
        "tag hello-v2 is refused",
    );
    is(&device.say(&["run", "-d", &named("hello-v1")]), 0, "0123");
    is(&device.say(&["run", "-d", &by_digest]), 0, "0123");
}

#[test]
fn an_edited_tag_on_the_device_is_noticed_and_repaired() {
    let device = Device::new();
    let old = device.push("hello-v1", 1, Format::V2);
    is(&device.pull("hello-v1"), 0, "");
    let new = device.push("hello-v2", 2, Format::V2);
    is(&device.pull("hello-v2"), 0, "");
    fs::write(device.tag_file("hello-v2"), old.as_str()).unwrap();
    device.network(false);
    device.engine.asked();
    is(&device.run("hello-v2"), 124, "tag hello-v2 is refused");
    assert!(!device.engine.created());
    device.network(true);
    is(&device.run("hello-v2"), 0, "0123");
    assert_eq!(
        fs::read_to_string(device.tag_file("hello-v2")).unwrap(),
        new.as_str()
    );
}

#[test]
fn one_image_of_two_apps_runs_as_either() {
    let device = Device::new();
    let digest = device.put("a-v1");
    device.serve_as("b-v1", &digest);
    device.sign_version(&digest, "a", "v1", 1);
    is(&device.pull("a-v1"), 0, "");
    device.sign_version(&digest, "b", "v1", 2);
    let by_digest = format!("{}@{digest}", device.server.repository());
    // Still unambiguous here, and no longer in the registry.
    is(&device.say(&["run", "-d", &by_digest]), 0, "0123");
    is(&device.pull("b-v1"), 0, "signed as b v1");
    device.network(false);
    for tag in ["a-v1", "b-v1"] {
        is(&device.run(tag), 0, "0123");
        let explained = device.say(&["explain", &device.image(tag)]);
        is(&explained, 0, &format!("app       {}\n", &tag[..1]));
    }
    let expected = "is ambiguous, because the image is signed as a v1, b v1";
    is(&device.say(&["run", "-d", &by_digest]), 125, expected);
    // A registry that shows only the second signature takes nothing from the first app.
    device.network(true);
    device
        .server
        .drop_manifest(&format!("sha256-{}.sig", digest.hex()));
    device.sign_version(&digest, "b", "v1", 3);
    is(&device.pull("b-v1"), 0, "");
    device.network(false);
    is(&device.run("a-v1"), 0, "0123");
    is(&device.run("b-v1"), 0, "0123");
}

#[test]
fn the_signature_says_whose_tag_it_is() {
    let device = Device::new();
    for (tag, app, version) in [("a-b-1", "a", "b-1"), ("a-b-2", "a-b", "2")] {
        let digest = device.put(tag);
        device.sign_version(&digest, app, version, 1);
        is(&device.run(tag), 0, "0123");
        let said = device.say(&["explain", &device.image(tag)]);
        is(&said, 0, &format!("app       {app}\nversion   {version}\n"));
    }
    let digest = device.put("a-b-3");
    device.sign_version(&digest, "a", "b-3", 2);
    device.sign_version(&digest, "a-b", "3", 2);
    is(
        &device.run("a-b-3"),
        125,
        "tag a-b-3 is ambiguous, because the image is signed as a b-3, a-b 3",
    );
}

#[test]
fn the_highest_release_number_of_a_version_counts() {
    for newer in [Format::V2, Format::V3] {
        let device = Device::new();
        let digest = device.put("hello-v1");
        let older = if newer == Format::V2 {
            Format::V3
        } else {
            Format::V2
        };
        device.sign_as(&digest, older, &annotations("hello", "v1", 1));
        device.sign_as(&digest, newer, &annotations("hello", "v1", 2));
        is(&device.run("hello-v1"), 0, "0123");
        is(
            &device.say(&["explain", &device.image("hello-v1")]),
            0,
            "release   2\n",
        );
    }
}

#[test]
fn a_cached_signature_of_an_earlier_version_stays_readable() {
    let device = Device::new();
    let digest = device.push("hello-v1", 1, Format::V2);
    is(&device.pull("hello-v1"), 0, "");
    let path = device.proof(&digest);
    let mut old: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(old["v"], 1);
    old.as_object_mut().unwrap().remove("v");
    let old = old.to_string();
    fs::write(&path, &old).unwrap();
    device.network(false);
    is(&device.run("hello-v1"), 0, "0123");
    // Reading does not rewrite it: the other version of the device image reads it, too.
    assert_eq!(fs::read_to_string(&path).unwrap(), old);
}

#[test]
fn a_signed_run_specification_is_fetched_and_kept() {
    let device = Device::new();
    let spec = br#"{"app":"hello","v":1}"#;
    let digest = device.put("hello-v1");
    let mut signed = annotations("hello", "v1", 1);
    signed.run = Some(Digest::of(spec));
    device.sign_as(&digest, Format::V2, &signed);
    let name = format!("run specification {}", Digest::of(spec));
    is(&device.pull("hello-v1"), 125, &format!("{name}: not found"));
    let path = format!("/blobs/{}", Digest::of(spec));
    let unavailable = move |r: &pulled::server::Request| r.path.ends_with(&path);
    let reply = || pulled::server::Reply::new(503, "");
    device.server.hook(move |r| unavailable(r).then(reply));
    is(&device.pull("hello-v1"), 124, "does not answer");
    assert!(!device.proof(&digest).exists());
    device.network(true);
    device.server.put_blob(spec);
    is(&device.pull("hello-v1"), 0, "");
    let path = device.proof(&digest);
    let mut kept: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    kept["run"] = serde_json::json!(["e30="]);
    fs::write(&path, kept.to_string()).unwrap();
    device.network(false);
    is(
        &device.run("hello-v1"),
        124,
        &format!("the {name} of hello v1 is missing"),
    );
    assert!(!device.engine.created());
}

/// The engine pushes a name, which another command may give to another image meanwhile: one
/// with labels that were not judged.
#[test]
fn a_push_reports_a_name_that_was_moved() {
    let device = Device::new();
    let name = device.image("hello-v1");
    let (judged, other) = (
        format!("sha256:{}", "1".repeat(64)),
        format!("sha256:{}", "2".repeat(64)),
    );
    let give = |id: &str| {
        let mut has = device.engine.has.lock().unwrap();
        has.insert(name.clone(), id.into());
    };
    let to = |id: &str| *device.engine.moved.lock().unwrap() = Some((name.clone(), id.into()));
    give(&judged);
    is(&device.say(&["push", &name]), 0, "Pushed");
    to(&judged);
    is(&device.say(&["push", &name]), 0, "Pushed");
    to(&other);
    let moved = "was moved to another image during the push: push it again";
    is(&device.say(&["push", &name]), 1, moved);
    is(&device.say(&["push", &name]), 0, "Pushed");
    // Nothing was judged, and there is an image in the end.
    device.engine.has.lock().unwrap().remove(&name);
    to(&other);
    is(&device.say(&["push", &name]), 1, moved);
}
