//! Break-glass tickets on a device with the real engine: what they permit, what they do
//! not, and what is left after their end.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

#[path = "../signed_run/attempts.rs"]
mod attempts;
mod clock;
#[path = "../device/mod.rs"]
mod device;
mod killed;
mod refused;
#[allow(dead_code)]
#[path = "../ledger/test_root.rs"]
mod test_root;
mod tickets;

use std::process::{Child, Stdio};

use device::image::Image;
use device::{Device, REPOSITORY, until};
use edge_docker_policy::break_glass::TicketLevel;
use edge_docker_policy::run_spec::{RunSpec, SpecVolume};
use serde_json::Value;
use tickets::{Engineer, give, let_pass, ticket};

const POLICY: &str = "/etc/edge-ai/container-config/policy.json";
const PRODUCTION: &str = r#"{"sandbox":false,"run":"signed","engineer":"operate"}"#;
const GRANTS: &str = r#"{ "grants": {
    "vpn": { "capabilities": ["NET_ADMIN"], "network": "host" },
    "clock": { "mounts": [{ "source": "/etc/os-release", "target": "/etc/board" }] } },
  "sandbox": [] }"#;

/// Specification of an app; `net` holds every grant of the board.
fn spec(app: &str) -> RunSpec {
    let mut spec = RunSpec::new(app);
    if app == "net" {
        spec.grants = vec!["vpn".into(), "clock".into()];
    }
    spec.restart = "unless-stopped".into();
    spec.volumes = vec![SpecVolume {
        target: "/state".into(),
        ..SpecVolume::default()
    }];
    spec
}

/// Production device with these apps, version `v1` of each running.
fn device(apps: &[&str], engineer: &Engineer) -> (Device, Vec<Image>) {
    let mut device = Device::start();
    device.write("/etc/edge-ai/devices.json", GRANTS.as_bytes());
    device.write("/etc/os-release", b"NAME=board\n");
    engineer.install(&device);
    device.start_engine();
    let mut images = Vec::new();
    for (n, app) in apps.iter().enumerate() {
        let image = device.image(app, n * 8);
        device.sign_spec(&image.manifest, "v1", 1, &spec(app));
        images.push(image);
    }
    device.write(POLICY, PRODUCTION.as_bytes());
    for app in apps {
        device.good(&["edge-docker", "run", &format!("{app}-v1")]);
    }
    (device, images)
}

fn inspect(device: &Device, name: &str) -> Value {
    let text = device.good(&["docker", "inspect", name]);
    serde_json::from_str::<Value>(&text).unwrap()[0].take()
}

fn allowed(device: &Device, envelope: &[u8]) {
    let (code, text) = give(device, envelope);
    assert_eq!(code, 0, "{text}");
}

/// Service that ends tickets, as its path unit starts it.
fn waiter(device: &Device) -> Child {
    let mut command = device.command(&["edge-docker", "ticket", "wait"]);
    command.stdin(Stdio::null()).spawn().unwrap()
}

fn status(device: &Device) -> Value {
    let text = device.good(&["edge-docker", "ticket", "status", "--json"]);
    serde_json::from_str(&text).unwrap()
}

/// Names of all containers.
fn all(device: &Device) -> Vec<String> {
    let names = device.good(&["docker", "ps", "-a", "--format", "{{.Names}}"]);
    let mut names: Vec<_> = names.lines().map(String::from).collect();
    names.sort();
    names
}

#[test]
fn a_good_ticket_works_ends_by_itself_and_leaves_nothing() {
    let engineer = Engineer::new();
    let (device, _) = device(&["net", "other"], &engineer);
    let before = inspect(&device, "net");
    let tag = format!("{REPOSITORY}:net-v1");
    let run = ["edge-docker", "run", "-d", "--name", "probe", "--restart"];
    let run = [
        &run[..],
        &["always", "--grant=vpn", "-e", "A=b", &tag, "sleep", "900"],
    ]
    .concat();
    assert_eq!(device.bad(&run).0, 125);
    let envelope = engineer.ticket(&ticket(1, "net"));
    allowed(&device, &envelope);
    let mut waiter = waiter(&device);

    // Programs and options of the caller's choice, on this app alone.
    let exec = |line| device.good(&["edge-docker", "exec", "net", "sh", "-c", line]);
    exec("echo left >/tmp/left");
    exec("echo kept >/state/kept; echo kept >/cache/kept");
    let mut session = device.command(&["edge-docker", "exec", "net", "sleep", "7777"]);
    let mut session = session.spawn().unwrap();
    until("the session", || sleeps(&device, "7777").then_some(()));
    device.good(&[
        "sh",
        "-c",
        "cd /tmp && echo copied >copied && tar c copied | edge-docker cp - net:/state",
    ]);
    device.good(&run);
    assert_eq!(
        inspect(&device, "probe")["HostConfig"]["NetworkMode"],
        "host"
    );
    assert_refused(&device, &tag);
    let (code, text) = give(&device, &engineer.ticket(&ticket(2, "net")));
    assert!(code == 125 && text.contains("is in effect until"), "{text}");
    let shown = status(&device);
    assert_eq!(shown["ticket"]["reason"], "the camera is dark");
    assert_eq!(shown["thing"], "edge-ai-s1");

    let_pass(&device);
    assert_eq!(device.bad(&["edge-docker", "exec", "net", "ls"]).0, 125);
    assert!(waiter.wait().unwrap().success());
    assert!(!session.wait().unwrap().success());
    assert!(!sleeps(&device, "7777") && !sleeps(&device, "900"));
    assert_as_before(&device, &before);
    assert_eq!(device.bad(&run).0, 125);
    let (code, text) = give(&device, &envelope);
    assert!(code == 125 && text.contains("valid once"), "{text}");
    assert_eq!(status(&device)["ticket"], Value::Null);
    assert_eq!(status(&device)["ending"], false);
    assert!(!device.path("/run/edge-docker/break-glass-open").exists());
    assert_recorded(&device);
}

/// Commands that a ticket for `net` at `debug` does not permit.
fn assert_refused(device: &Device, tag: &str) {
    let other = format!("{REPOSITORY}:other-v1");
    for refused in [
        &["edge-docker", "exec", "other", "ls"][..],
        &["edge-docker", "cp", "-", "other:/state"],
        &["edge-docker", "cp", "-", "net:/etc"],
        &["edge-docker", "run", "-d", "-e", "A=b", &other],
        &["edge-docker", "run", "-d", "sandbox/net:base"],
        &["edge-docker", "build", "-t", "sandbox/net", "-"],
        &["edge-docker", "load"],
        &["edge-docker", "sync", "net"],
        &["edge-docker", "tag", "sandbox/net:base", "sandbox/net:x"],
        &["edge-docker", "exec", "--privileged", "net", "ls"],
        &["edge-docker", "run", "-d", "--privileged", tag],
        &["edge-docker", "run", "-d", "-v", "/etc:/etc", tag],
        &["edge-docker", "run", "-d", "--cap-add", "SYS_ADMIN", tag],
        &["edge-docker", "run", "-d", "-l", "edge.ticket=x", tag],
    ] {
        let (code, text) = device.bad(refused);
        assert_eq!(code, 125, "{refused:?}: {text}");
    }
}

/// After the end: the app `net` is what it was, and its state is there.
fn assert_as_before(device: &Device, before: &Value) {
    assert_eq!(all(device), ["net", "other"]);
    assert_eq!(device.running(), ["net", "other"]);
    let after = inspect(device, "net");
    assert_ne!(after["Id"], before["Id"]);
    for part in ["HostConfig", "Config"] {
        let mut parts = [before[part].clone(), after[part].clone()];
        for part in &mut parts {
            part["Mounts"] = Value::Null;
            part["Labels"]["edge.pins"] = Value::Null;
            part["Labels"]["edge.image"] = Value::Null;
            part["Hostname"] = Value::Null;
        }
        assert_eq!(parts[0], parts[1]);
    }
    let changed = device.good(&["docker", "diff", "net"]);
    assert!(!changed.contains("left"), "{changed}");
    // Mounts and volumes of the image are the app's state.
    assert_eq!(device.good(&["cat", "/data/apps/net/kept"]), "kept");
    assert_eq!(device.good(&["cat", "/data/apps/net/copied"]), "copied");
    let mounts = after["Mounts"].as_array().unwrap();
    let cache = mounts
        .iter()
        .find(|m| m["Destination"] == "/cache")
        .unwrap();
    let kept = format!("{}/kept", cache["Source"].as_str().unwrap());
    assert_eq!(device.good(&["cat", &kept]), "kept");
}

/// Returns whether the device has a process `sleep SECONDS`.
fn sleeps(device: &Device, seconds: &str) -> bool {
    device
        .run(&["pgrep", "-f", &format!("^sleep {seconds}$")])
        .status
        .success()
}

/// The ledger names taking, each command and the end.
fn assert_recorded(device: &Device) {
    let ledger = device.good(&["edge-docker", "ledger", "--json"]);
    let records: Vec<Value> = ledger
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let id = format!("{:032x}", 1);
    let under: Vec<_> = records
        .iter()
        .filter(|r| r["who"]["ticket"] == id.as_str() && r["verdict"] == "allowed")
        .map(|r| r["verb"].as_str().unwrap())
        .collect();
    assert_eq!(under, ["exec", "exec", "exec", "cp", "run"]);
    let verb = |verb: &str| {
        records
            .iter()
            .find(|r| r["verb"] == verb && r["verdict"] == "allowed")
    };
    let taken = verb("ticket").unwrap()["rule"].as_str().unwrap();
    assert!(
        taken.contains("by anna") && taken.contains("the camera is dark"),
        "{taken}"
    );
    let ended = verb("ticket end").unwrap()["rule"].as_str().unwrap();
    assert!(
        ended.contains(&id) && ended.contains("time has passed"),
        "{ended}"
    );
}

#[test]
fn a_ticket_for_all_apps_covers_none_that_holds_grants() {
    let engineer = Engineer::new();
    let (device, _) = device(&["net", "other"], &engineer);
    allowed(&device, &engineer.ticket(&ticket(1, "*")));
    device.good(&["edge-docker", "exec", "other", "ls"]);
    let [net, other] = ["net", "other"].map(|app| format!("{REPOSITORY}:{app}-v1"));
    device.good(&[
        "edge-docker",
        "run",
        "-d",
        "--name",
        "probe",
        "-e",
        "A=b",
        &other,
        "sleep",
        "900",
    ]);
    for refused in [
        &["edge-docker", "exec", "net", "ls"][..],
        &["edge-docker", "run", "-d", "--grant=vpn", &net],
        &["edge-docker", "create", "--network", "host", &net],
    ] {
        let (code, text) = device.bad(refused);
        assert_eq!(code, 125, "{refused:?}: {text}");
    }
    device.good(&["edge-docker", "ticket", "end"]);
    assert_eq!(all(&device), ["net", "other"]);
    assert_eq!(device.running(), ["net", "other"]);
    assert!(
        device
            .good(&["edge-docker", "ticket", "end"])
            .contains("no ticket")
    );
}

#[test]
fn an_app_whose_place_was_taken_returns() {
    let engineer = Engineer::new();
    let (device, _) = device(&["other"], &engineer);
    let other = format!("{REPOSITORY}:other-v1");
    allowed(&device, &engineer.ticket(&ticket(1, "other")));
    // `rm` needs no ticket here, but what takes the place does.
    device.good(&["edge-docker", "rm", "-f", "other"]);
    device.good(&[
        "edge-docker",
        "run",
        "-d",
        "--name",
        "other",
        "-e",
        "A=b",
        &other,
        "sleep",
        "900",
    ]);
    device.good(&["edge-docker", "ticket", "end"]);
    let container = inspect(&device, "other");
    assert!(
        container["Config"]["Labels"]["edge.run"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    assert_eq!(device.running(), ["other"]);

    // The same with a deployment of options.
    allowed(&device, &engineer.ticket(&ticket(2, "other")));
    let options = [
        "edge-docker",
        "replace",
        "other",
        "--timeout",
        "20",
        "-e",
        "A=b",
    ];
    device.good(&[&options[..], &[&other, "sleep", "900"]].concat());
    assert!(
        inspect(&device, "other")["Config"]["Env"]
            .to_string()
            .contains("A=b")
    );
    device.good(&["edge-docker", "ticket", "end"]);
    assert_eq!(all(&device), ["other"]);
    assert_eq!(inspect(&device, "other")["Id"], container["Id"]);
    assert_eq!(device.running(), ["other"]);
}

#[test]
fn an_operate_ticket_on_a_device_that_only_looks() {
    let engineer = Engineer::new();
    let (device, _) = device(&["net", "other"], &engineer);
    device.write(
        POLICY,
        br#"{"sandbox":false,"run":"signed","engineer":"look"}"#,
    );
    assert_eq!(device.bad(&["edge-docker", "stop", "other"]).0, 125);
    let mut operate = ticket(1, "other");
    operate.level = TicketLevel::Operate;
    allowed(&device, &engineer.ticket(&operate));
    device.good(&["edge-docker", "stop", "-t", "0", "other"]);
    device.good(&["edge-docker", "rm", "other"]);
    device.good(&["edge-docker", "run", "other-v1"]);
    for refused in [
        &["edge-docker", "stop", "net"][..],
        &["edge-docker", "rm", "-f", "net"],
        &["edge-docker", "run", "net-v1"],
        &["edge-docker", "rollback", "net"],
        &["edge-docker", "exec", "other", "ls"],
        &["edge-docker", "system", "prune", "-f"],
        &["edge-docker", "rmi", "-f", "sandbox/other:base"],
        &["edge-docker", "logout"],
        &["edge-docker", "replace", "--recover"],
    ] {
        let (code, text) = device.bad(refused);
        assert_eq!(code, 125, "{refused:?}: {text}");
    }
    device.good(&["edge-docker", "ticket", "end"]);
    assert_eq!(device.running(), ["net", "other"]);
    assert_eq!(device.bad(&["edge-docker", "stop", "other"]).0, 125);
}

#[test]
fn a_restart_ends_a_ticket() {
    let engineer = Engineer::new();
    let (mut device, _) = device(&["other"], &engineer);
    let other = format!("{REPOSITORY}:other-v1");
    let envelope = engineer.ticket(&ticket(1, "other"));
    allowed(&device, &envelope);
    device.good(&[
        "edge-docker",
        "exec",
        "other",
        "sh",
        "-c",
        "echo left >/tmp/left",
    ]);
    let run = [
        "edge-docker",
        "run",
        "-d",
        "--name",
        "probe",
        "--restart",
        "always",
        "-e",
    ];
    device.good(&[&run[..], &["A=b", &other, "sleep", "900"]].concat());
    device.restart_after_power_loss();
    device.start_engine();
    assert_eq!(device.bad(&["edge-docker", "exec", "other", "ls"]).0, 125);
    assert_eq!(all(&device), ["other"]);
    assert_eq!(status(&device)["ending"], true);
    // As the units do.
    device.good(&["edge-docker", "replace", "--recover"]);
    assert!(device.path("/run/edge-docker/break-glass-open").exists());
    device.good(&["edge-docker", "ticket", "wait"]);
    assert_eq!(device.running(), ["other"]);
    let changed = device.good(&["docker", "diff", "other"]);
    assert!(!changed.contains("left"), "{changed}");
    assert_eq!(status(&device)["ending"], false);
    assert_eq!(give(&device, &envelope).0, 125);
}
