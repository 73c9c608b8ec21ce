//! An image that other tools pushed and signed, as docs/signatures.md says, on a
//! production device: the script has nothing in common with the code that verifies.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod project;

use std::fs;
use std::process::{Command, Output};

use edge_sim::testbed::Cloud;
use project::{Real, shell};
use serde_json::Value;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/other_tools.py");
const PRODUCTION: &str = r#"{"sandbox":false,"run":"signed","engineer":"operate"}"#;
const SPEC: &str = r#"{"app":"hello","command":["/bin/sh","-c","while :; do /bin/sleep 1; done"],"environment":{"MODE":"signed"},"restart":"unless-stopped","stop_signal":"KILL","user":"1234","v":1}"#;

/// Pushes and signs `version` of hello with these bytes as its run specification.
fn publish(real: &Real, version: &str, spec: &str, more: &[&str]) {
    let cloud = real.project.cloud;
    let directory = real.project.directory.path();
    real.project.put("run.json", spec);
    // Another image for each version.
    let mut layer = shell();
    layer.extend(vec![0; 512 * version.len()]);
    fs::write(directory.join("layer.tar"), layer).unwrap();
    let (host, name) = real.project.registry.split_once('/').unwrap();
    let port = host.split_once(':').unwrap().1;
    let mut script = Command::new("python3");
    script.arg(SCRIPT).current_dir(directory);
    script.args(["--url", &format!("https://localhost:{port}/v2/{name}")]);
    script.args(["--repository", &real.project.registry]);
    script.arg("--ca").arg(cloud.file("ca.pem"));
    script.args(["--password", &cloud.value("registry_password_file")]);
    script.arg("--key").arg(cloud.file("signing.key"));
    script.args(["--layer=layer.tar", "--run=run.json", "--app=hello"]);
    let number = version.trim_start_matches('v');
    script.args(["--version", version, "--number", number]);
    let output = script
        .args(more)
        .env_remove("HTTPS_PROXY")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn edge_docker(real: &Real, args: &[&str]) -> Output {
    let mut command = real.device.command("edge-docker");
    command.args(args).output().unwrap()
}

fn fails(real: &Real, version: &str, why: &str) {
    let output = edge_docker(real, &["replace", &format!("hello-{version}")]);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(125), "{version}: {text}");
    assert!(text.contains(why), "{version}: {text}");
}

#[test]
fn what_other_tools_signed_runs_as_it_was_signed() {
    let cloud = Cloud::up();
    let real = Real::start(&cloud);
    let policy = "/etc/edge-ai/container-config/policy.json";
    fs::write(real.device.path(policy), PRODUCTION).unwrap();
    let host = real.project.registry.split('/').next().unwrap();
    let login = format!(
        "printf %s {} | edge-docker login --username AWS --password-stdin {host}",
        cloud.password()
    );
    let mut shell = real.device.command("sh");
    assert!(shell.args(["-c", &login]).status().unwrap().success());

    publish(&real, "v1", SPEC, &[]);
    let output = edge_docker(&real, &["run", "hello-v1"]);
    assert!(output.status.success(), "{output:?}");
    let mut inspect = real.device.command("docker");
    let found = inspect.args(["inspect", "hello"]).output().unwrap().stdout;
    let found: Value = serde_json::from_slice(&found).unwrap();
    let config = &found[0]["Config"];
    assert_eq!(config["User"], "1234");
    assert!(
        config["Env"].to_string().contains("MODE=signed"),
        "{config}"
    );
    assert_eq!(config["Labels"]["edge.version"], "v1");
    assert_eq!(
        found[0]["HostConfig"]["RestartPolicy"]["Name"],
        "unless-stopped"
    );
    assert_eq!(real.version(), "v1");
    // What edge-app says about it.
    let verified = real.project.succeeds(&["verify", "hello", "--version=v1"]);
    assert!(verified.contains("run      sha256:"), "{verified}");

    // Not the canonical form, although the signature is good.
    for (version, spec) in [
        ("v2", SPEC.replace(",\"v\"", ", \"v\"")),
        ("v3", format!("{SPEC}\n")),
        ("v4", SPEC.replace("\"user\":\"1234\"", "\"user\":\"\"")),
        ("v5", SPEC.replace("\"v\":1", "\"v\":1,\"x\":1")),
        (
            "v6",
            SPEC.replace("{\"app\":\"hello\",", "{")
                .replace("\"v\":1", "\"v\":1,\"app\":\"hello\""),
        ),
        ("v7", SPEC.replace("\"hello\"", "\"other\"")),
    ] {
        assert_ne!(spec, SPEC);
        publish(&real, version, &spec, &[]);
        fails(&real, version, "run specification");
    }
    publish(
        &real,
        "v8",
        &SPEC.replace("1234", "1235"),
        &["--without-artifact"],
    );
    fails(&real, "v8", "run specification");
    // Grants that the signature does not state.
    let granted = SPEC.replace("\"restart\"", "\"grants\":[\"vpn\"],\"restart\"");
    publish(&real, "v9", &granted, &[]);
    fails(&real, "v9", "grant");
    assert_eq!(real.version(), "v1");
}
