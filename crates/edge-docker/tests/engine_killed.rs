//! Apps after the engine was killed, with the real engine. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use device::Device;
use serde_json::Value;

const RUN: [&str; 3] = ["edge-docker", "run", "-d"];
const SLEEP: [&str; 3] = ["sandbox/lamp:base", "sleep", "1000"];

fn device() -> Device {
    let mut device = Device::start();
    device.start_engine();
    device.image("lamp", 10);
    device
}

fn start(device: &Device, name: &str, policy: &str) {
    let named = [
        &format!("--name={name}")[..],
        &format!("--restart={policy}"),
    ];
    device.good(&[&RUN[..], &named, &SLEEP].concat());
}

/// Kills the engine, and returns once it has started again, as by its unit.
fn kill(device: &mut Device) {
    let pid = std::fs::read_to_string(device.path("/run/docker.pid")).unwrap();
    device.good(&["kill", "-KILL", pid.trim()]);
    device.wait_for_engine();
    device.start_engine();
}

fn recover(device: &Device) {
    device.good(&["edge-docker", "replace", "--recover"]);
}

fn marks(device: &Device) -> usize {
    let path = device.path("/data/config/edge-docker/interrupted");
    std::fs::read_dir(path).map_or(0, Iterator::count)
}

#[test]
fn apps_run_again_after_kills_in_a_row() {
    let mut device = device();
    for policy in ["unless-stopped", "always", "on-failure", "no"] {
        start(&device, policy, policy);
    }
    for name in ["stopped", "killed", "removed"] {
        start(&device, name, "unless-stopped");
    }
    device.good(&["edge-docker", "stop", "-t", "0", "stopped"]);
    device.good(&["edge-docker", "kill", "killed"]);
    device.good(&["edge-docker", "rm", "-f", "removed"]);
    let expected = ["always", "on-failure", "unless-stopped"];
    for number in 0..4 {
        kill(&mut device);
        // Recovery does not come to its turn each time.
        if number % 3 == 2 {
            recover(&device);
            assert_eq!(device.running(), expected, "after kill {number}");
            assert_eq!(marks(&device), 0);
        }
    }
    recover(&device);
    assert_eq!(device.running(), expected);
    // A second run changes nothing.
    recover(&device);
    assert_eq!(device.running(), expected);
    let records = device.good(&["edge-docker", "ledger", "--json"]);
    let started = |line: &&str| {
        let record: Value = serde_json::from_str(line).unwrap();
        record["verb"] == "replace --recover" && record["container"] == "unless-stopped"
    };
    assert!(records.lines().filter(started).count() >= 2, "{records}");
}

#[test]
fn a_power_loss_before_the_recovery_loses_no_app() {
    let mut device = device();
    start(&device, "app", "unless-stopped");
    kill(&mut device);
    assert_eq!(
        device.running(),
        [""; 0],
        "this engine starts them by itself"
    );
    device.restart_after_power_loss();
    device.start_engine();
    assert_eq!(device.running(), [""; 0]);
    recover(&device);
    assert_eq!(device.running(), ["app"]);
}

#[test]
fn a_process_that_the_engine_left_is_replaced() {
    let device = device();
    start(&device, "app", "unless-stopped");
    start(&device, "other", "unless-stopped");
    let inspect = |name: &str, field: &str| {
        let format = format!("{{{{{field}}}}}");
        let found = device.good(&["docker", "inspect", name, "-f", &format]);
        found.trim().to_string()
    };
    device.good(&["mkdir", "-p", "/data/config/edge-docker/interrupted"]);
    // As the audit marks them; an engine that gives up too early leaves the process of one.
    for (name, run) in [
        ("app", inspect("app", ".State.StartedAt")),
        ("other", "2026".into()),
    ] {
        let path = device.path("/data/config/edge-docker/interrupted");
        std::fs::write(path.join(inspect(name, ".Id")), run).unwrap();
    }
    let runs = || ["app", "other"].map(|name| inspect(name, ".State.StartedAt"));
    let before = runs();
    recover(&device);
    let after = runs();
    assert_ne!(before[0], after[0]);
    assert_eq!(before[1], after[1]);
    assert_eq!(device.running(), ["app", "other"]);
    assert_eq!(marks(&device), 0);
}

#[test]
fn what_is_stopped_before_the_recovery_stays_stopped() {
    let mut device = device();
    for name in ["app-a", "app-b", "app-c", "app-d"] {
        start(&device, name, "unless-stopped");
    }
    kill(&mut device);
    assert_eq!(marks(&device), 4);
    device.good(&["edge-docker", "stop", "app-a"]);
    device.run(&["edge-docker", "kill", "app-b"]);
    device.good(&["edge-docker", "rm", "app-c"]);
    recover(&device);
    assert_eq!(device.running(), ["app-d"]);
    assert_eq!(marks(&device), 0);
    // An orderly end of the engine leaves no marks.
    device.stop_engine();
    device.start_engine();
    assert_eq!(
        (device.running(), marks(&device)),
        (vec!["app-d".into()], 0)
    );
}

#[test]
fn an_app_that_cannot_start_keeps_its_mark() {
    let mut device = device();
    start(&device, "app", "unless-stopped");
    start(&device, "other", "unless-stopped");
    kill(&mut device);
    let blocker = "cp /usr/bin/runc /run/runc && mount --bind /bin/false /usr/bin/runc || \
                   mount --bind /bin/false /usr/sbin/runc";
    device.good(&["sh", "-c", blocker]);
    let (code, text) = device.bad(&["edge-docker", "replace", "--recover"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("could not be recovered"), "{text}");
    assert_eq!(marks(&device), 2);
    device.good(&["sh", "-c", "umount /usr/bin/runc || umount /usr/sbin/runc"]);
    recover(&device);
    assert_eq!(device.running(), ["app", "other"]);
}
