//! Containers edited while the engine is down: the real engine's files, the real
//! audit, and what the engine starts afterwards.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod accepted;
mod clones;
#[path = "../device/mod.rs"]
mod device;
mod edited;
#[path = "../../../edge-docker-policy/tests/decision/edits.rs"]
mod edits;
mod kinds;
mod sandbox;
mod signed;
mod verdicts;

use std::fs;

use device::Device;
use device::image::Image;
use edited::{StoredContainer, tree};
use edits::put;
use serde_json::{Value, json};

const HOST: &str = "hostconfig.json";
const SELF: &str = "config.v2.json";

#[test]
fn an_edited_stored_container_does_not_start() {
    let mut device = Device::start();
    device.start_engine();
    let image = device.image("foo", 0);
    let mount = ["-v", "/data/apps/foo/state:/data", "-e", "A=b"];
    let honest = make(&device, "honest", &mount, &image.name);
    let edited = |n| make(&device, &format!("edited{n}"), &mount, &image.name);
    let edited: Vec<_> = (0..9).map(edited).collect();
    let sandbox = make(&device, "sandbox", &[], "sandbox/foo:base");
    device.stop_engine();
    one_by_one(&StoredContainer::of(&device, &honest), &honest);
    edit(&device, &edited);
    device.start_engine();
    honest_alone(&device, &image);
    device.stop_engine();

    // Where no sandboxes are allowed, one that was made before does not start.
    let policy = "/etc/edge-ai/container-config/policy.json";
    device.write(
        policy,
        br#"{"sandbox":false,"run":"any","engineer":"debug"}"#,
    );
    let (messages, kept) = StoredContainer::of(&device, &sandbox).audit();
    assert!(
        messages.contains("signed containers only") && !kept,
        "{messages}"
    );
    assert!(StoredContainer::of(&device, &honest).directory.exists());
}

/// The same manifest may be signed for several apps and versions: each container is judged
/// by the signature of its own, at its start and at boot.
#[test]
fn containers_of_one_manifest_keep_their_own_signatures() {
    let mut device = Device::start();
    device.start_engine();
    let manifest = device.image("foo", 0).manifest;
    let signed = [("foo", "v1", 2), ("foo", "v2", 2), ("bar", "v1", 3)];
    device.sign(&manifest, &signed);
    let names = signed.map(|(app, version, _)| format!("{app}-{version}"));
    let name = |tag: &str| format!("{}:{tag}@{}", device::REPOSITORY, manifest.digest);
    let ids = names
        .each_ref()
        .map(|tag| make(&device, tag, &[], &name(tag)));
    let refused = device.run(&["edge-docker", "run", "-d", &name("bar-v2")]);
    assert!(
        device::output_text(&refused).contains("tag bar-v2 is refused"),
        "{}",
        device::output_text(&refused)
    );
    let by_digest = format!("{}@{}", device::REPOSITORY, manifest.digest);
    let refused = device.run(&["edge-docker", "run", "-d", &by_digest]);
    let expected = "is ambiguous, because the image is signed as bar v1, foo v1, foo v2";
    assert!(
        device::output_text(&refused).contains(expected),
        "{}",
        device::output_text(&refused)
    );
    for tag in &names {
        device.good(&["edge-docker", "restart", "-t", "0", tag]);
    }
    device.stop_engine();
    let audit = StoredContainer::of(&device, &ids[0]).audit();
    assert_eq!(audit, (String::new(), true));
    for id in &ids {
        assert!(StoredContainer::of(&device, id).directory.exists(), "{id}");
    }
    // One of the signatures is gone: only its container is.
    device.sign(&manifest, &signed[..2]);
    let (messages, kept) = StoredContainer::of(&device, &ids[2]).audit();
    let expected = "is not signed as bar v1, only as foo v1, foo v2";
    assert!(messages.contains(expected) && !kept, "{messages}");
    for id in &ids[..2] {
        assert!(StoredContainer::of(&device, id).directory.exists(), "{id}");
    }
}

fn make(device: &Device, name: &str, more: &[&str], image: &str) -> String {
    let args = "edge-docker run -d --restart always --network none --name";
    let args: Vec<_> = args.split(' ').chain([name]).collect();
    device.good(&[&args[..], more, &[image]].concat())
}

fn one_by_one(container: &StoredContainer, id: &str) {
    let before = tree(&container.directory);
    let silence = (String::new(), true);
    assert_eq!(container.audit(), silence, "an honest one is left alone");
    assert_eq!(tree(&container.directory), before);
    kinds::values(container);
    kinds::texts_and_links(container);
    kinds::layers(container, id);
    kinds::records(container, id);
    kinds::both(container, id);
    kinds::state(container.device);
    assert_eq!(container.audit(), silence);
}

/// All at once.
fn edit(device: &Device, ids: &[String]) {
    let hosted = json!({ "Source": "/", "Destination": "/host", "RW": true, "Type": "bind" });
    let other = format!("sha256:{}", "a".repeat(64));
    for (id, (file, pointer, new)) in ids.iter().zip([
        (HOST, "/Privileged", json!(true)),
        (HOST, "/Binds", json!(["/:/host"])),
        (HOST, "/CapAdd", json!(["SYS_ADMIN"])),
        (HOST, "/PidMode", json!("host")),
        (HOST, "/MaskedPaths", json!([])),
        (SELF, "/Path", json!("/bin/sh")),
        (SELF, "/MountPoints/~1host", hosted),
        (SELF, "/Image", json!(other)),
        (SELF, "/Config/Entrypoint", json!(["/bin/sh"])),
    ]) {
        let path = StoredContainer::of(device, id).directory.join(file);
        let mut value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        put(&mut value, pointer, new);
        fs::write(&path, value.to_string()).unwrap();
    }
}

/// The engine starts what is left.
fn honest_alone(device: &Device, image: &Image) {
    device::until("what is honest", || {
        (device.running().len() >= 2).then_some(())
    });
    assert_eq!(device.running(), ["honest", "sandbox"]);
    let all = device.good(&["docker", "ps", "-a", "--format", "{{.Names}} {{.Image}}"]);
    assert!(
        !all.contains("edited") && all.contains(&image.id[7..19]),
        "{all}"
    );
    let kept = fs::read_dir(device.path("/data/docker/quarantine")).unwrap();
    assert_eq!(kept.count(), 9 + 7);
    // It has its directory, by its pin.
    device.write("/data/apps/foo/state/seen", b"");
    let listed = device.good(&["edge-docker", "exec", "honest", "ls", "/data"]);
    assert_eq!(listed, "seen");
    let (code, output) = device.bad(&["edge-docker", "audit-stored"]);
    assert!(
        code == 125 && output.contains("while the engine runs"),
        "{output}"
    );
}
