//! Deployments and rollbacks on a real engine.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;
mod killed;
mod missing;
mod same;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use device::{Device, code_and_output, until};

/// Returns the arguments of `replace hello`, with `more` options and `command` after the
/// image.
fn replace<'a>(version: &'a str, more: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    let base = [
        "--restart=always",
        "--stop-signal=KILL",
        "--publish=8080:8080",
        "--volume=/data/sandbox/hello:/data",
        "--health-interval=1s",
        "--health-retries=2",
        "--env",
        version,
    ];
    [
        &["replace", "hello", "--timeout", "20"],
        &base[..],
        more,
        &["sandbox/hello"],
        command,
    ]
    .concat()
}

const GOOD: &str = "--health-cmd=true";
const SICK: &str = "--health-cmd=echo no pulse; exit 1";
/// Health check that has no result within the time that a deployment waits.
const SLOW: [&str; 2] = ["--health-cmd=exit 1", "--health-start-period=1h"];
const POLICY: &str = "{{.State.Running}} {{.HostConfig.RestartPolicy.Name}}";

fn first(device: &Device) {
    let (code, output) = device.run(&replace("GREETING=one", &[GOOD], &[]));
    assert_eq!(code, 0, "{output}");
    assert!(device.answer(8080).starts_with("one, request 1"));
}

/// Checks that the first version serves with its data and that nothing else is left.
fn unharmed(device: &Device) {
    assert!(device.answer(8080).starts_with("one, request "));
    assert_eq!(device.inspect("hello", POLICY), "true always");
    assert_eq!(device.names(), ["hello"]);
}

#[test]
fn a_good_version_takes_over_and_one_is_kept() {
    let device = Device::start();
    first(&device);
    let counter = device.count(8080);
    let start = Instant::now();
    let (code, output) = device.run(&replace("GREETING=two", &[GOOD], &[]));
    assert_eq!(code, 0, "{output}");
    let seconds = start.elapsed().as_secs_f32();
    assert!(device.answer(8080).starts_with("two"));
    let (made, lost) = counter.end();
    println!("a good deployment of {seconds:.1} s: {lost} of {made} requests lost");
    assert!(
        lost < made / 2 && output.contains("healthy after"),
        "{output}"
    );
    assert_eq!(device.inspect("hello", POLICY), "true always");
    assert_eq!(device.inspect("hello-previous", POLICY), "false no");

    let (code, output) = device.run(&replace("GREETING=three", &[], &[]));
    assert!(code == 0 && output.contains("no health check"), "{output}");
    assert_eq!(device.names(), ["hello", "hello-previous"]);
    assert_eq!(device.run(&["rollback", "hello", "--timeout=20"]).0, 0);
    assert!(device.answer(8080).starts_with("two"));
    assert_eq!(device.inspect("hello", POLICY), "true always");
    assert_eq!(device.run(&["rollback", "hello"]).0, 0);
    assert!(device.answer(8080).starts_with("three"));
    assert_eq!(device.names(), ["hello", "hello-previous"]);

    // A broken previous version is no reason to go down.
    device.run(&replace("GREETING=four", &[GOOD], &[]));
    std::fs::write(device.path("/data/sandbox/hello/counter"), "1000").unwrap();
    device.docker(&["rm", "hello-previous"]);
    let (code, output) = device.run(&["rollback", "hello"]);
    assert!(
        code == 125 && output.contains("no previous version"),
        "{output}"
    );
    assert!(device.answer(8080).starts_with("four, request 1001"));
    let (_, status) = device.run(&["replace", "--status", "hello"]);
    assert!(status.contains(r#""phase":"switched""#), "{status}");
}

#[test]
fn a_broken_version_gives_way_to_the_old_one() {
    let device = Device::start();
    let (code, output) = device.run(&replace(
        "A=b",
        &["--entrypoint=/bin/sh"],
        &["-c", "exit 7"],
    ));
    assert!(code == 122 && output.contains("exit code 7"), "{output}");
    assert!(device.names().is_empty());
    first(&device);
    let crash = ["--entrypoint=/bin/sh"];
    let cases: [(Vec<&str>, i32, &str); 6] = [
        (
            replace("A=b", &crash, &["-c", "echo oops; exit 7"]),
            123,
            "\nedge-docker:   oops\n",
        ),
        (
            replace("A=b", &["--entrypoint=/absent"], &[]),
            123,
            "no such file",
        ),
        (
            replace("A=b", &[SICK], &[]),
            123,
            "its health check fails: no pulse",
        ),
        (
            replace("A=b", &[&["--timeout=x"], &SLOW[..]].concat(), &[]),
            125,
            "--timeout is refused",
        ),
        (
            replace("A=b", &["-v/data/apps/x:/y"], &[]),
            125,
            "this image may mount /data/sandbox/hello",
        ),
        (
            replace("A=b", &["--privileged"], &[]),
            125,
            "--privileged is refused",
        ),
    ];
    for (args, wanted, why) in cases {
        let (code, output) = device.run(&args);
        assert!(
            code == wanted && output.contains(why),
            "{args:?}: {code}: {output}"
        );
        unharmed(&device);
    }
}

#[test]
fn one_that_never_becomes_healthy_gives_way_in_time() {
    let device = Device::start();
    first(&device);
    let mut slow = replace("A=b", &SLOW, &[]);
    slow[3] = "3";
    let start = Instant::now();
    let (code, output) = device.run(&slow);
    assert!(
        code == 123 && output.contains("healthy within 3 s"),
        "{output}"
    );
    unharmed(&device);
    assert!(
        start.elapsed() < Duration::from_secs(12),
        "{:?}",
        start.elapsed()
    );
    let (_, status) = device.run(&["replace", "--status"]);
    assert!(status.contains(r#""phase":"back""#), "{status}");
    let stopped = device.docker(&["stop", "hello"]);
    let (code, output) = device.run(&replace("A=b", &[SICK], &[]));
    assert!(
        code == 123 && output.contains("stopped as before"),
        "{stopped} {output}"
    );
    assert_eq!(device.inspect("hello", POLICY), "false always");
}

/// Starts a deployment that does not end, and waits until the new container serves.
fn hang(device: &Device) -> std::process::Child {
    let mut command = device.edge_docker(&replace("GREETING=slow", &SLOW, &[]));
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    until("the new container", || {
        device.get(8080).filter(|a| a.starts_with("slow"))
    });
    child.unwrap()
}

/// Returns the process ID of the program that `nsenter` started.
fn inner(child: &std::process::Child) -> String {
    let path = format!("/proc/{0}/task/{0}/children", child.id());
    std::fs::read_to_string(path).unwrap().trim().into()
}

fn kill(signal: &str, id: &str) {
    assert!(
        Command::new("kill")
            .args([signal, id])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_power_loss_in_the_middle_leaves_the_old_one() {
    let mut device = Device::start();
    first(&device);

    let child = hang(&device);
    let (code, output) = device.run(&replace("GREETING=two", &[GOOD], &[]));
    assert!(
        code == 125 && output.contains("another deployment of hello"),
        "{output}"
    );
    kill("-TERM", &inner(&child));
    let (code, output) = code_and_output(&child.wait_with_output().unwrap());
    assert!(code == 123 && output.contains("interrupted"), "{output}");
    unharmed(&device);

    let child = hang(&device);
    device.stop_engine();
    device.start_engine();
    let (code, output) = code_and_output(&child.wait_with_output().unwrap());
    assert!(code == 123 && output.contains("engine"), "{code} {output}");
    unharmed(&device);

    let mut child = hang(&device);
    device.power_cut();
    child.wait().unwrap();
    device.start_engine();
    assert_eq!(device.get(8080), None, "nothing decides by itself");
    let (code, output) = device.run(&["replace", "--recover"]);
    assert!(
        code == 0 && output.contains("the deployment was interrupted"),
        "{output}"
    );
    unharmed(&device);
    assert_eq!(device.run(&["replace", "--recover"]), (0, String::new()));

    device.stop_engine();
    device.start_engine();
    unharmed(&device);
}

#[test]
fn a_power_loss_after_the_verdict_is_completed() {
    let device = Device::start();
    first(&device);
    assert_eq!(device.run(&replace("GREETING=two", &[GOOD], &[])).0, 0);
    let path = device.path("/data/config/edge-docker/switches/hello.json");
    let record = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, record.replace("switched", "keep")).unwrap();
    device.docker(&["update", "--restart=no", "hello"]);
    let (code, output) = device.run(&["replace", "--recover"]);
    assert_eq!(code, 0, "{output}");
    assert!(device.answer(8080).starts_with("two"));
    assert_eq!(device.inspect("hello", POLICY), "true always");
}

#[test]
fn a_lost_connection_ends_no_deployment() {
    let device = Device::start();
    first(&device);
    let mut child = device.edge_docker(&replace("GREETING=two", &[], &[]));
    let mut child = child
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the new container", || {
        device.get(8080).filter(|a| a.starts_with("two"))
    });
    drop((child.stdout.take(), child.stderr.take()));
    let inner = inner(&child);
    kill("-HUP", &inner);
    kill("-TERM", &inner);
    kill("-KILL", &inner);
    child.wait().unwrap();
    until("the end of the deployment", || {
        let status = device.run(&["replace", "--status"]).1;
        assert!(!status.contains("back"), "{status}");
        status.contains(r#""phase":"switched""#).then_some(())
    });
    until("the second version", || {
        (device.names() == ["hello", "hello-previous"]).then_some(())
    });
    assert!(device.answer(8080).starts_with("two"));
}
