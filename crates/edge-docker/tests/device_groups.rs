//! Devices that a grant names, opened by an app that is not root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use device::Device;

/// Grant of the sandbox, and a device node that only its group may open.
const TABLE: &str =
    r#"{ "grants": { "led": { "devices": ["/data/edge-led"] } }, "sandbox": ["led"] }"#;

#[test]
fn an_app_without_root_opens_its_granted_device() {
    let mut device = Device::start();
    device.start_engine();
    device.image("lamp", 10);
    device.write("/etc/edge-ai/devices.json", TABLE.as_bytes());
    // /dev is the one of this machine, so that the node is below /data. It is a node of
    // /dev/null, which the device cgroup permits to every container: only owner and
    // mode decide.
    device.good(&["mknod", "-m", "660", "/data/edge-led", "c", "1", "3"]);
    device.good(&["chown", "0:4242", "/data/edge-led"]);
    let run = ["edge-docker", "run", "--user=65534:65534", "--grant=led"];
    let image = ["sandbox/lamp:base", "sh", "-c"];
    let open = ["echo on > /data/edge-led && echo opened"];
    let opened = device.good(&[&run[..], &["--rm"], &image, &open].concat());
    assert_eq!(opened, "opened");
    let explained = device.good(&[&["edge-docker", "explain"], &run[1..], &image, &open].concat());
    assert!(explained.contains("4242"), "{explained}");
    // The group comes with the grant alone.
    let plain = [
        "edge-docker",
        "explain",
        "run",
        "--user=65534",
        "sandbox/lamp:base",
    ];
    assert!(!device.good(&plain).contains("4242"));

    // The boot audit takes the stored container, and it still opens the device.
    let stay = ["echo on > /data/edge-led && sleep 1000"];
    let kept = ["--detach", "--name=lamp", "--restart=always"];
    device.good(&[&run[..], &kept, &image, &stay].concat());
    device.restart_after_power_loss();
    device.start_engine();
    assert_eq!(device.running(), ["lamp"]);
}
