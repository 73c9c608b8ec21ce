//! Deployments during which the engine or containerd is killed, and comes back as by its
//! unit: afterwards one of the two versions runs, whole.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use super::device::{Device, code_and_output, until};
use super::missing::quick;
use super::{POLICY, first, hang, unharmed};

const MARKS: &str = "/data/config/edge-docker/interrupted";
const JOURNALS: &str = "/data/config/edge-docker/switches";

/// Forwarder in the place of the engine's socket.
struct Forwarder {
    child: Child,
    /// Process ID on the device.
    pid: String,
}

/// Puts the forwarder in the place of the engine's socket, which kills the engine after
/// its answer to the request with this number.
fn forwarder(device: &Device, number: usize) -> Forwarder {
    let script = include_str!("killed.py");
    let mut forwarder = device.command(&["python3", "-c", script, &number.to_string()]);
    let mut forwarder = forwarder.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(forwarder.stdout.as_mut().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let pid = line.strip_prefix("ready ").unwrap().trim().to_string();
    Forwarder {
        child: forwarder,
        pid,
    }
}

impl Forwarder {
    /// Waits until it has killed the engine, or the deployment has ended without. Returns
    /// whether it has.
    fn has_killed(mut self, device: &Device, deployment: &mut Child) -> bool {
        until("the end of a deployment", || {
            let ended = [&mut self.child, deployment].map(|c| c.try_wait().unwrap());
            ended.iter().any(Option::is_some).then_some(())
        });
        let ended = deployment.try_wait().unwrap();
        if ended.is_some_and(|status| status.success()) && self.child.try_wait().unwrap().is_none()
        {
            let kill = device.command(&["kill", "-KILL", &self.pid]).status();
            assert!(kill.unwrap().success());
        }
        self.child.wait().unwrap().success()
    }
}

/// Checks that exactly one version serves, with its restart policy, and that nothing of
/// the deployment is left open. Returns the greeting of the version.
fn settled(device: &Device, case: &str) -> String {
    let (_, status) = device.run(&["replace", "--status", "hello"]);
    let closed = ["switched", "back"].map(|p| format!(r#""phase":"{p}""#));
    assert!(
        closed.iter().any(|p| status.contains(p)),
        "{case}: {status}"
    );
    let running = device.docker(&["ps", "--format", "{{.Names}}"]);
    assert_eq!(running, "hello", "{case}: {status}");
    assert_eq!(device.inspect("hello", POLICY), "true always", "{case}");
    let known = ["hello", "hello-previous"];
    let names = device.names();
    assert!(
        names.iter().all(|n| known.contains(&&n[..])),
        "{case}: {names:?}"
    );
    let mut files: Vec<_> = std::fs::read_dir(device.path(JOURNALS)).unwrap().collect();
    files.retain(|f| f.as_ref().unwrap().file_name() != "hello.lock");
    assert_eq!(files.len(), 1, "{case}: {files:?}");
    // No mark is left that would start something later.
    assert_eq!(
        device.run(&["replace", "--recover"]),
        (0, String::new()),
        "{case}"
    );
    let marks = std::fs::read_dir(device.path(MARKS)).map_or(0, Iterator::count);
    assert_eq!(marks, 0, "{case}");
    let answer = device.answer(8080);
    answer.split(',').next().unwrap().to_string()
}

/// Distance of the requests after which the engine is killed, out of about 45 of a
/// deployment. `cargo xtask campaign deploy` takes every request.
const STEP: usize = 6;

/// The engine is killed after its answers to a deployment in turn, until one deployment
/// ends before its turn. The service manager starts the engine and the
/// recovery once, while the deployment may still wait for the engine.
#[test]
fn an_engine_killed_after_any_request_leaves_one_version() {
    let mut device = Device::start();
    let (code, output) = device.run(&quick("GREETING=0"));
    assert_eq!(code, 0, "{output}");
    let mut current = String::from("0");
    let mut outcomes = [0, 0];
    let step = std::env::var("EDGE_EVERY");
    let step = step.map_or(STEP, |v| v.parse().expect("EDGE_EVERY is a number"));
    for number in (1..).step_by(step) {
        let forwarder = forwarder(&device, number);
        let new = number.to_string();
        let mut command = device.edge_docker(&quick(&format!("GREETING={new}")));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        if !forwarder.has_killed(&device, &mut child) {
            let (code, output) = code_and_output(&child.wait_with_output().unwrap());
            assert_eq!(code, 0, "{output}");
            break;
        }
        device.wait_for_engine();
        device.start_engine();
        let recovered = device.run(&["replace", "--recover"]);
        let ended = code_and_output(&child.wait_with_output().unwrap());
        let case =
            format!("after request {number}\nrecovery: {recovered:?}\ndeployment: {ended:?}");
        let greeting = settled(&device, &case);
        assert!([&current, &new].contains(&&greeting), "{greeting}: {case}");
        outcomes[usize::from(greeting == new)] += 1;
        current = greeting;
    }
    println!("{outcomes:?} deployments left the old and the new version");
    assert!(outcomes.iter().all(|o| o * step >= 10), "{outcomes:?}");
}

/// containerd is killed with all processes of its unit while a version is on trial. Its
/// next start restarts an engine that is active.
#[test]
fn a_killed_containerd_during_a_trial_leaves_the_old_version() {
    let mut device = Device::start();
    first(&device);
    let child = hang(&device);
    let kill = "kill -KILL $(cat /run/docker/containerd/containerd.pid) \
                $(pidof containerd-shim-runc-v2)";
    let killed = device.command(&["sh", "-c", kill]).status().unwrap();
    assert!(killed.success());
    device.stop_engine();
    device.start_engine();
    let recovered = device.run(&["replace", "--recover"]);
    let ended = code_and_output(&child.wait_with_output().unwrap());
    let case = format!("recovery: {recovered:?}\ndeployment: {ended:?}");
    assert_eq!(settled(&device, &case), "one", "{case}");
    unharmed(&device);
}
