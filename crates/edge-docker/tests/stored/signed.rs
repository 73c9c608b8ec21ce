//! Devices that run apps exactly as they were signed: what was edited while the device
//! was off is recreated from the signed specification.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use edge_docker_policy::run_spec::{RunSpec, SpecVolume};
use edge_signature::Digest;
use serde_json::{Value, json};

use crate::device::{self, Device, image::Image};
use crate::edited::entries;
use crate::edits::put;
use crate::{HOST, SELF};

pub const POLICY: &str = "/etc/edge-ai/container-config/policy.json";
pub const PRODUCTION: &[u8] = br#"{"sandbox":false,"run":"signed","engineer":"operate"}"#;
/// JSON pointers with their new values.
type Edits<'a> = &'a [(&'a str, Value)];

pub const ANY: &[u8] = br#"{"sandbox":true,"run":"any","engineer":"debug"}"#;

/// Specification of an app with a mount, which prints a line whenever it starts.
pub fn spec(app: &str) -> RunSpec {
    let mut spec = RunSpec::new(app);
    spec.command = ["sh", "-c", "echo started; exec sleep 1000"]
        .map(String::from)
        .into();
    spec.environment = [("MODE".into(), "signed".into())].into();
    spec.restart = "unless-stopped".into();
    spec.stop_grace_period = Some(0);
    spec.volumes = vec![SpecVolume {
        target: "/state".into(),
        ..SpecVolume::default()
    }];
    spec
}

pub fn sign(device: &Device, image: &Image, spec: &RunSpec) {
    device.sign_spec(&image.manifest, "v1", 1, spec);
}

/// Device with the running app `foo` under the policy of production.
fn production() -> (Device, String) {
    let mut device = Device::start();
    device.start_engine();
    let image = device.image("foo", 0);
    device.write(POLICY, PRODUCTION);
    sign(&device, &image, &spec("foo"));
    let id = device.good(&["edge-docker", "run", "foo-v1"]);
    (device, id)
}

pub fn inspect(device: &Device, name: &str) -> Value {
    let text = device.good(&["docker", "inspect", name]);
    serde_json::from_str::<Value>(&text).unwrap()[0].take()
}

fn file(device: &Device, id: &str, name: &str) -> PathBuf {
    device.path(&format!("/data/docker/containers/{id}/{name}"))
}

pub fn record(device: &Device, id: &str) -> PathBuf {
    device.path(&format!("/data/config/edge-docker/containers/{id}.json"))
}

pub fn edit(path: &PathBuf, edits: &[(&str, Value)]) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    for (pointer, new) in edits {
        put(&mut value, pointer, new.clone());
    }
    fs::write(path, value.to_string()).unwrap();
}

/// Starts the engine and what starts after it.
fn start(device: &mut Device) {
    device.start_engine();
    device.good(&["edge-docker", "replace", "--recover"]);
}

/// Asserts that `foo` runs in a new container with its signed settings; returns its ID.
fn recreated(device: &Device, old: &str, spec: &RunSpec) -> String {
    let container = inspect(device, "foo");
    assert_eq!(device.running(), ["foo"], "{container}");
    let id = container["Id"].as_str().unwrap().to_string();
    assert_ne!(id, old);
    let config = &container["Config"];
    assert_eq!(
        config["Cmd"],
        json!(["sh", "-c", "echo started; exec sleep 1000"])
    );
    let environment = config["Env"].to_string();
    assert!(environment.contains("MODE=signed") && !environment.contains("evil"));
    let digest = Digest::of(&spec.to_bytes().unwrap());
    assert_eq!(config["Labels"]["edge.run"], digest.as_str());
    assert_eq!(container["HostConfig"]["Memory"], 0);
    for directory in ["quarantine", "withheld"] {
        let path = device.path(&format!("/data/docker/{directory}"));
        assert!(entries(&path).is_empty(), "{directory}");
    }
    assert!(!record(device, old).exists());
    id
}

#[test]
fn what_differs_from_the_signature_is_recreated() {
    let (mut device, mut id) = production();
    device.stop_engine();
    device.start_engine();
    assert_eq!(
        inspect(&device, "foo")["Id"],
        id.as_str(),
        "an honest one stays"
    );
    let label = "/Config/Labels/edge.run";
    let evil = || json!(["MODE=evil", "PATH=/bin", "FROM_IMAGE=yes"]);
    let kinds: [[Edits; 3]; 6] = [
        // The record and the engine's files alike.
        [
            &[("/Env", json!(["MODE=evil"]))],
            &[("/Config/Env", evil())],
            &[],
        ],
        [
            &[("/Cmd", json!(["sh", "-c", "evil"]))],
            &[
                ("/Config/Cmd", json!(["sh", "-c", "evil"])),
                ("/Args", json!(["-c", "evil"])),
            ],
            &[],
        ],
        [
            &[("/HostConfig/Memory", json!(50_000_000))],
            &[],
            &[("/Memory", json!(50_000_000))],
        ],
        [
            &[("/Labels/edge.run", json!(""))],
            &[(label, json!(""))],
            &[],
        ],
        // One of them.
        [&[("/Env", json!(["MODE=evil"]))], &[], &[]],
        [&[], &[("/Path", json!("/bin/evil"))], &[]],
    ];
    for [requested, config, host] in kinds {
        device.stop_engine();
        edit(&record(&device, &id), requested);
        edit(&file(&device, &id, SELF), config);
        edit(&file(&device, &id, HOST), host);
        start(&mut device);
        id = recreated(&device, &id, &spec("foo"));
    }
    // Without a record, and without the labels that say what it is.
    device.stop_engine();
    fs::remove_file(record(&device, &id)).unwrap();
    edit(&file(&device, &id, SELF), &[("/Config/Labels", json!({}))]);
    start(&mut device);
    recreated(&device, &id, &spec("foo"));
}

#[test]
fn volumes_logs_and_deployments_follow() {
    let (mut device, id) = production();
    let volume = |container: &Value| {
        let points = container["Mounts"].as_array().unwrap().iter();
        let mut volumes = points.filter(|point| point["Type"] == "volume");
        volumes.next().unwrap()["Name"]
            .as_str()
            .unwrap()
            .to_string()
    };
    let old = volume(&inspect(&device, "foo"));
    let data = |name: &str| device.path(&format!("/data/docker/volumes/{name}/_data/kept"));
    fs::write(data(&old), "state").unwrap();
    let journal = json!({ "name": "foo", "phase": "switched", "image": "x", "fresh": true,
        "new": { "id": id, "running": false, "restart": { "Name": "unless-stopped" } },
        "old": null, "older": null });
    let path = "/data/config/edge-docker/switches/foo.json";
    device.write(path, journal.to_string().as_bytes());
    device.stop_engine();
    // The power fails before the container is recreated.
    edit(&record(&device, &id), &[("/Env", json!(["MODE=evil"]))]);
    device.start_engine();
    assert_eq!(device.running(), Vec::<String>::new());
    device.restart_after_power_loss();
    device.good(&["rm", "-f", "/run/docker.pid"]);
    device.start_plugin();
    start(&mut device);
    let new = recreated(&device, &id, &spec("foo"));
    let volume = volume(&inspect(&device, "foo"));
    assert_eq!(
        fs::read_to_string(device.path(&format!("/data/docker/volumes/{volume}/_data/kept")))
            .unwrap(),
        "state"
    );
    assert_eq!(device.json(path)["new"]["id"], new.as_str());
    let log = device.good(&["docker", "logs", "foo"]);
    assert!(
        log.lines().filter(|line| *line == "started").count() >= 2,
        "{log}"
    );
    // The layers of the old container are gone, but for the content of its own.
    let mounts = device.path(&format!("/data/docker/image/overlay2/layerdb/mounts/{id}"));
    assert!(!mounts.exists());

    // What was stopped stays stopped.
    device.good(&["edge-docker", "stop", "foo"]);
    device.stop_engine();
    edit(&record(&device, &new), &[("/Env", json!(["MODE=evil"]))]);
    start(&mut device);
    assert_eq!(device.running(), Vec::<String>::new());
    let container = inspect(&device, "foo");
    assert!(container["Id"] != new.as_str() && container["State"]["Status"] == "created");
}

/// Files of the engine that name another app's data must not make a repair take it away.
#[test]
fn a_recreated_container_takes_nothing_of_another_app() {
    let (mut device, foo) = production();
    device.write(POLICY, ANY);
    let image = device.image("bar", 8);
    device.write(POLICY, PRODUCTION);
    sign(&device, &image, &spec("bar"));
    let bar = device.good(&["edge-docker", "run", "bar-v1"]);
    let volume = |id: &str| {
        let config = device.json(&format!("/data/docker/containers/{id}/{SELF}"));
        config["MountPoints"]["/cache"]["Name"]
            .as_str()
            .unwrap()
            .to_string()
    };
    let (kept, own) = (volume(&bar), volume(&foo));
    let state = |name: &str| device.path(&format!("/data/docker/volumes/{name}/_data/kept"));
    fs::write(state(&kept), "of bar").unwrap();
    fs::write(state(&own), "of foo").unwrap();
    let state = state(&kept);
    // Also in files that the engine skips: it does not load the container.
    for created in [json!("2026-01-01T00:00:00Z"), json!(false)] {
        let id = inspect(&device, "foo")["Id"].as_str().unwrap().to_string();
        device.stop_engine();
        let source = format!("/data/docker/volumes/{kept}/_data");
        let point = "/MountPoints/~1cache";
        let edits = [
            (format!("{point}/Name"), json!(kept)),
            (format!("{point}/Source"), json!(source)),
            ("/Created".into(), created.clone()),
        ];
        let edits = edits.each_ref().map(|(at, new)| (at.as_str(), new.clone()));
        edit(&file(&device, &id, SELF), &edits);
        if created.is_string() {
            edit(&record(&device, &id), &[("/Env", json!(["MODE=evil"]))]);
        }
        start(&mut device);
        device::until("both", || {
            (device.running() == ["bar", "foo"]).then_some(())
        });
        assert_ne!(inspect(&device, "foo")["Id"], id.as_str());
        assert_eq!(inspect(&device, "bar")["Id"], bar.as_str());
        assert_eq!(fs::read_to_string(&state).unwrap(), "of bar");
        let mounts = inspect(&device, "foo")["Mounts"].to_string();
        assert!(!mounts.contains(&kept), "{mounts}");
    }
}

#[test]
fn a_program_in_the_top_layer_does_not_run_after_a_boot() {
    let (mut device, id) = production();
    let mount = format!("/data/docker/image/overlay2/layerdb/mounts/{id}/mount-id");
    let own = fs::read_to_string(device.path(&mount)).unwrap();
    let upper = |device: &Device| device.path(&format!("/data/docker/overlay2/{own}/diff"));
    for _ in 0..3 {
        device.stop_engine();
        let program = upper(&device).join("bin/sleep");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(
            &program,
            "#!/bin/sh\necho evil > /state/evil\nexec /bin/cat\n",
        )
        .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        device.restart_after_power_loss();
        device.start_plugin();
        start(&mut device);
        assert_eq!(inspect(&device, "foo")["Id"], id.as_str());
        device::until("foo", || (device.running() == ["foo"]).then_some(()));
        assert!(!upper(&device).join("bin/sleep").exists());
        assert!(!device.path("/data/apps/foo/evil").exists());
        let aside = entries(&device.path("/data/docker/emptied"));
        assert_eq!(aside.len(), 1, "the last one is kept: {aside:?}");
        assert!(aside[0].join(&id).join("bin/sleep").exists());
    }
    // Within a boot the layer stays: a container may be running in it.
    fs::write(upper(&device).join("written"), "by the app").unwrap();
    device.stop_engine();
    device.start_engine();
    assert!(upper(&device).join("written").exists());
}

#[test]
fn a_container_whose_layer_cannot_be_emptied_is_withheld() {
    let (mut device, id) = production();
    device.stop_engine();
    device.restart_after_power_loss();
    device.start_plugin();
    // As on a full disk, the content cannot be moved: a mount point is not renamed.
    let aside = "/data/docker/emptied/last";
    fs::create_dir_all(device.path(aside)).unwrap();
    device.good(&["mount", "-t", "tmpfs", "none", aside]);
    start(&mut device);
    assert_eq!(device.running(), [""; 0]);
    assert!(device.path("/data/docker/withheld").join(&id).exists());
    // The next boot has the space again.
    device.restart_after_power_loss();
    device.start_plugin();
    start(&mut device);
    device::until("foo", || (device.running() == ["foo"]).then_some(()));
    assert_eq!(inspect(&device, "foo")["Id"], id.as_str());
}

#[test]
fn a_container_with_grants_is_as_signed_everywhere() {
    let mut device = Device::start();
    device.write(
        "/etc/edge-ai/devices.json",
        br#"{ "grants": { "vpn": { "capabilities": ["NET_ADMIN"], "network": "host" } } }"#,
    );
    device.start_engine();
    let image = device.image("foo", 0);
    device.write(POLICY, ANY);
    let mut spec = spec("foo");
    spec.grants = vec!["vpn".into()];
    sign(&device, &image, &spec);
    let id = device.good(&["edge-docker", "run", "foo-v1"]);
    device.stop_engine();
    edit(
        &record(&device, &id),
        &[("/Cmd", json!(["ls"])), ("/Labels/edge.run", json!(""))],
    );
    let config = [
        ("/Config/Cmd", json!(["ls"])),
        ("/Path", json!("ls")),
        ("/Args", json!([])),
        ("/Config/Labels/edge.run", json!("")),
    ];
    edit(&file(&device, &id, SELF), &config);
    start(&mut device);
    recreated(&device, &id, &spec);
}
