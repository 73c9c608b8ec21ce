//! Apps that run by their signed run specification on a device with the real engine, and
//! attempts to make such an app do something else.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

#[path = "signed_run/attempts.rs"]
mod attempts;
mod device;

use std::fs;

use device::image::Image;
use device::{Device, REPOSITORY, output_text};
use edge_docker_policy::run_spec::{RunSpec, SignedCommand, SpecVolume};
use edge_signature::{Annotations, Digest};
use serde_json::Value;

const POLICY: &str = "/etc/edge-ai/container-config/policy.json";
/// Grants of the board that work without hardware.
const GRANTS: &str = r#"{ "grants": {
    "vpn": { "capabilities": ["NET_ADMIN"], "network": "host" },
    "clock": { "mounts": [{ "source": "/etc/os-release", "target": "/etc/board" }] },
    "board": { "mounts": [{ "source": "/etc/docker/daemon.json", "target": "/etc/engine" }],
               "root": true } },
  "sandbox": ["clock", "board"] }"#;

/// Specification of the app `net`, which holds every grant of the board.
fn net() -> RunSpec {
    let mut spec = RunSpec::new("net");
    spec.grants = vec!["vpn".into(), "clock".into()];
    spec.environment = [("MODE".into(), "signed".into())].into();
    spec.restart = "unless-stopped".into();
    spec.volumes = vec![SpecVolume {
        target: "/state".into(),
        ..SpecVolume::default()
    }];
    let show = SignedCommand {
        run: vec!["ls".into()],
        args: 1,
        ..SignedCommand::default()
    };
    spec.commands = [("show".into(), show)].into();
    spec
}

/// Signs `image` as `app` of `version` with the specification `spec`.
fn sign(device: &Device, image: &Image, version: &str, spec: &RunSpec) {
    device.sign_spec(&image.manifest, version, 1, spec);
}

/// Device with the image of `app`, loaded while sandboxes are allowed, and with the policy
/// `policy` afterwards.
fn device(app: &str, policy: &str) -> (Device, Image) {
    let mut device = Device::start();
    device.write("/etc/edge-ai/devices.json", GRANTS.as_bytes());
    device.write("/etc/os-release", b"NAME=board\n");
    device.start_engine();
    let image = device.image(app, 0);
    device.write(POLICY, policy.as_bytes());
    (device, image)
}

fn inspect(device: &Device, name: &str) -> Value {
    let text = device.good(&["docker", "inspect", name]);
    serde_json::from_str::<Value>(&text).unwrap()[0].take()
}

const PRODUCTION: &str = r#"{"sandbox":false,"run":"signed","engineer":"operate"}"#;

#[test]
fn an_app_runs_as_it_was_signed_and_no_other_way() {
    let (device, image) = device("net", PRODUCTION);
    sign(&device, &image, "v1", &net());
    let id = device.good(&["edge-docker", "run", "net-v1"]);
    let container = inspect(&device, "net");
    assert_eq!(container["Id"], id.as_str());
    let host = &container["HostConfig"];
    assert_eq!(host["NetworkMode"], "host");
    assert_eq!(host["RestartPolicy"]["Name"], "unless-stopped");
    assert!(host["CapAdd"].to_string().contains("NET_ADMIN"), "{host}");
    let environment = container["Config"]["Env"].to_string();
    assert!(environment.contains("MODE=signed"), "{environment}");
    let digest = Digest::of(&net().to_bytes().unwrap());
    assert_eq!(container["Config"]["Labels"]["edge.run"], digest.as_str());

    // A second run changes nothing, and starts a container that was stopped.
    assert_eq!(device.good(&["edge-docker", "run", "net-v1"]), id);
    device.good(&["edge-docker", "stop", "-t", "0", "net"]);
    assert_eq!(device.good(&["edge-docker", "run", "net-v1"]), id);
    assert_eq!(device.running(), ["net"]);
    // The creation and the start of the stopped one: both are recorded.
    let ledger = device.good(&["edge-docker", "ledger", "--json"]);
    let records = ledger
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap());
    let runs = records.filter(|r| r["verb"] == "run" && r["verdict"] == "allowed");
    assert_eq!(runs.count(), 2, "{ledger}");

    let count = attempts::assert_refused(&device, &image.name, "without a ticket", |_| true);
    assert!(count >= 60, "{count} attempts");
}

#[test]
fn an_image_without_specification_holds_no_grants() {
    let any = r#"{"sandbox":true,"run":"any","engineer":"debug"}"#;
    let (device, image) = device("net", any);
    let annotations = Annotations {
        app: "net".into(),
        version: "v1".into(),
        release_number: 1,
        grants: vec!["vpn".into(), "clock".into()],
        run: None,
    };
    device.sign_specified(&image.manifest, &annotations, None);
    let tag = format!("{REPOSITORY}:net-v1");
    let (code, text) = device.bad(&["edge-docker", "run", "net-v1"]);
    assert!(
        code == 125 && text.contains("push the image again"),
        "{text}"
    );
    for option in [
        "--grant=vpn",
        "--cap-add=NET_ADMIN",
        "--network=host",
        "--grant=clock",
    ] {
        let (code, text) = device.bad(&["edge-docker", "run", "-d", option, &tag]);
        assert!(
            code == 125 && text.contains("push the image again"),
            "{text}"
        );
    }
    // Without grants, an image that was signed before specifications runs as ever.
    device.good(&[
        "edge-docker",
        "run",
        "-d",
        "--name",
        "net",
        "-e",
        "A=b",
        &tag,
    ]);

    // With a specification, options with grants are still refused, at every level.
    sign(&device, &image, "v2", &net());
    let tag = format!("{REPOSITORY}:net-v2");
    let (code, text) = device.bad(&["edge-docker", "run", "-d", "--grant=vpn", &tag]);
    assert!(
        code == 125 && text.contains("edge-docker run net-v2"),
        "{text}"
    );
    let (code, text) = device.bad(&["edge-docker", "run", "net-v2"]);
    assert!(
        code == 125 && text.contains("edge-docker replace"),
        "{text}"
    );
    device.good(&["edge-docker", "replace", "net-v2", "--timeout", "60"]);
    assert_eq!(inspect(&device, "net")["HostConfig"]["NetworkMode"], "host");
}

#[test]
fn an_edited_specification_is_not_the_signed_one() {
    let (device, image) = device("net", PRODUCTION);
    sign(&device, &image, "v1", &net());
    let path = format!(
        "/data/config/edge-docker/proofs/{}.json",
        image.manifest.digest.hex()
    );
    let signed = fs::read(device.path(&path)).unwrap();
    let mut other = net();
    other.entrypoint = Some(vec!["sh".into(), "-c".into(), "id".into()]);
    let mut cached: Value = serde_json::from_slice(&signed).unwrap();
    let exchange = |bytes: &[u8], cached: &mut Value| {
        cached["run"] = serde_json::json!([openssl::base64::encode_block(bytes)]);
        device.write(&path, cached.to_string().as_bytes());
        let output = device.run(&["edge-docker", "run", "net-v1"]);
        assert!(!output.status.success(), "{}", output_text(&output));
        assert_eq!(device.running(), Vec::<String>::new());
    };
    exchange(&other.to_bytes().unwrap(), &mut cached);
    exchange(b"", &mut cached);
    exchange(&vec![b'x'; 70_000], &mut cached);
    device.write(&path, &signed);
    device.good(&["edge-docker", "run", "net-v1"]);
}

/// Grants that amount to root need the board's table and the signature of the run
/// specification; `board` is such a grant.
#[test]
fn a_grant_that_is_root_needs_the_signer() {
    let any = r#"{"sandbox":true,"run":"any","engineer":"debug"}"#;
    let (mut device, image) = device("net", any);
    let mut spec = net();
    spec.grants.push("board".into());
    sign(&device, &image, "v1", &spec);
    let explained = device.good(&["edge-docker", "explain", &format!("{REPOSITORY}:net-v1")]);
    assert!(explained.contains("withheld  board"), "{explained}");
    let (code, text) = device.bad(&["edge-docker", "run", "net-v1"]);
    assert!(code == 125 && text.contains("root: [board]"), "{text}");
    // Another name in `root` is no consent to this one, nor is a sandbox ever one.
    spec.root = vec!["clock".into()];
    sign(&device, &image, "v2", &spec);
    let (code, text) = device.bad(&["edge-docker", "run", "net-v2"]);
    assert!(code == 125 && text.contains("root: [board]"), "{text}");
    for option in ["--grant=board", "--volume=/etc/docker/daemon.json:/x:ro"] {
        let args = ["edge-docker", "run", "-d", option, "sandbox/net:base"];
        let (code, text) = device.bad(&args);
        assert!(code == 125 && text.contains("refused"), "{option}: {text}");
    }
    assert_eq!(device.running(), Vec::<String>::new());

    spec.root = vec!["board".into()];
    sign(&device, &image, "v3", &spec);
    let reference = format!("{REPOSITORY}:net-v3");
    let explained = device.good(&["edge-docker", "explain", &reference]);
    assert!(explained.contains("ROOT      board"), "{explained}");
    device.write(POLICY, PRODUCTION.as_bytes());
    let id = device.good(&["edge-docker", "run", "net-v3"]);
    let mounts = inspect(&device, "net")["HostConfig"]["Mounts"].to_string();
    assert!(mounts.contains("/etc/docker/daemon.json"), "{mounts}");

    // The boot audit asks for the same consent: it keeps this container.
    device.stop_engine();
    device.start_engine();
    assert_eq!(inspect(&device, "net")["Id"], id.as_str());

    // A table that does not say that the grant is root runs nothing at all.
    let silent = GRANTS.replace(",\n               \"root\": true", "");
    assert_ne!(silent, GRANTS);
    device.write("/etc/edge-ai/devices.json", silent.as_bytes());
    device.good(&["edge-docker", "rm", "-f", "net"]);
    let (_, text) = device.bad(&["edge-docker", "run", "net-v3"]);
    assert!(text.contains("amounts to root"), "{text}");
    assert_eq!(device.running(), Vec::<String>::new());
}

#[test]
fn a_signed_deployment_again_changes_nothing() {
    let any = r#"{"sandbox":true,"run":"any","engineer":"debug"}"#;
    let (device, image) = device("net", any);
    let mut spec = net();
    // The program of the image has no handler for SIGTERM.
    spec.stop_signal = "KILL".into();
    sign(&device, &image, "v1", &spec);
    spec.environment = [("MODE".into(), "second".into())].into();
    let second = device.release("net", 2, &["sleep", "2000"], 0);
    sign(&device, &second, "v2", &spec);
    device.write(POLICY, PRODUCTION.as_bytes());
    let replace = |args: &[&str]| {
        let args = [&["edge-docker", "replace"], args, &["--timeout=20"]].concat();
        device.good(&args)
    };
    assert!(replace(&["net-v1"]).contains("net v1 runs: "));
    assert!(replace(&["net-v2"]).contains("net v2 runs: "));
    let ids = || ["net", "net-previous"].map(|name| inspect(&device, name)["Id"].to_string());
    let before = ids();
    let by_digest = format!("net-v2@{}", second.manifest.digest);
    for form in ["net-v2", &by_digest] {
        let output = replace(&[form]);
        assert_eq!(output, "net v2 runs already: nothing changed");
    }
    assert_eq!(ids(), before);
    let (code, text) = device.bad(&["edge-docker", "run", "--force", "net-v2"]);
    assert!(
        code == 125 && text.contains("--force belongs to replace"),
        "{text}"
    );

    // Another table of grants: the version is the same, what it gets is not.
    let table = GRANTS.replace("\"capabilities\": [\"NET_ADMIN\"], ", "");
    device.write("/etc/edge-ai/devices.json", table.as_bytes());
    assert!(replace(&["net-v2"]).contains("net v2 runs: "));
    let [changed, previous] = ids();
    assert!(changed != before[0] && previous == before[1]);
    assert!(replace(&["--force", "net-v2"]).contains("net v2 runs: "));
    let [forced, previous] = ids();
    assert!(forced != changed && previous == before[1]);
    device.good(&["edge-docker", "rollback", "net"]);
    assert_eq!(ids()[0], before[1]);
}
