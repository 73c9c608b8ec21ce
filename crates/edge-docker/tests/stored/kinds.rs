//! Kinds of edits: one by one, each of them caught.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::device::{self, Device};
use crate::edited::StoredContainer;
use crate::edits::{self, put};
use crate::{HOST, SELF};

/// Lines of `tests/corpus/stored-edits.txt`.
pub fn values(container: &StoredContainer) {
    for edit in edits::corpus() {
        container.edited(edit.file, edit.pointer, edit.value, edit.rule);
    }
}

/// Files that are no JSON, or JSON that reads in two ways, and links.
pub fn texts_and_links(container: &StoredContainer) {
    for file in [HOST, SELF] {
        let path = container.directory.join(file);
        let original = fs::read_to_string(&path).unwrap();
        let doubled = original.replacen('{', r#"{"Privileged":true,"Privileged":false,"#, 1);
        let half = &original[..original.len() / 2];
        let twice = format!("{original}{{}}");
        for text in ["", "{", "null", "[]", half, &doubled, &twice] {
            container.overwritten(&path, text.as_bytes(), "");
        }
        fs::remove_file(&path).unwrap();
        container.caught(file, "reading");
        fs::write(&path, original).unwrap();
    }
    let hosts = container.directory.join("hosts");
    container.linked(&hosts, "/etc/shadow", "hosts is a link");
    // Another name of a file, on the file system of the engine's data.
    container.device.write("/data/docker/secret", b"secret");
    let original = fs::read(&hosts).unwrap();
    fs::remove_file(&hosts).unwrap();
    fs::hard_link(container.device.path("/data/docker/secret"), &hosts).unwrap();
    container.caught("hosts", "hosts is a link");
    fs::remove_file(&hosts).unwrap();
    fs::write(&hosts, original).unwrap();
    let shm = container.directory.join("mounts/shm");
    let _ = fs::remove_dir(&shm);
    symlink("/", &shm).unwrap();
    container.caught("mounts/shm", "shm is a link");
    fs::remove_file(&shm).unwrap();
}

/// What lies under the container.
pub fn layers(container: &StoredContainer, id: &str) {
    let data = |path: &str| container.device.path(&format!("/data/docker/{path}"));
    let mounts = data(&format!("image/overlay2/layerdb/mounts/{id}"));
    let own = fs::read_to_string(mounts.join("mount-id")).unwrap();
    let lower = data(&format!("overlay2/{own}/lower"));
    let link = data(&format!("overlay2/{own}-init/link"));
    let hosts = data(&format!("overlay2/{own}-init/diff/etc/hosts"));
    let other = format!("sha256:{}", "b".repeat(64));
    container.overwritten(&mounts.join("parent"), other.as_bytes(), "another image's");
    container.overwritten(&mounts.join("mount-id"), b"../../../..", "its own layer");
    container.overwritten(&mounts.join("init-id"), b"x-init", "its own layer");
    container.overwritten(&lower, b"l/../../../../..", "other layers");
    container.overwritten(&link, b"../../x", "leads elsewhere");
    container.overwritten(&hosts, b"1.2.3.4 x", "its first layer has /etc/hosts");
    for link in fs::read_to_string(lower).unwrap().split(':') {
        container.linked(
            &data(&format!("overlay2/{link}")),
            "../../../..",
            "leads elsewhere",
        );
    }
    let upper = data(&format!("overlay2/{own}/diff"));
    container.linked(&upper, "/data", "a link lies where");
}

/// What edge-docker wrote when it made the container.
pub fn records(container: &StoredContainer, id: &str) {
    let kept = |path: &str| {
        container
            .device
            .path(&format!("/data/config/edge-docker/{path}.json"))
    };
    let record = kept(&format!("containers/{id}"));
    let asked: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    let label = |name: &str| asked["Labels"][name].as_str().unwrap();
    let pins = kept(&format!("pins/{}", label("edge.pins")));
    let proof = kept(&format!(
        "proofs/{}",
        label("edge.digest").replace("sha256:", "")
    ));
    let proven = fs::read(&proof).unwrap();
    for (path, text) in [
        (&record, &b"{}"[..]),
        (&record, b""),
        (&proof, &proven[..proven.len() / 2]),
        (&proof, b"{}"),
        (&pins, b"{}"),
        (&pins, br#"{"folder":"/data/apps/other","below":["state"]}"#),
        (
            &pins,
            br#"{"folder":"/data/apps/foo","below":["../../.."]}"#,
        ),
        (
            &pins,
            br#"{"folder":"/data/config/edge-docker","below":[""]}"#,
        ),
    ] {
        container.overwritten(path, text, "");
    }
    let aside = container.device.path("/data/record");
    fs::copy(&record, &aside).unwrap();
    fs::remove_file(&record).unwrap();
    container.caught("no record", "edge-docker did not create it");
    fs::copy(&aside, &record).unwrap();
    // The app's directory became a link.
    let state = container.device.path("/data/apps/foo/state");
    container.linked(&state, "/", "its mounts");
}

/// Record and container agree, but the policy does not: both were edited.
pub fn both(container: &StoredContainer, id: &str) {
    let record = format!("/data/config/edge-docker/containers/{id}.json");
    let record = container.device.path(&record);
    let original = fs::read(&record).unwrap();
    let disk = json!([{ "PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda",
        "CgroupPermissions": "r" }]);
    for (pointer, new) in [
        ("/CapAdd", json!(["SYS_ADMIN"])),
        ("/NetworkMode", json!("host")),
        ("/Runtime", json!("nvidia")),
        ("/SecurityOpt", json!(["seccomp=unconfined"])),
        ("/Mounts/0/Source", json!("/")),
        ("/Mounts/0/Source", json!("/run/edge-docker/pins/../../..")),
        ("/Mounts/0/BindOptions/Propagation", json!("rshared")),
        ("/Sysctls", json!({ "kernel.domainname": "x" })),
        ("/Devices", disk),
    ] {
        let mut asked: Value = serde_json::from_slice(&original).unwrap();
        put(&mut asked, &format!("/HostConfig{pointer}"), new.clone());
        fs::write(&record, asked.to_string()).unwrap();
        container.edited(HOST, pointer, new, "");
        fs::write(&record, &original).unwrap();
    }
}

/// What else an engine starts by itself.
pub fn state(device: &Device) {
    let data = |path: &str| device.path(&format!("/data/docker/{path}"));
    fs::create_dir_all(data("volumes/evil/_data")).unwrap();
    fs::write(
        data("volumes/evil/opts.json"),
        r#"{"MountDevice":"/","MountOpts":"bind"}"#,
    )
    .unwrap();
    fs::create_dir_all(data("volumes/link")).unwrap();
    symlink("/", data("volumes/link/_data")).unwrap();
    fs::create_dir_all(data("volumes/plain/_data")).unwrap();
    fs::create_dir_all(data("plugins/0123")).unwrap();
    fs::write(data("plugins/0123/config.json"), "{}").unwrap();
    fs::write(data("swarm/docker-state.json"), "{}").unwrap();
    fs::create_dir_all(data("containers/not-hex")).unwrap();
    symlink("/", data("containers").join("c".repeat(64))).unwrap();
    // The engine would read it whole.
    let large = fs::File::create(data("image/overlay2/large")).unwrap();
    large.set_len(1 << 40).unwrap();
    let messages = device::output_text(&device.run(&["edge-docker", "audit-stored"]));
    for what in [
        "volume evil",
        "volume link",
        "plugin 0123",
        "swarm docker-state.json",
        "not-hex",
        "it is no file of the engine's, or oversized",
    ] {
        assert!(messages.contains(what), "{what}: {messages}");
    }
    assert_eq!(messages.lines().count(), 7, "{messages}");
    assert!(data("volumes/plain/_data").exists());
    fs::remove_dir_all(data("volumes/plain")).unwrap();
}
