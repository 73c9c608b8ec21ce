//! Deployments to many devices: the number at a time, and the results of those that
//! fail. `cargo xtask bench devices` measures the duration.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod project;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use edge_sim::namespaces::Fleet;
use edge_sim::testbed::{Cloud, push_image};
use project::Project;

const DEPLOY: [&str; 4] = ["deploy", "hello", "--version", "v1"];
const COUNT: usize = 20;

/// Pulls that wait until they are released.
struct Held<'a>(&'a Fleet);

impl<'a> Held<'a> {
    fn new(fleet: &'a Fleet) -> Self {
        for number in 0..COUNT {
            let made = Command::new("mkfifo")
                .arg(fleet.path(number, "/data/hold"))
                .status();
            assert!(made.unwrap().success());
        }
        Self(fleet)
    }

    fn waiting(&self) -> Vec<usize> {
        let started = |n: &usize| self.0.path(*n, "/data/times").exists();
        let held = |n: &usize| self.0.path(*n, "/data/hold").exists();
        (0..COUNT).filter(started).filter(held).collect()
    }

    /// Waits until this many pulls wait.
    fn until(&self, count: usize) -> Vec<usize> {
        let start = Instant::now();
        loop {
            let waiting = self.waiting();
            if waiting.len() >= count {
                return waiting;
            }
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "{waiting:?} wait, {count} should"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn release(&self, number: usize) {
        let path = self.0.path(number, "/data/hold");
        let mut pipe = fs::OpenOptions::new().write(true).open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        pipe.write_all(b"go\n").unwrap();
    }
}

#[test]
fn limit_of_jobs_and_independent_results() {
    let cloud = Cloud::up();
    let fleet = Fleet::start(COUNT).unwrap();
    let registry = cloud.local_registry();
    let digest = push_image(cloud.path(), &registry).unwrap();
    let project = Project::new(&cloud, registry, &fleet.config());
    a_limit_holds(&project, &fleet);

    fleet.clear_records().unwrap();
    for broken in [3, 11] {
        fs::write(fleet.path(broken, "/data/broken"), "").unwrap();
    }
    fs::write(fleet.path(5, "/data/same"), "").unwrap();
    fs::write(fleet.ssh_config(17), "Host *\n  ProxyCommand false\n").unwrap();
    let held = Held::new(&fleet);
    let mut command = project.command(&DEPLOY);
    command.args(["--all", "--max-failures", "9"]);
    let deploy = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let deploy = deploy.spawn().unwrap();
    // All reachable devices have begun, and none has finished.
    for number in held.until(COUNT - 1) {
        held.release(number);
    }
    let output = deploy.wait_with_output().unwrap();
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(output.status.code(), Some(10), "{out}{err}");
    assert!(err.contains("3 of 20 devices failed"), "{err}");
    assert_eq!(fleet.max_concurrent().unwrap(), COUNT - 1);
    for (number, name) in fleet.names().enumerate() {
        let line = out.lines().find(|l| l.starts_with(name)).unwrap();
        let expected = match number {
            3 | 11 => "rolled back",
            5 => "unchanged",
            17 => "unreachable",
            _ => "done",
        };
        assert!(line[name.len()..].trim().starts_with(expected), "{out}");
        if number != 17 {
            let got = fs::read_to_string(fleet.path(number, "/data/replace")).unwrap();
            assert!(got.ends_with(&format!("@{digest}\0")), "{got}");
            let got = fs::read_to_string(fleet.path(number, "/data/password")).unwrap();
            assert_eq!(got, cloud.password());
        }
    }

    lifecycle(&project, &fleet);
    let (code, out, err) = project.run(&[&DEPLOY[..], &["d03", "d04", "--jobs", "1"]].concat());
    assert!(code == 10 && out.contains("not started"), "{out}{err}");
    assert!(err.contains("raise --max-failures"), "{err}");
    assert_eq!(project.run(&[&DEPLOY[..], &["d03"]].concat()).0, 8);
}

/// With a limit of five: never six at a time, and five as long as that many are left.
fn a_limit_holds(project: &Project, fleet: &Fleet) {
    let held = Held::new(fleet);
    let mut command = project.command(&DEPLOY);
    command.args(["--all", "--jobs", "5"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut deploy = command.spawn().unwrap();
    for left in (1..=COUNT).rev() {
        let waiting = held.until(left.min(5));
        held.release(waiting[0]);
    }
    assert!(deploy.wait().unwrap().success());
    assert_eq!(fleet.max_concurrent().unwrap(), 5);
}

/// `start`, `restart`, `stop` and `remove` of one, of a group and of all; one is unreachable.
fn lifecycle(project: &Project, fleet: &Fleet) {
    project.set("groups", serde_json::json!({ "barn": ["d00", "d01"] }));
    for command in ["start", "restart", "stop"] {
        let out = project.succeeds(&[command, "hello", "--group", "barn"]);
        assert_eq!(out.matches("done").count(), 2, "{out}");
        for number in [0, 1] {
            let got = fs::read_to_string(fleet.path(number, &format!("/data/{command}")));
            assert_eq!(got.unwrap(), format!("{command}\0hello\0"));
        }
        assert!(!fleet.path(2, &format!("/data/{command}")).exists());
    }
    let (code, out, err) = project.run(&["stop", "hello", "--all", "--max-failures=2"]);
    assert!(
        code == 10 && err.contains("1 of 20 devices failed"),
        "{out}{err}"
    );
    let out = project.succeeds(&["remove", "hello", "d00", "d01"]);
    assert_eq!(out.matches("unchanged").count(), 2, "{out}");
    project.fails(&["stop", "hello"], 2, "no device is named");
    project.fails(&["stop", "hello", "--group", "bran"], 2, "barn");
    project.fails(
        &["stop", "hello", "d0x"],
        5,
        "edge-app.yaml has no d0x: did you mean d00?",
    );
    let mut stop = project.command(&["stop", "hello", "d00"]);
    let output = stop.env("TMPDIR", "/proc").output().unwrap();
    let printed = String::from_utf8(output.stderr).unwrap();
    let expected = "/proc takes no temporary directory for the connection of ssh";
    assert!(
        printed.contains(expected) && printed.contains("set TMPDIR"),
        "{printed}"
    );
    assert_eq!(output.status.code(), Some(1));
}
