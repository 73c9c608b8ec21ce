//! Deployments of the version that runs already: they change nothing, or leave the version
//! to which a rollback returns.

use std::fs;

use super::device::{Device, until};
use super::{GOOD, POLICY, first, replace};

const JOURNAL: &str = "/data/config/edge-docker/switches/hello.json";
/// Health check that a test makes fail: without the file, the app is not healthy.
const BY_FILE: &str = "--health-cmd=test -e /data/well";

/// ID and start of both containers of the app.
fn state(device: &Device) -> [String; 2] {
    ["hello", "hello-previous"].map(|name| device.inspect(name, "{{.Id}} {{.State.StartedAt}}"))
}

fn deploy(device: &Device, version: &str, health: &str, force: bool) -> (i32, String) {
    let mut args = replace(version, &[health], &[]);
    if force {
        args.insert(2, "--force");
    }
    device.run(&args)
}

fn rolls_back_to(device: &Device, greeting: &str) {
    let (code, output) = device.run(&["rollback", "hello", "--timeout=20"]);
    assert_eq!(code, 0, "{output}");
    assert!(device.answer(8080).starts_with(greeting));
}

#[test]
fn the_same_deployment_again_changes_nothing() {
    let device = Device::start();
    first(&device);
    // There is no previous version yet.
    let (code, output) = deploy(&device, "GREETING=one", GOOD, false);
    assert!(
        code == 0 && output.contains("hello runs already: nothing changed"),
        "{output}"
    );
    assert_eq!(device.names(), ["hello"]);
    let (code, output) = deploy(&device, "GREETING=one", GOOD, true);
    assert!(
        code == 0 && output.contains("hello runs: sandbox/hello"),
        "{output}"
    );
    assert_eq!(device.names(), ["hello"]);

    assert_eq!(deploy(&device, "GREETING=two", GOOD, false).0, 0);
    let (before, journal) = (state(&device), fs::read(device.path(JOURNAL)).unwrap());
    for image in ["sandbox/hello", "sandbox/hello:latest"] {
        let mut args = replace("GREETING=two", &[GOOD], &[]);
        *args.last_mut().unwrap() = image;
        let (code, output) = device.run(&args);
        assert!(code == 0 && output.contains("runs already"), "{output}");
        assert_eq!(state(&device), before);
        assert_eq!(fs::read(device.path(JOURNAL)).unwrap(), journal);
    }
    rolls_back_to(&device, "one");
    // The previous version is no repetition.
    let (code, output) = deploy(&device, "GREETING=two", GOOD, false);
    assert!(code == 0 && !output.contains("already"), "{output}");
    rolls_back_to(&device, "one");

    // A record that is damaged proves nothing, and stops nothing.
    for damage in ["", "[]", "{\"Labels\":[]}", "{"] {
        let path = format!(
            "/data/config/edge-docker/containers/{}.json",
            device.inspect("hello", "{{.Id}}")
        );
        fs::write(device.path(&path), damage).unwrap();
        let (code, output) = deploy(&device, "GREETING=one", GOOD, false);
        assert!(
            code == 0 && !output.contains("already"),
            "{damage}: {output}"
        );
    }
}

#[test]
fn force_leaves_the_version_before() {
    let device = Device::start();
    first(&device);
    fs::write(device.path("/data/sandbox/hello/well"), "").unwrap();
    assert_eq!(deploy(&device, "GREETING=two", BY_FILE, false).0, 0);
    let [two, one] = state(&device);
    assert_eq!(deploy(&device, "GREETING=two", BY_FILE, true).0, 0);
    let [again, previous] = state(&device);
    assert!(again != two && previous == one);
    assert_eq!(device.names(), ["hello", "hello-previous"]);
    assert_eq!(device.inspect("hello", POLICY), "true always");
    let protected = device.run(&["container", "prune", "-f"]);
    assert_eq!((protected.0, device.names().len()), (0, 2), "{protected:?}");

    // One that is stopped, or no longer healthy, runs again, without `--force`.
    device.docker(&["stop", "hello"]);
    let (code, output) = deploy(&device, "GREETING=two", BY_FILE, false);
    assert!(
        code == 0 && output.contains("runs: sandbox/hello"),
        "{output}"
    );
    assert_eq!(state(&device)[1], one);
    device.docker(&["pause", "hello"]);
    let (code, output) = deploy(&device, "GREETING=two", BY_FILE, false);
    assert!(
        code == 0 && output.contains("runs: sandbox/hello"),
        "{output}"
    );
    assert_eq!(state(&device)[1], one);
    fs::remove_file(device.path("/data/sandbox/hello/well")).unwrap();
    until("the failed health check", || {
        (device.inspect("hello", "{{.State.Health.Status}}") == "unhealthy").then_some(())
    });
    let before = device.inspect("hello", "{{.Id}}");
    let (code, output) = deploy(&device, "GREETING=two", BY_FILE, false);
    assert!(
        code == 123 && output.contains("health check fails"),
        "{output}"
    );
    assert_eq!(device.inspect("hello", "{{.Id}}"), before);
    assert_eq!(state(&device)[1], one);
    rolls_back_to(&device, "one");
}

#[test]
fn an_interrupted_repetition_leaves_the_version_before() {
    let mut device = Device::start();
    first(&device);
    assert_eq!(deploy(&device, "GREETING=zero", GOOD, false).0, 0);
    // A version that is healthy only now: the same one does not become healthy again.
    let health = "--health-cmd=test ! -e /data/sick";
    let args = |force: bool| {
        let mut args = replace("GREETING=slow", &[health, "--health-start-period=1h"], &[]);
        if force {
            args.insert(2, "--force");
        }
        args
    };
    assert_eq!(device.run(&args(false)).0, 0);
    let [slow, zero] = state(&device).map(|s| s.split(' ').next().unwrap().to_string());
    fs::write(device.path("/data/sandbox/hello/sick"), "").unwrap();
    for phase in ["trial", "keep"] {
        let mut child = device.edge_docker(&args(true)).spawn().unwrap();
        until("the deployment", || {
            let journal = fs::read_to_string(device.path(JOURNAL)).unwrap_or_default();
            // Between two renames there is no container of that name.
            let inspect = ["docker", "inspect", "--format", "{{.Id}}", "hello"];
            let found = device.command(&inspect).output().unwrap();
            let id = String::from_utf8_lossy(&found.stdout).trim().to_owned();
            let older = found.status.success() && id != slow;
            (journal.contains("\"trial\"") && older).then_some(())
        });
        device.power_cut();
        child.wait().unwrap();
        let journal = fs::read_to_string(device.path(JOURNAL)).unwrap();
        fs::write(
            device.path(JOURNAL),
            journal.replace("\"trial\"", &format!("{phase:?}")),
        )
        .unwrap();
        device.start_engine();
        let (code, output) = device.run(&["replace", "--recover"]);
        assert_eq!(code, 0, "{output}");
        assert_eq!(device.run(&["replace", "--recover"]), (0, String::new()));
        assert_eq!(device.names(), ["hello", "hello-previous"]);
        let [now, previous] = state(&device).map(|s| s.split(' ').next().unwrap().to_string());
        assert_eq!(
            (now == slow, previous),
            (phase == "trial", zero.clone()),
            "{phase}"
        );
        let (_, status) = device.run(&["replace", "--status", "hello"]);
        assert!(status.contains(&zero), "{phase}: {status}");
    }
    rolls_back_to(&device, "zero");
}
