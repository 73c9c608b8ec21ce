//! The example of Home Assistant under production policy: its run specification and its
//! signed commands, with an image of its own that behaves alike.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use std::fs;
use std::path::Path;

use device::{Device, output_text};
use edge_app_spec::Spec;
use edge_docker_policy::run_spec::RunSpec;
use edge_signature::Manifest;
use serde_json::json;

const POLICY: &str = "/etc/edge-ai/container-config/policy.json";
const DEVELOPMENT: &str = r#"{"sandbox":true,"run":"any","engineer":"debug"}"#;
const PRODUCTION: &str = r#"{"sandbox":false,"run":"signed","engineer":"operate"}"#;
const DOCKERFILE: &str = "FROM scratch\nCOPY busybox /bin/busybox\n\
    RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nENV PATH=/bin\n\
    COPY broker /bin/\nENTRYPOINT [\"/bin/broker\"]\n";
/// Simulated broker, with the commands of the example's program.
const BROKER: &str = r#"#!/bin/sh
case ${1:-start} in
start) echo "$BROKER_NAMES" >/data/names && exec sleep 100000 ;;
password) read -r secret && echo "$2:${#secret}" >>/data/passwords ;;
authority) echo CERTIFICATE ;;
check) [ -e /data/names ] ;;
esac
"#;

fn specification() -> RunSpec {
    let path = "../../docs/examples/home-assistant/app.yaml";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = fs::read_to_string(path).unwrap();
    Spec::parse(&text, "app.yaml", &|_| Ok(None))
        .unwrap()
        .run_spec()
}

/// Builds the image and signs it with the specification of the example.
fn install(device: &Device) {
    let busybox = fs::read("/bin/busybox").unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in [
        ("Dockerfile", DOCKERFILE.as_bytes()),
        ("broker", BROKER.as_bytes()),
        ("busybox", &busybox),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        archive.append_data(&mut header, name, content).unwrap();
    }
    let build = [
        "edge-docker",
        "build",
        "-q",
        "-t",
        "sandbox/home-assistant",
        "-",
    ];
    let output = device.feed(&build, &archive.into_inner().unwrap());
    assert!(output.status.success(), "{}", output_text(&output));
    let id = device.good(&[
        "docker",
        "image",
        "inspect",
        "-f",
        "{{.Id}}",
        "sandbox/home-assistant",
    ]);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": id, "size": 2 },
        "layers": [],
    });
    let manifest = Manifest::new(manifest.to_string().into_bytes());
    device.sign_spec(&manifest, "v1", 1, &specification());
}

#[test]
fn home_assistant_runs_under_production_policy() {
    let mut device = Device::start();
    device.write(POLICY, DEVELOPMENT.as_bytes());
    device.start_engine();
    install(&device);
    device.write(POLICY, PRODUCTION.as_bytes());
    device.good(&["edge-docker", "run", "home-assistant-v1"]);
    let exec = ["edge-docker", "exec", "home-assistant"];
    let password = [&exec[..], &["password", "homeassistant"]].concat();
    let output = device.feed(&password, b"correct horse\n");
    assert!(output.status.success(), "{}", output_text(&output));
    let passwords = fs::read(device.path("/data/apps/home-assistant/passwords"));
    assert_eq!(passwords.unwrap(), b"homeassistant:13\n");
    let authority = [&exec[..], &["authority"]].concat();
    assert_eq!(device.good(&authority), "CERTIFICATE");
    for other in [
        &["broker", "password", "x"][..],
        &["sh"],
        &["password"],
        &["password", "-c"],
        &["authority", "x"],
        &["cat", "/data/passwords"],
    ] {
        let (code, text) = device.bad(&[&exec[..], other].concat());
        assert_eq!(code, 125, "{other:?}: {text}");
    }
}
