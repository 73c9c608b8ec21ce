//! Break-glass tickets: made, signed by a key on another machine or in KMS, handed over
//! by SSH, used and ended on a production device.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod project;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use edge_docker_policy::break_glass::BreakGlassTicket;
use edge_signature::Keys;
use edge_signature::dsse::Role;
use edge_sim::testbed::Cloud;
use project::Real;
use serde_json::{Value, json};

fn say(directory: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-app"));
    let output = command.args(args).current_dir(directory).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn a_ticket_is_made_and_signed_on_two_machines() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fs::write(directory.join("edge-app.yaml"), "registry: r.io/edge-ai\n").unwrap();
    assert_eq!(say(directory, &["keygen", "engineer.key"]).0, Some(0));
    let make = [
        "ticket",
        "make",
        "--app",
        "camera",
        "--thing",
        "edge-ai-s1",
        "--who",
        "anna",
        "--reason",
        "the picture is dark",
        "--out",
        "asked",
    ];
    let (code, text) = say(directory, &make);
    assert_eq!(code, Some(0), "{text}");
    let sign = ["ticket", "sign", "asked", "--out", "signed"];
    let (code, text) = say(directory, &sign);
    assert!(code == Some(3) && text.contains("engineer_key"), "{text}");
    let with_key = [&sign[..], &["--key", "engineer.key"]].concat();
    let (code, text) = say(directory, &with_key);
    assert_eq!(code, Some(0), "{text}");
    let keys = Keys::from_pems(&[fs::read(directory.join("engineer.key.pub")).unwrap()]).unwrap();
    let signed = fs::read(directory.join("signed")).unwrap();
    let opened = Role::Ticket.verify(&keys, &signed).unwrap();
    let ticket = BreakGlassTicket::parse(&opened.payload).unwrap();
    assert_eq!((ticket.app.as_str(), ticket.minutes), ("camera", 30));
    assert_eq!(opened.payload, fs::read(directory.join("asked")).unwrap());

    // Nothing that a device would refuse is signed.
    for bad in ["", "{}", &"x".repeat(9000)] {
        fs::write(directory.join("asked"), bad).unwrap();
        assert_ne!(say(directory, &with_key).0, Some(0), "{bad}");
    }
    let long = [&make[..], &["--minutes", "481"]].concat();
    assert_eq!(say(directory, &long).0, Some(2));
    let (code, text) = say(
        directory,
        &["ticket", "make", "--thing", "x", "--who", "a", "--out", "y"],
    );
    assert!(code == Some(1) && text.contains("app"), "{text}");
}

const THING: &str = "edge-ai-s1";
const PRODUCTION: &str = r#"{"sandbox":false,"run":"signed","engineer":"operate"}"#;

/// Device in the field that runs `hello`, with its project on a laptop.
fn device(cloud: &Cloud) -> Real<'_> {
    let real = Real::start(cloud);
    let config = json!({ "endpoint": "iot.test", "thing_name": THING,
        "cert_path": "/data/config/aws-iot/device.crt",
        "key_path": "/data/config/aws-iot/private.key", "ca_path": "/etc/edge-ai/ca" });
    let put = |path: &str, text: &str| {
        let path = real.device.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("/data/config/aws-iot/config.json", &config.to_string());
    put("/etc/edge-ai/container-config/policy.json", PRODUCTION);
    real.push("v1", "trap 'exit 0' TERM; while :; do sleep 0.1; done");
    let deploy = ["deploy", "hello", "jetson", "--version=v1"];
    real.project.succeeds(&deploy);
    real
}

/// Gives a command to edge-docker over SSH, as an engineer does.
fn edge_docker(real: &Real, command: &str) -> Output {
    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(real.device.ssh_config());
    ssh.args(["-l", "edge", "jetson"]);
    ssh.arg(format!("sudo -n /usr/bin/edge-docker {command}"));
    ssh.env_remove("SSH_AUTH_SOCK").output().unwrap()
}

fn refused(real: &Real, command: &str, why: &str) {
    let output = edge_docker(real, command);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(125), "{command}: {text}");
    assert!(text.contains(why), "{command}: {text}");
}

fn permitted(real: &Real, command: &str) -> String {
    let output = edge_docker(real, command);
    assert!(output.status.success(), "{command}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A ticket from an offline key: signed on a machine that reaches no device, sent by
/// one that has no key.
#[test]
fn a_signed_ticket_is_sent_used_and_ended() {
    let cloud = Cloud::up();
    let real = device(&cloud);
    let project = &real.project;
    let exec = "exec hello sh -c 'echo left >/left'";
    refused(&real, exec, "need the level `debug`");
    project.succeeds(&[
        "ticket",
        "make",
        "--app=hello",
        "--who=anna",
        "--reason=the picture is dark",
        "--thing",
        THING,
        "--out=made",
    ]);
    let key = cloud.file("engineer.key");
    let key = key.to_str().unwrap();
    project.succeeds(&["ticket", "sign", "made", "--key", key, "--out=signed"]);
    let send = ["ticket", "send", "jetson", "signed"];
    let output = project.succeeds(&send);
    assert!(
        output.contains("debug on the containers of hello"),
        "{output}"
    );
    let status = || project.succeeds(&["ticket", "status", "jetson"]);
    assert!(status().contains("by anna"), "{}", status());
    permitted(&real, exec);
    let marked = permitted(&real, "exec hello sh -c 'read line </left; echo $line'");
    assert_eq!(marked, "left\n");
    let format = "{{index .Config.Labels \\\"edge.digest\\\"}}";
    let digest = permitted(&real, &format!("inspect -f \"{format}\" hello"));
    let image = format!("{}@{}", project.registry, digest.trim());
    permitted(&real, &format!("run -d --name probe -e A=b {image}"));
    refused(&real, "exec --privileged hello sh", "--privileged");
    refused(&real, "run -d sandbox/other", "sandbox");
    let again = ["ticket", "send", "jetson", "signed"];
    project.fails(&again, 6, "is in effect until");

    assert!(
        project
            .succeeds(&["ticket", "end", "jetson"])
            .contains("ended")
    );
    refused(&real, exec, "need the level `debug`");
    assert_eq!(permitted(&real, "ps -a --format {{.Names}}"), "hello\n");
    assert_eq!(real.version(), "v1");
    let changed = real
        .device
        .command("docker")
        .args(["diff", "hello"])
        .output();
    let changed = String::from_utf8(changed.unwrap().stdout).unwrap();
    assert!(!changed.contains("left"), "{changed}");
    project.fails(&send, 6, "valid once");
    assert!(status().contains("no ticket"), "{}", status());
    let ended = project.succeeds(&["ticket", "end", "jetson"]);
    assert!(ended.contains("no ticket"), "{ended}");
    recorded(&real);
}

/// The ledger of the device names the ticket, who asked and what was done under it.
fn recorded(real: &Real) {
    let mut ledger = real.device.command("edge-docker");
    let ledger = ledger.args(["ledger", "--json"]).output().unwrap().stdout;
    let ledger = String::from_utf8(ledger).unwrap();
    let records = ledger
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap());
    let under: Vec<_> = records
        .filter(|r| r["verdict"] == "allowed" && !r["who"]["ticket"].is_null())
        .map(|r| r["verb"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(under, ["exec", "exec", "run"], "{ledger}");
    for verb in ["ticket", "ticket end"] {
        let line = format!("\"verb\":\"{verb}\"");
        assert!(ledger.contains(&line), "{verb}: {ledger}");
    }
    assert!(ledger.contains("the picture is dark"), "{ledger}");
}

/// One command makes, signs and hands over a ticket, with the key in KMS.
#[test]
fn kms_signs_a_ticket_for_the_device_that_is_asked() {
    let cloud = Cloud::with(&[]);
    let mut real = device(&cloud);
    real.project.variables.extend([
        ("AWS_ENDPOINT_URL", cloud.value("aws_endpoint")),
        ("AWS_REGION", "eu-central-1".into()),
        ("AWS_ACCESS_KEY_ID", "test".into()),
        ("AWS_SECRET_ACCESS_KEY", "test".into()),
    ]);
    let project = &real.project;
    let ticket = |more: &[&'static str]| {
        let asked = ["ticket", "jetson", "--who=anna", "--reason=the lens"];
        [&asked[..], more].concat()
    };
    project.fails(&ticket(&["--app=hello"]), 3, "engineer_key");
    project.set("engineer_key", json!({ "kms": "edge-engineer-signing" }));
    project.fails(
        &ticket(&["--app=hello", "--thing=edge-ai-s2"]),
        6,
        "this device is edge-ai-s1",
    );
    let output = project.succeeds(&ticket(&["--app=*", "--minutes=480"]));
    assert!(
        output.contains("debug on the containers of all"),
        "{output}"
    );
    permitted(&real, "exec hello sh -c :");
    project.succeeds(&["ticket", "end", "jetson"]);
    refused(&real, "exec hello sh -c :", "need the level `debug`");

    // The key of containers signs no ticket that a device takes.
    project.set("engineer_key", json!({ "kms": "edge-container-signing" }));
    project.fails(&ticket(&["--app=hello"]), 6, "not trusted");
    project.set("engineer_key", json!({ "kms": "absent" }));
    project.fails(&ticket(&["--app=hello"]), 7, "absent");
    refused(&real, "exec hello sh -c :", "need the level `debug`");
}
