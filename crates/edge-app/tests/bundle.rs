//! A release set and its images in a file: made from the registry, and loaded by a device
//! that has no login for it.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod project;

use std::fs;
use std::io::Write;
use std::process::Stdio;

use edge_signature::Digest;
use edge_sim::testbed::Cloud;
use project::{Real, shell};
use serde_json::{Value, json};

const SERVE: &str = "trap 'exit 0' TERM; sleep infinity & wait";
/// Sizes of the base and of the change, in bytes.
const BASE: usize = 300_000_000;
const CHANGE: usize = 200_000;

fn layer(name: &str, content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, content).unwrap();
    builder.into_inner().unwrap()
}

/// Gives the engine a version with these layers; it has the first `known` ones.
fn load(real: &Real, version: &str, layers: &[(Digest, &[u8])], known: usize) {
    let name = format!("{}:hello-{version}", real.project.registry);
    let digests: Vec<_> = layers.iter().map(|(digest, _)| digest).collect();
    let config = json!({
        "os": "linux", "architecture": "amd64",
        "config": { "Entrypoint": ["/bin/sh", "-c", SERVE] },
        "rootfs": { "type": "layers", "diff_ids": digests },
    });
    let names: Vec<_> = (0..layers.len()).map(|n| format!("{n}.tar")).collect();
    let contents = json!([{ "Config": "c.json", "RepoTags": [name], "Layers": names }]);
    let mut command = real.device.command("docker");
    command
        .arg("load")
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut builder = tar::Builder::new(child.stdin.take().unwrap());
    let mut add = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content).unwrap();
    };
    add("c.json", config.to_string().as_bytes());
    for (name, (_, content)) in names.iter().zip(layers).skip(known) {
        add(name, content);
    }
    add("manifest.json", contents.to_string().as_bytes());
    builder.into_inner().unwrap().flush().unwrap();
    assert!(child.wait().unwrap().success());
}

/// Runs edge-docker on the device; returns exit code and output.
fn on_device(real: &Real, args: &[&str], input: &[u8]) -> (i32, String) {
    let file = real.project.directory.path().join("input");
    fs::write(&file, input).unwrap();
    let mut command = real.device.command("edge-docker");
    let output = command
        .args(args)
        .stdin(fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(!text.contains("panicked"), "{text}");
    (output.status.code().unwrap(), text)
}

/// Lets the device take sets of one key.
fn trust(real: &Real, cloud: &Cloud) {
    let anchors = "/etc/edge-ai/container-config";
    let path = |name: &str| real.device.path(&format!("{anchors}/{name}"));
    fs::copy(cloud.value("set_pub"), path("set-signing.pub")).unwrap();
    let policy = fs::read(path("policy.json")).unwrap();
    let mut policy: Value = serde_json::from_slice(&policy).unwrap();
    policy["sets"] = json!({ "threshold": 1 });
    fs::write(path("policy.json"), policy.to_string()).unwrap();
    let identity = real.device.path("/data/config/aws-iot");
    fs::create_dir_all(&identity).unwrap();
    let config = json!({ "endpoint": "x.test", "thing_name": "edge-ai-1", "cert_path": "/x",
        "key_path": "/x", "ca_path": "/x" });
    fs::write(identity.join("config.json"), config.to_string()).unwrap();
}

fn docker(real: &Real, args: &[&str]) -> bool {
    let mut command = real.device.command("docker");
    command
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().unwrap().success()
}

/// Pushes v1, which the device runs, and v2, which adds a layer and which the device lacks.
fn push_both(real: &Real) {
    let project = &real.project;
    project.put("hello/app.yaml", r#"{"name":"hello"}"#);
    let (base, programs) = (layer("base", &vec![0; BASE]), shell());
    let mut random = vec![0; CHANGE];
    openssl::rand::rand_bytes(&mut random).unwrap();
    let change = layer("change", &random);
    let all = [&base, &programs, &change].map(|bytes| (Digest::of(bytes), bytes.as_slice()));
    load(real, "v1", &all[..2], 0);
    project.succeeds(&["push", "hello", "--version", "v1"]);
    project.succeeds(&["deploy", "hello", "jetson", "--version", "v1"]);
    project.put("report.json", &project.succeeds(&["status", "--json"]));
    load(real, "v2", &all, 2);
    project.succeeds(&["push", "hello", "--version", "v2"]);
    assert!(docker(real, &["rmi", "--force", &v2(real)]));
}

fn v2(real: &Real) -> String {
    format!("{}:hello-v2", real.project.registry)
}

/// Makes a bundle; returns what edge-app prints, and the file.
fn bundle(real: &Real, more: &[&str]) -> (Value, Vec<u8>) {
    let project = &real.project;
    let made = project.succeeds(&[&["bundle", "barn", "-o", "out", "--json"], more].concat());
    let made: Value = serde_json::from_str(&made).unwrap();
    let bytes = fs::read(project.directory.path().join("out")).unwrap();
    assert_eq!(made["bytes"], bytes.len());
    (made, bytes)
}

fn load_set(real: &Real, bytes: &[u8]) -> (i32, String) {
    on_device(real, &["set", "load", "-"], bytes)
}

fn refused(real: &Real, bytes: &[u8], why: &str) {
    let (code, text) = load_set(real, bytes);
    assert!(code == 125 && text.contains(why), "{code} {text}");
    assert!(!docker(real, &["image", "inspect", &v2(real)]), "{why}");
}

#[test]
fn a_small_change_is_a_small_bundle_that_a_device_loads_without_a_registry() {
    let cloud = Cloud::up();
    let real = Real::start(&cloud);
    push_both(&real);
    let project = &real.project;
    project.set("set_key", json!(cloud.value("set_key")));
    let group =
        json!({ "things": ["edge-ai-1"], "devices": ["jetson"], "apps": { "hello": "v2" } });
    project.set("groups", json!({ "barn": group }));
    project.fails(&["bundle", "barn", "-o", "x"], 3, "has no release set");
    project.succeeds(&["release", "barn", "--yes"]);
    let (whole, _) = bundle(&real, &[]);
    assert_eq!(
        (&whole["layers"], &whole["omitted"]),
        (&json!(3), &json!(0))
    );
    let (made, small) = bundle(&real, &["--since", "report.json"]);
    assert_eq!((&made["layers"], &made["omitted"]), (&json!(1), &json!(2)));
    println!(
        "a change of {CHANGE} bytes on {BASE}: {} bytes",
        small.len()
    );
    assert!(small.len() <= 250_000, "{}", small.len());
    for (report, why) in [
        ("[]", "reports no device"),
        ("{}", "not the output"),
        (r#"[{"device":"a","error":"x"}]"#, "did not report"),
    ] {
        project.put("bad.json", report);
        project.fails(
            &["bundle", "barn", "-o", "y", "--since", "bad.json"],
            3,
            why,
        );
        assert!(!project.directory.path().join("y").exists());
    }
    refused(&real, &small, "no set-signing*.pub");
    trust(&real, &cloud);
    let mut changed = small.clone();
    changed[small.len() - 50_000] ^= 1;
    refused(&real, &changed, "other content");
    refused(&real, &small[..small.len() - 100_000], "truncated");
    refused(&real, b"no bundle", "truncated");
    for _ in 0..2 {
        let (code, text) = load_set(&real, &small);
        assert_eq!(code, 0, "{text}");
    }
    // Without a login the registry would refuse.
    let hex = made["set"].as_str().unwrap().rsplit(':').next().unwrap();
    for verb in ["pull", "replace"] {
        let (code, text) = on_device(&real, &[verb, "--set", hex, "hello-v2"], b"");
        assert_eq!(code, 0, "{text}");
    }
    assert_eq!(real.version(), "v2");
}
