//! Templates of `init`, built, pushed and deployed to a device with the real edge-docker
//! and an engine. Their base images are made of programs of this machine.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod project;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use edge_sim::testbed::Cloud;
use project::{Real, shell};
use serde_json::{Value, json};

/// Time that a stop may take.
const STOP: Duration = Duration::from_secs(2);
const PYTHON: &str = "/usr/bin/python3";

fn import(real: &Real, name: &str, files: &[u8]) {
    let mut import = real.device.command("docker");
    import.args(["import", "--change", "ENV PATH=/bin:/usr/bin", "-", name]);
    let mut child = import
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(files).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Archive of busybox, and of its programs as links.
fn busybox() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    archive
        .append_path_with_name("/usr/bin/busybox", "bin/busybox")
        .unwrap();
    let listed = Command::new("busybox").arg("--list").output().unwrap();
    for name in String::from_utf8(listed.stdout).unwrap().lines() {
        if name != "busybox" {
            let mut link = tar::Header::new_gnu();
            link.set_entry_type(tar::EntryType::Symlink);
            link.set_size(0);
            archive
                .append_link(&mut link, format!("bin/{name}"), "busybox")
                .unwrap();
        }
    }
    let mut tmp = tar::Header::new_gnu();
    tmp.set_entry_type(tar::EntryType::Directory);
    tmp.set_mode(0o1777);
    tmp.set_size(0);
    archive.append_data(&mut tmp, "tmp/", &[][..]).unwrap();
    archive.into_inner().unwrap()
}

/// Archive of this machine's shell and Python, with a `pip` that has nothing to install.
fn python() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let unpack = |bytes: &[u8]| tar::Archive::new(bytes).unpack(root).unwrap();
    unpack(&shell());
    let listed = Command::new("ldd").arg(PYTHON).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let libraries = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    let version = "import sys; print(f'/usr/lib/python3.{sys.version_info[1]}')";
    let version = Command::new(PYTHON).args(["-c", version]).output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let files = libraries.chain([PYTHON, version.trim()]);
    let files = files.map(|file| file.trim_start_matches('/'));
    let mut tar = Command::new("tar");
    tar.args(["-ch", "--exclude=test", "--exclude=config-*", "-C", "/"]);
    unpack(&tar.args(files).output().unwrap().stdout);
    std::fs::write(root.join("bin/pip"), "#!/bin/sh\n").unwrap();
    let mut tar = Command::new("tar");
    tar.args(["-c", "--mode=a+rx", "-C"]).arg(root).arg(".");
    tar.output().unwrap().stdout
}

fn inspect(real: &Real, name: &str) -> Value {
    let output = real
        .device
        .command("docker")
        .args(["inspect", name])
        .output();
    serde_json::from_slice::<Value>(&output.unwrap().stdout).unwrap()[0].take()
}

#[test]
fn templates_run_and_stop_in_time() {
    let cloud = Cloud::up();
    let real = Real::start(&cloud);
    // In the place of the GPU's devices, of which this machine has none.
    let table = json!({ "grants": {
        "gpu": { "mounts": [{ "source": "/etc/os-release", "target": "/dev/nvmap" }] },
    }});
    for (path, text) in [
        ("/etc/edge-ai/devices.json", table.to_string()),
        ("/etc/os-release", "NAME=board\n".into()),
    ] {
        std::fs::write(real.device.path(path), text).unwrap();
    }
    import(&real, "busybox:1.37", &busybox());
    import(&real, "nvcr.io/nvidia/l4t-base:r36.2.0", &busybox());
    import(&real, "python:3.13-slim", &python());
    for template in ["plain", "python", "gpu"] {
        let project = &real.project;
        project.succeeds(&["init", template, "--template", template]);
        let version = ["--version", "v1"];
        project.succeeds(&[&["build", template][..], &version].concat());
        project.succeeds(&[&["push", template, "--yes"][..], &version].concat());
        let deploy = ["deploy", template, "jetson", "--timeout=60"];
        project.succeeds(&[&deploy[..], &version].concat());
        let container = inspect(&real, template);
        assert_eq!(container["State"]["Health"]["Status"], "healthy");
        assert_eq!(container["Config"]["User"], "10001:10001", "{template}");
        assert_eq!(container["HostConfig"]["CapDrop"], json!(["ALL"]));
        assert!(
            container["HostConfig"]["CapAdd"]
                .as_array()
                .is_none_or(Vec::is_empty)
        );
        let start = Instant::now();
        let mut stop = real.device.command("docker");
        let stopped = stop.args(["stop", template]).stdout(Stdio::null()).status();
        assert!(stopped.unwrap().success());
        let elapsed = start.elapsed();
        assert!(elapsed < STOP, "{template}: {elapsed:?}");
        let code = &inspect(&real, template)["State"]["ExitCode"];
        assert_eq!(code, 0, "{template} was killed");
        project.succeeds(&["remove", template, "jetson"]);
    }
}
