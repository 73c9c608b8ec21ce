//! Deployments to a device with the real edge-docker and an engine: a working app keeps
//! running whatever happens to the next version.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod project;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use edge_sim::namespaces::Device;
use edge_sim::testbed::Cloud;
use project::Real;
use serde_json::{Value, json};

const SERVE: &str = "echo $$ >>/data/starts; trap 'exit 0' TERM; sleep infinity & wait";

/// Writes an app whose health check is `command`, and whose failures do not count in the
/// first `patience` seconds.
fn app(real: &Real, command: &str, patience: u32) {
    let text = json!({
        "name": "hello", "volumes": [".:/data"],
        "health": {
            "command": command, "interval": "1s", "retries": 2,
            "start_period": format!("{patience}s"),
        },
    });
    real.project.put("hello/app.yaml", &text.to_string());
}

const DEPLOY: [&str; 5] = ["deploy", "hello", "jetson", "--timeout=30", "--version"];

fn deploy(real: &Real, version: &str) -> (i32, String) {
    let (code, out, err) = real.project.run(&[&DEPLOY[..], &[version]].concat());
    (code, out + &err)
}

/// Starts a deployment and waits until the device tries the new version.
fn trial(real: &Real, version: &str) -> Child {
    let mut command = real.project.command(&[&DEPLOY[..], &[version]].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let record = "/data/config/edge-docker/switches/hello.json";
    let record = real.device.path(record);
    let start = Instant::now();
    while !fs::read_to_string(&record)
        .unwrap_or_default()
        .contains("\"trial\"")
    {
        assert!(start.elapsed() < Duration::from_secs(60), "no deployment");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

fn ended(child: Child) -> (i32, String) {
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), printed)
}

#[test]
fn a_device_keeps_an_app_that_works() {
    let cloud = Cloud::up();
    let mut real = Real::start(&cloud);
    app(&real, "true", 0);
    real.push("v1", SERVE);
    let (code, printed) = deploy(&real, "v1");
    assert!(code == 0 && printed.contains("hello v1 runs"), "{printed}");
    assert_eq!(real.version(), "v1");
    let login = real.device.path("/data/.docker/config.json");
    assert!(!login.exists(), "a login stays behind");
    let diff = ["diff", "hello", "jetson", "--version", "v1"];
    assert!(
        real.project
            .succeeds(&diff)
            .contains("nothing would change")
    );

    again(&real);
    real.push("v2", "echo broken >&2; exit 7");
    let (code, printed) = deploy(&real, "v2");
    let expected = "exit code 7\nedge-app: its last lines:\nedge-app:   broken\n\
                    edge-app: rolled back, hello v1 runs\n";
    assert!(code == 8 && printed.ends_with(expected), "{printed}");
    for step in ["stopping hello v1", "starting hello v2"] {
        assert!(
            printed.contains(&format!("edge-app: jetson: {step}\n")),
            "{printed}"
        );
    }
    assert_eq!(real.version(), "v1");
    let status = real.project.succeeds(&["status"]);
    assert!(status.contains("the last deployment of hello"), "{status}");

    app(&real, "exit 1", 0);
    real.push("v3", SERVE);
    let (code, printed) = deploy(&real, "v3");
    assert!(
        code == 8 && printed.contains("health check fails"),
        "{printed}"
    );
    assert_eq!(real.version(), "v1");

    refused(&real);
    assert_eq!(real.version(), "v1");
    rebooted(&mut real);
    assert_eq!(real.version(), "v1");
    finishes_without_a_connection(&real);
}

/// The same deployment a second time, as a CI job that is repeated: nothing changes.
fn again(real: &Real) {
    let starts = || fs::read_to_string(real.device.path("/data/apps/hello/starts")).unwrap();
    let before = starts();
    let (code, printed) = deploy(real, "v1");
    let expected = "hello v1 runs already: nothing changed";
    assert!(code == 0 && printed.contains(expected), "{printed}");
    assert_eq!(starts(), before);
    let (code, out, err) = real
        .project
        .run(&[&DEPLOY[..], &["v1", "--force"]].concat());
    assert!(code == 0 && out.contains("hello v1 runs: "), "{out}{err}");
    assert_eq!(starts().lines().count(), before.lines().count() + 1);
    let none = real.project.run(&["rollback", "hello", "jetson"]);
    assert_eq!(none.0, 6, "{none:?}");
}

/// A version that is pulled, but requests a grant that the board does not have.
fn refused(real: &Real) {
    let text = json!({ "name": "hello", "grants": ["gpu"] }).to_string();
    real.project.put("hello/app.yaml", &text);
    // The settings that were signed count, not those of today.
    let diff = ["diff", "hello", "jetson", "--version", "v1"];
    let diff = real.project.succeeds(&diff);
    assert!(
        diff.contains("differs from what was signed") && diff.contains("nothing would change"),
        "{diff}"
    );
    let (code, printed) = deploy(real, "v1");
    assert!(code == 0, "{code} {printed}");
    real.image("v4", SERVE);
    let push = ["push", "hello", "--version", "v4", "--yes"];
    real.project.succeeds(&push);
    let (code, printed) = deploy(real, "v4");
    assert!(code == 6 && printed.contains("gpu"), "{code} {printed}");
}

/// The power fails during the trial of a version that is not healthy yet.
fn rebooted(real: &mut Real) {
    app(real, "exit 1", 3600);
    real.push("v5", SERVE);
    let child = trial(real, "v5");
    real.device.cut_power();
    real.device.boot().unwrap();
    recover(&real.device);
    let (code, printed) = ended(child);
    assert!(
        code == 8 && printed.contains("the deployment was interrupted"),
        "{code} {printed}"
    );
    assert!(printed.contains("asking for the result"), "{printed}");
}

/// As `edge-docker-recover.service` does after every start of the engine.
fn recover(device: &Device) {
    let mut command = device.command("edge-docker");
    let output = command.args(["replace", "--recover"]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
}

/// Ctrl-C: the device finishes alone, and the user learns how to see the result.
fn interrupted(real: &Real) {
    let child = trial(real, "v6");
    let pid = child.id().to_string();
    let killed = Command::new("kill").args(["-INT", &pid]).status();
    assert!(killed.unwrap().success());
    let (code, printed) = ended(child);
    let expected = "jetson finishes the deployment of hello alone";
    assert!(
        code == 130 && printed.contains(expected),
        "{code} {printed}"
    );
    assert!(printed.contains("edge-app status jetson"), "{printed}");
    let record = real
        .device
        .path("/data/config/edge-docker/switches/hello.json");
    let start = Instant::now();
    while !fs::read_to_string(&record)
        .unwrap_or_default()
        .contains("\"switched\"")
    {
        assert!(start.elapsed() < Duration::from_secs(60), "no end");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(real.version(), "v6");
    real.project.succeeds(&["rollback", "hello", "jetson"]);
}

/// A working version, whose deployment loses its connection.
fn finishes_without_a_connection(real: &Real) {
    let project = &real.project;
    app(real, "true", 0);
    real.push("v6", SERVE);
    let diff = project.succeeds(&["diff", "hello", "jetson", "--version", "v6"]);
    assert!(diff.contains("version  v1 -> v6"), "{diff}");
    let list = project.succeeds(&["list", "--json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list[0]["devices"], json!(["jetson"]), "{list}");

    interrupted(real);
    let child = trial(real, "v6");
    real.device.cut_connections().unwrap();
    let (code, printed) = ended(child);
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("asking for the result"), "{printed}");
    assert_eq!(real.version(), "v6");

    project.succeeds(&["rollback", "hello", "jetson"]);
    assert_eq!(real.version(), "v1");
    let starts = real.device.path("/data/apps/hello/starts");
    let starts = fs::read_to_string(starts).unwrap();
    assert!(starts.lines().count() > 3, "data are kept");
    for (command, result) in [
        ("stop", "exited"),
        ("start", "running"),
        ("restart", "running"),
    ] {
        project.succeeds(&[command, "hello", "jetson"]);
        let status = real.status();
        let apps = status["apps"].as_array().unwrap();
        let hello = apps.iter().find(|a| a["name"] == "hello").unwrap();
        assert_eq!(hello["state"], result, "{command}");
    }
    let removed = project.succeeds(&["remove", "hello", "jetson"]);
    assert!(removed.contains("hello removed"), "{removed}");
    assert_eq!(real.status()["apps"], json!([]));
    let removed = project.succeeds(&["remove", "hello", "jetson"]);
    assert!(removed.contains("there is no container hello"), "{removed}");
    // A first deployment that fails leaves its last lines alone.
    real.push("v7", "echo no luck; exit 7");
    let (code, printed) = deploy(real, "v7");
    assert!(
        code == 9 && printed.contains("edge-app:   no luck"),
        "{code} {printed}"
    );
    let (code, out, err) = project.run(&["logs", "hello", "jetson"]);
    assert!(
        code == 0 && out == "no luck\n" && err.contains("exit code 7"),
        "{out}{err}"
    );
    project.fails(&["logs", "absent", "jetson"], 1, "absent");
}
