//! `why` and `ledger --since` on a device with a real engine. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use std::fs;

use device::{Device, until};

/// Returns the explanation of `lamp`, which must contain each of the texts.
fn why(device: &Device, texts: &[&str]) -> String {
    let output = device.good(&["edge-docker", "why", "lamp"]);
    for text in texts {
        assert!(output.contains(text), "{text}: {output}");
    }
    output
}

#[test]
fn an_app_explains_itself_from_its_first_deployment_to_an_engine_that_is_down() {
    let mut device = Device::start();
    device.start_engine();
    let (code, output) = device.bad(&["edge-docker", "why", "lamp"]);
    assert!(
        code == 1 && output.contains("no app lamp") && output.contains("edge-app deploy"),
        "{output}"
    );
    let image = device.image("lamp", 10).name;
    refused(&device, &image);
    sick(&device, &image);
    stopped(&device);
    device.stop_engine();
    let output = device.good(&["edge-docker", "why"]);
    assert!(
        output.contains("the container engine does not answer"),
        "{output}"
    );
    why(&device, &["no app runs", "next: restart the device"]);
}

const RUN: [&str; 5] = ["edge-docker", "run", "-d", "--name", "lamp"];

fn refused(device: &Device, image: &str) {
    device.bad(&[&RUN[..], &["--privileged", image]].concat());
    why(device, &["has no container"]);
    why(
        device,
        &[
            "refused at",
            "privileged",
            "next: edge-docker ledger --since",
        ],
    );
}

/// Runs the app until its health check has passed, and then failed.
fn sick(device: &Device, image: &str) {
    let health = [
        "--health-cmd",
        "test ! -e /tmp/sick || { echo no pulse; exit 1; }",
        "--health-interval=1s",
        "--health-retries=1",
    ];
    device.good(&[&RUN[..], &health, &[image]].concat());
    until("the first health check", || {
        let output = device.good(&["edge-docker", "why", "lamp"]);
        output.contains("lamp: v1 runs, healthy").then_some(())
    });
    assert_eq!(why(device, &[]).lines().count(), 1);
    device.good(&["edge-docker", "exec", "lamp", "sh", "-c", ": >/tmp/sick"]);
    until("a failed health check", || {
        let output = device.good(&["edge-docker", "why", "lamp"]);
        output
            .contains("its health check fails: no pulse")
            .then_some(())
    });
}

fn stopped(device: &Device) {
    device.good(&["edge-docker", "stop", "-t", "0", "lamp"]);
    why(
        device,
        &[
            "does not run",
            "it was stopped at",
            "next: edge-docker start lamp",
        ],
    );
    let records = device.good(&["edge-docker", "ledger", "--since", "1h"]);
    assert!(records.contains("allowed stop"), "{records}");
    assert_eq!(
        device.good(&["edge-docker", "ledger", "--since", "2999-01-01T00:00:00Z"]),
        ""
    );
    for bad in [
        "",
        "h",
        "1",
        "-1h",
        "1w",
        "99999999999999999999d",
        "yesterday",
        "1é",
    ] {
        let (code, output) = device.bad(&["edge-docker", "ledger", "--since", bad]);
        assert!(code == 125 && output.contains("--since"), "{bad}: {output}");
    }
}

#[test]
fn lists_name_app_and_version_and_keep_dockers_formats() {
    let mut device = Device::start();
    device.start_engine();
    let image = device.image("lamp", 10).name;
    device.good(&[&RUN[..], &[&image]].concat());
    device.good(&[
        "edge-docker",
        "run",
        "-d",
        "--name",
        "sand",
        "sandbox/lamp:base",
    ]);
    let list = device.good(&["edge-docker", "ps", "-a"]);
    let row = |name: &str| {
        let row = list.lines().find(|line| line.ends_with(name));
        row.unwrap_or_else(|| panic!("{list}")).to_string()
    };
    assert!(row("NAMES").contains("CONTAINER ID   IMAGE  "), "{list}");
    assert!(
        row(" lamp").contains("   lamp v1   ") && row(" sand").contains("sandbox/lamp:base"),
        "{list}"
    );
    assert!(
        device
            .good(&["edge-docker", "ps", "-s"])
            .contains("virtual")
    );
    let own = device.good(&[
        "edge-docker",
        "ps",
        "--format",
        "{{.Names}}",
        "--filter",
        "name=lamp",
    ]);
    assert_eq!(own, "lamp");
    let json = device.good(&["edge-docker", "images", "--format", "{{json .}}"]);
    let json: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(json["Repository"], "sandbox/lamp");
    let images = device.good(&["edge-docker", "images"]);
    assert!(images.contains("sandbox/lamp:base"), "{images}");
    // Without its name of the sandbox, as an image that was pulled by its digest.
    device.good(&["docker", "rmi", "-f", "sandbox/lamp:base"]);
    let images = device.good(&["edge-docker", "images"]);
    assert!(
        images.lines().any(|line| line.starts_with("lamp v1 ")),
        "{images}"
    );
    assert_eq!(device.good(&["edge-docker", "images", "-q"]).len(), 12);
    let (code, _) = device.bad(&["edge-docker", "images", "--filter", "bogus=1"]);
    assert_eq!(code, 1);
}

#[test]
fn the_boot_audit_and_the_generator_are_quoted() {
    let mut device = Device::start();
    device.start_engine();
    let image = device.image("lamp", 10).name;
    let id = device.good(&[
        "edge-docker",
        "run",
        "-d",
        "--restart=always",
        "--name",
        "lamp",
        &image,
    ]);
    device.stop_engine();
    let path = format!("/data/docker/containers/{id}/hostconfig.json");
    let mut host = device.json(&path);
    host["Privileged"] = true.into();
    fs::write(device.path(&path), host.to_string()).unwrap();
    device.start_engine();
    let output = why(
        &device,
        &["has no container", "quarantined its container at 20"],
    );
    assert!(output.contains("rivileged"), "{output}");
    let ledger = device.good(&["edge-docker", "ledger"]);
    assert!(
        ledger.contains("denied audit-stored") && ledger.contains("container lamp"),
        "{ledger}"
    );

    // As edge-generator writes it; its own test compares the form.
    let refusals =
        r#"{"v":1,"messages":["lamp.service: line 3: User= is refused","b.timer: odd"]}"#;
    device.write(
        "/run/systemd/generator/edge-refusals.json",
        refusals.as_bytes(),
    );
    why(
        &device,
        &["/data/services/lamp.service: line 3: User= is refused"],
    );
    let all = device.good(&["edge-docker", "why"]);
    assert!(all.contains("/data/services/b.timer: odd"), "{all}");

    // Whatever is damaged, the rest is explained.
    for broken in ["", "{", "[]", r#"{"messages":7}"#, &"x".repeat(600_000)] {
        device.write(
            "/run/systemd/generator/edge-refusals.json",
            broken.as_bytes(),
        );
        why(&device, &["quarantined"]);
    }
    fs::write(
        device.path("/data/log/ledger/00000001.ledger"),
        [0xff; 3000],
    )
    .unwrap();
    device.write("/etc/edge-ai/container-config/policy.json", b"{");
    why(&device, &["quarantined"]);
}
