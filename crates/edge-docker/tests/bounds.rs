//! Bounds of what containers may occupy, in a real engine with the configuration of the
//! image. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use std::fs;

use device::Device;
use edge_docker_policy::bounds::MAX_CONTAINERS;

#[test]
fn containers_mounts_and_labels_have_bounds() {
    let mut device = Device::start();
    device.start_engine();
    device.image("lamp", 10);
    let mounts: Vec<_> = (0..32).map(|n| format!("--tmpfs=/m{n}")).collect();
    let labels: Vec<_> = (0..64).map(|n| format!("--label=name{n}=value")).collect();
    let most: Vec<_> = mounts.iter().chain(&labels).map(String::as_str).collect();
    let run = |more: &[&'static str]| {
        let first = ["edge-docker", "run", "-d"];
        let last = ["sandbox/lamp:base", "sleep", "1000"];
        [&first[..], &most, more, &last].concat()
    };
    for more in [
        "--tmpfs=/one-more",
        "--mount=type=tmpfs,target=/one-more",
        "-v=/data/sandbox/lamp:/one-more",
        "--label=one-more",
    ] {
        let (code, printed) = device.bad(&run(&[more]));
        assert_eq!(code, 125, "{printed}");
        assert!(printed.contains("are accepted"), "{more}: {printed}");
    }
    let large = format!("--label=x={}", "x".repeat(4096));
    let image = "sandbox/lamp:base";
    assert_eq!(device.bad(&["edge-docker", "create", &large, image]).0, 125);

    // Exactly as many are accepted, by the boot audit, too.
    device.good(&run(&["--name=most", "--restart=always"]));
    let pid = device.good(&["edge-docker", "inspect", "--format={{.State.Pid}}", "most"]);
    let cgroup = device.good(&["cat", &format!("/proc/{pid}/cgroup")]);
    assert!(cgroup.contains("edge-apps.slice"), "{cgroup}");
    device.restart_after_power_loss();
    device.start_engine();
    assert_eq!(device.running(), ["most"]);

    // Directories of containers that the engine has not loaded count as well.
    let containers = device.path("/data/docker/containers");
    let fill: Vec<_> = (1..MAX_CONTAINERS)
        .map(|n| containers.join(format!("{n:064x}")))
        .collect();
    for directory in &fill {
        fs::create_dir(directory).unwrap();
    }
    let one = ["edge-docker", "run", "--rm", image, "ls", "/bin/sh"];
    let (code, printed) = device.bad(&one);
    assert_eq!(code, 125, "{printed}");
    assert!(printed.contains("at most 128"), "{printed}");
    fs::remove_dir(&fill[0]).unwrap();
    assert_eq!(device.good(&one), "/bin/sh");
    for directory in &fill[1..] {
        fs::remove_dir(directory).unwrap();
    }
}
