//! Pulls: what is asked, what is fetched, and why not.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod pulled;

use std::fs;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use edge_signature::{Digest, Format, architecture};
use pulled::server::Reply;
use pulled::{Device, INDEX, OCI, is};
use serde_json::json;

#[test]
fn an_index_is_pulled_by_its_child() {
    let device = Device::new();
    let child = device.put("child");
    let size = device.server.manifest(child.as_str()).unwrap().len();
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [
        { "mediaType": OCI, "digest": child, "size": size,
            "platform": { "os": "linux", "architecture": architecture() } }] });
    let bytes = index.to_string();
    let index = device
        .server
        .put_manifest("hello-v1", INDEX, bytes.as_bytes());
    is(&device.run("hello-v1"), 125, "no signature");
    device.sign(&index, 1, Format::V2);
    is(&device.pull("hello-v1"), 0, &format!("@{index}"));
    let asked = device.engine.asked();
    assert!(asked[0].ends_with(&format!("&tag={child}")), "{asked:?}");
    assert!(!device.engine.created());
    device.network(false);
    is(&device.run("hello-v1"), 0, "0123");
    let name = format!("{}@{index}", device.server.repository());
    is(&device.say(&["run", "-d", &name]), 0, "0123");
}

#[test]
fn why_it_is_not_pulled() {
    let device = Device::new();
    device.put("hello-v1");
    is(&device.pull("hello-v1"), 125, "no signature");
    is(&device.pull("hello-v9"), 125, "not found");
    for (status, code, wanted) in [
        (401, 124, "use edge-docker login"),
        (403, 124, "use edge-docker login"),
        (429, 124, "does not answer"),
        (500, 124, "does not answer"),
    ] {
        device.server.hook(move |_| Some(Reply::new(status, "")));
        is(&device.pull("hello-v1"), code, wanted);
    }
    device.network(true);
    let digest = device.push("hello-v2", 2, Format::V2);
    let evil = Digest::of(b"evil").to_string();
    let mut pulls = device.engine.pulls.lock().unwrap();
    pulls.insert(digest.to_string(), evil);
    drop(pulls);
    is(&device.pull("hello-v2"), 125, "is not the signed one");
    assert!(!device.proof(&digest).exists());
    let key = device.path("etc/edge-ai/container-config/container-signing-b.pub");
    fs::write(&key, "nonsense").unwrap();
    is(
        &device.pull("hello-v2"),
        1,
        "container-signing-b.pub: signing key: not a PEM public key",
    );
}

#[test]
fn an_untrusted_key_and_the_trusted_ones_are_named() {
    let device = Device::new();
    device.push("hello-v1", 1, Format::V2);
    let anchors = device.path("etc/edge-ai/container-config");
    let (old, new) = (anchors.join("container-signing.pub"), Device::new());
    // The key of the image has another purpose here: an engineer's.
    fs::copy(&old, anchors.join("engineer-signing.pub")).unwrap();
    let other = new.path("etc/edge-ai/container-config/container-signing.pub");
    fs::copy(other, &old).unwrap();
    let (code, text) = device.pull("hello-v1");
    let names = [
        "(engineer-signing.pub (",
        "which has another purpose); trusted: container-signing.pub (",
    ];
    assert!(
        code == 125 && names.iter().all(|n| text.contains(n)),
        "{code} {text}"
    );
    fs::remove_file(anchors.join("engineer-signing.pub")).unwrap();
    device.push("hello-v2", 2, Format::V3);
    let (code, text) = device.pull("hello-v2");
    let names = [", as the signature states); trusted: container-signing.pub ("];
    assert!(
        code == 125 && names.iter().all(|n| text.contains(n)),
        "{code} {text}"
    );
}

#[test]
fn two_pulls_at_once() {
    let device = Device::new();
    let digest = device.push("hello-v1", 1, Format::V2);
    let name = device.image("hello-v1");
    let pull = ["pull", "-q", &name];
    let both: Vec<_> = (0..2)
        .map(|_| device.command(&pull).spawn().unwrap())
        .collect();
    for mut child in both {
        assert!(child.wait().unwrap().success());
    }
    device.network(false);
    is(&device.run("hello-v1"), 0, "0123");
    let proofs = device.path("data/config/edge-docker/proofs");
    let names: Vec<_> = fs::read_dir(proofs)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, [format!("{}.json", digest.hex()).as_str()]);
}

/// Whoever may push moves the tag as soon as its signatures are asked for, and
/// then to something that is signed as well.
#[test]
fn a_tag_that_moves_meanwhile_brings_what_was_verified() {
    for signed in [false, true] {
        let device = Device::new();
        let old = device.push("hello-v1", 1, Format::V2);
        let new = device.put("hello-v2");
        if signed {
            device.sign(&new, 2, Format::V2);
        }
        let bytes = device.server.manifest(new.as_str()).unwrap();
        let (state, moved) = (
            std::sync::Arc::clone(&device.server.state),
            AtomicBool::new(false),
        );
        device.server.hook(move |request| {
            if !request.path.ends_with("/hello-v1") && !moved.swap(true, Ordering::Relaxed) {
                state.put_manifest("hello-v1", OCI, &bytes);
            }
            None
        });
        is(&device.pull("hello-v1"), 0, &format!("@{old}"));
        let asked = device.engine.asked();
        let fetched: Vec<_> = asked.iter().filter(|l| l.contains("fromImage")).collect();
        assert!(
            matches!(fetched[..], [one] if one.ends_with(&format!("&tag={old}"))),
            "{asked:?}"
        );
        // The next `run` holds to what this device took under that name.
        is(&device.run("hello-v1"), 0, "0123");
        assert_eq!(
            device.server.manifest("hello-v1").unwrap(),
            device.server.manifest(new.as_str()).unwrap(),
            "the tag was never moved"
        );
    }
}

/// One round trip for each manifest, list and signature that is read, none
/// twice and none besides.
#[test]
fn round_trips_of_a_pull() {
    const CLASSIC: [&str; 2] = ["manifests/hello-v1", "manifests/@.sig"];
    const BUNDLE: [&str; 2] = ["manifests/@", "blobs/@"];
    const LIST: &str = "referrers/@";
    for (format, lists, wanted) in [
        // The other format may have a newer signature.
        (
            Format::V2,
            true,
            [&CLASSIC[..], &["blobs/@", LIST]].concat(),
        ),
        (Format::V3, true, [&CLASSIC[..], &[LIST], &BUNDLE].concat()),
        // A registry without lists of referrers: the tag in their place.
        (
            Format::V3,
            false,
            [&CLASSIC[..], &[LIST, "manifests/@"], &BUNDLE].concat(),
        ),
    ] {
        let device = Device::new();
        let listed = &device.server.state.referrers;
        listed.store(lists, Ordering::Relaxed);
        device.push("hello-v1", 1, format);
        is(&device.pull("hello-v1"), 0, "");
        let asked = device.server.requests();
        let short: Vec<_> = asked.iter().map(|line| without_digest(line)).collect();
        assert_eq!(short, wanted, "{asked:?}");
        let (count, list) = (short.len(), short.join(", "));
        writeln!(std::io::stdout(), "{format:?}: {count} round trips: {list}").unwrap();
    }
}

/// `GET /v2/team/blobs/sha256:0123…?query` is `blobs/@`.
fn without_digest(line: &str) -> String {
    let path = line.strip_prefix("GET /v2/team/").unwrap();
    let path = path.split('?').next().unwrap();
    let Some((start, digest)) = path.split_once("sha256") else {
        return path.into();
    };
    [start, "@", &digest[65..]].concat()
}
