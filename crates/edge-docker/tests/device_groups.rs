//! Devices that a grant names, opened by an app that is not root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use device::image::Image;
use device::{Device, REPOSITORY};
use edge_docker_policy::run_spec::RunSpec;

/// Grant with a device node that only its group may open. A node that is not below `/dev`
/// amounts to root.
const TABLE: &str = r#"{ "grants": { "led": { "devices": ["/data/edge-led"], "root": true } } }"#;

/// Signs the image as an app of `version` that opens the device node and runs `command`.
fn sign(device: &Device, image: &Image, version: &str, command: &str) {
    let mut spec = RunSpec::new("lamp");
    spec.grants = vec!["led".into()];
    spec.root = spec.grants.clone();
    spec.user = "65534:65534".into();
    spec.restart = "always".into();
    let script = format!("echo on > /data/edge-led && {command}");
    spec.command = ["sh".into(), "-c".into(), script].into();
    device.sign_spec(&image.manifest, version, 1, &spec);
}

#[test]
fn an_app_without_root_opens_its_granted_device() {
    let mut device = Device::start();
    device.start_engine();
    let image = device.image("lamp", 10);
    device.write("/etc/edge-ai/devices.json", TABLE.as_bytes());
    // /dev is the one of this machine, so that the node is below /data. It is a node of
    // /dev/null, which the device cgroup permits to every container: only owner and
    // mode decide.
    device.good(&["mknod", "-m", "660", "/data/edge-led", "c", "1", "3"]);
    device.good(&["chown", "0:4242", "/data/edge-led"]);
    sign(&device, &image, "v1", "echo opened && sleep 1000");
    device.good(&["edge-docker", "run", "-d", "lamp-v1"]);
    device::until("the device opens", || {
        (device.good(&["docker", "logs", "lamp"]) == "opened").then_some(())
    });
    let reference = format!("{REPOSITORY}:lamp-v1");
    let explain = ["edge-docker", "explain", "run", "--user=65534"];
    let explained = device.good(&[&explain[..], &["--grant=led", &reference]].concat());
    assert!(explained.contains("4242"), "{explained}");
    // The group comes with the grant alone.
    let plain = device.good(&[&explain[..], &[&reference]].concat());
    assert!(!plain.contains("4242"), "{plain}");

    // The boot audit takes the stored container, and it still opens the device.
    device.restart_after_power_loss();
    device.start_engine();
    assert_eq!(device.running(), ["lamp"]);
    device::until("the device opens again", || {
        (device.good(&["docker", "logs", "lamp"]) == "opened\nopened").then_some(())
    });
}
