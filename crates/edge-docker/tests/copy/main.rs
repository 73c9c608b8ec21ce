//! `cp` between the mounts of an app and its caller, with the real engine. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

#[path = "../device/mod.rs"]
mod device;
mod hostile;
mod into;
mod page;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use device::{Device, output_text};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Directory that the app `lamp` mounts at `/data`.
pub const DATA: &str = "/data/sandbox/lamp";
const POLICY: &str = "/etc/edge-ai/container-config/policy.json";
/// User of the device who calls sudo.
const USER: u32 = 61000;

/// Device on which `lamp` runs, with its directory, a read-only one and a volume.
pub fn device() -> Device {
    let mut device = Device::start();
    device.start_engine();
    device.image("lamp", 0);
    device.good(&[
        "edge-docker",
        "run",
        "-d",
        "--name=lamp",
        "-v",
        "/data/sandbox/lamp:/data",
        "-v",
        "/data/sandbox/lamp/fixed:/fixed:ro",
        "sandbox/lamp:base",
    ]);
    chown(device.path("/home/edge"), Some(USER), Some(USER)).unwrap();
    device
}

/// Runs a shell command as sudo does for the user, in the user's home.
pub fn as_user(device: &Device, script: &str) -> Output {
    user_command(device, script).output().unwrap()
}

pub fn user_command(device: &Device, script: &str) -> Command {
    let script = format!("cd /home/edge && {script}");
    let mut command = device.command(&["sh", "-c", &script]);
    command
        .env("SUDO_UID", USER.to_string())
        .env("SUDO_GID", USER.to_string())
        .stdin(Stdio::null());
    command
}

/// Sends a signal to the program that a command of the device has become.
pub fn signal(command: &Child, signal: Signal) {
    let pid = command.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let program = children.trim().parse().unwrap();
    kill_process(Pid::from_raw(program).unwrap(), signal).unwrap();
}

/// Level of the device, as in production with `operate`.
pub fn level(device: &Device, level: &str) {
    let policy = format!(r#"{{"run":"any","sandbox":true,"engineer":"{level}"}}"#);
    device.write(POLICY, policy.as_bytes());
}

/// Entry of an archive: its type, and its content or the target of the link.
pub type Entries = BTreeMap<PathBuf, (tar::EntryType, Vec<u8>)>;

pub fn entries(archive: &[u8]) -> Entries {
    let mut entries = Entries::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let (path, kind) = (
            entry.path().unwrap().into_owned(),
            entry.header().entry_type(),
        );
        let mut content = Vec::new();
        match entry.link_name_bytes() {
            Some(target) => content.extend_from_slice(&target),
            None => drop(entry.read_to_end(&mut content).unwrap()),
        }
        assert!(
            entries.insert(path, (kind, content)).is_none(),
            "an entry came twice"
        );
    }
    entries
}

pub fn is_refused(output: &Output, text: &str) {
    let printed = output_text(output);
    assert!(
        output.status.code() == Some(125) && printed.contains(text),
        "{:?} without {text:?}: {printed}",
        output.status
    );
}

#[test]
fn files_come_out_of_the_mounts_alone() {
    let device = device();
    device.write(&format!("{DATA}/log/day.txt"), b"sunny\n");
    device.good(&[
        "edge-docker",
        "exec",
        "lamp",
        "sh",
        "-c",
        "echo 1 > /cache/x; echo s > /tmp/x",
    ]);
    level(&device, "operate");
    let out = |from: &str| device.run(&["edge-docker", "cp", from, "-"]);

    let copied = out("lamp:/data/log");
    assert!(copied.status.success(), "{}", output_text(&copied));
    let list = entries(&copied.stdout);
    assert_eq!(list.len(), 2, "{list:?}");
    assert_eq!(list[&PathBuf::from("log/day.txt")].1, b"sunny\n");
    let summary = String::from_utf8_lossy(&copied.stderr).into_owned();
    assert!(
        summary.contains("copied 2 files and directories, 6 bytes"),
        "{summary}"
    );
    // The content, a single file, a volume, and a stopped container.
    let content = entries(&out("lamp:/data/log/.").stdout);
    assert_eq!(
        content.keys().collect::<Vec<_>>(),
        [&PathBuf::from("day.txt")]
    );
    assert_eq!(entries(&out("lamp:data/log/day.txt").stdout).len(), 1);
    let volume = entries(&out("lamp:/cache").stdout);
    assert_eq!(volume[&PathBuf::from("cache/x")].1, b"1\n");
    device.good(&["edge-docker", "stop", "-t", "1", "lamp"]);
    assert_eq!(entries(&out("lamp:/data/log/day.txt").stdout).len(), 1);
    let quiet = device.run(&["edge-docker", "cp", "-q", "lamp:/data/log", "-"]);
    assert!(quiet.status.success() && quiet.stderr.is_empty());

    for (from, text) in [
        (
            "lamp:/etc/passwd",
            "in none of the app's own mounts; they are /cache, /data, /fixed",
        ),
        ("lamp:/tmp/x", "in none of the app's own mounts"),
        ("lamp:/", "in none of the app's own mounts"),
        ("lamp:/database", "in none of the app's own mounts"),
        ("lamp:/data/../etc/passwd", "without .."),
        ("lamp:/data/absent", "/data/absent does not exist"),
        ("lamp:/data/log/day.txt/x", "no directory is on the way"),
        ("other:/data", "No such container"),
    ] {
        is_refused(&out(from), text);
    }
    is_recorded(&device);
}

/// The ledger has who copied what, also what was refused.
fn is_recorded(device: &Device) {
    let ledger = device.good(&["edge-docker", "ledger", "--json"]);
    let records = ledger
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap());
    let copies: Vec<_> = records.filter(|r| r["verb"] == "cp").collect();
    let find = |verdict: &str, text: &str| {
        let has = |r: &&Value| r["verdict"] == verdict && r.to_string().contains(text);
        assert!(
            copies.iter().any(|r| has(&r)),
            "{verdict} {text}: {copies:?}"
        );
    };
    find("allowed", "out of /data/log");
    find("denied", "lamp:/etc/passwd");
}

#[test]
fn a_file_belongs_to_the_caller() {
    let device = device();
    level(&device, "operate");
    device.write(&format!("{DATA}/log/day.txt"), b"sunny\n");
    device.write(&format!("{DATA}/secret"), b"key\n");
    fs::set_permissions(
        device.path(&format!("{DATA}/secret")),
        fs::Permissions::from_mode(0o4600),
    )
    .unwrap();
    let run = |script: &str| succeeds(&device, script);
    // Another name, an existing directory, a directory, an absolute name, the content.
    run("edge-docker cp lamp:/data/log/day.txt today");
    run("mkdir -m 777 there && chown 61000:61000 there && edge-docker cp lamp:/data/log there");
    run("edge-docker cp lamp:/data/log copy && edge-docker cp lamp:/data/log copy");
    run("edge-docker cp lamp:/data/secret /home/edge/secret");
    run("edge-docker cp lamp:/data/log/. content && edge-docker cp lamp:/data/secret .");
    for name in [
        "today",
        "there/log/day.txt",
        "copy/day.txt",
        "copy/log/day.txt",
        "content/day.txt",
    ] {
        let path = device.path(&format!("/home/edge/{name}"));
        assert_eq!(fs::read(&path).unwrap(), b"sunny\n", "{name}");
        assert_eq!(fs::metadata(&path).unwrap().uid(), USER);
    }
    let secret = fs::metadata(device.path("/home/edge/secret")).unwrap();
    assert_eq!(secret.mode() & 0o7777, 0o600);
}

/// Runs a shell command as [`as_user`] does, which must succeed.
fn succeeds(device: &Device, script: &str) {
    let output = as_user(device, script);
    let printed = output_text(&output);
    assert!(output.status.success(), "{script}: {printed}");
}

/// Neither places of root nor links to them are written.
#[test]
fn what_the_caller_may_not_write_stays() {
    let device = device();
    level(&device, "operate");
    device.write(&format!("{DATA}/log/day.txt"), b"sunny\n");
    let state = |path: &str| fs::read(device.path(path)).unwrap_or_default();
    let before = (state("/etc/passwd"), state("/etc/shadow"));
    for (script, text) in [
        (
            "edge-docker cp lamp:/data/log/day.txt /etc/new",
            "Permission denied",
        ),
        (
            "edge-docker cp lamp:/data/log/day.txt /etc/shadow",
            "Permission denied",
        ),
        (
            "edge-docker cp lamp:/data/log /data/apps",
            "Permission denied",
        ),
        ("edge-docker cp lamp:/data/log /data/services/x.service", ""),
        ("edge-docker cp lamp:/data/log absent/x", "No such file"),
    ] {
        let output = as_user(&device, script);
        let printed = output_text(&output);
        assert!(
            !output.status.success() && printed.contains(text),
            "{script}: {printed}"
        );
    }
    succeeds(
        &device,
        "ln -s /etc/passwd trap && edge-docker cp lamp:/data/log/day.txt trap",
    );
    assert_eq!(before, (state("/etc/passwd"), state("/etc/shadow")));
    assert_eq!(state("/home/edge/trap"), b"sunny\n");
    let left = device.good(&["find", "/home/edge", "-name", ".edge-cp-*"]);
    assert_eq!(left, "");
    // Root gets a stream alone: a unit would write as root anywhere.
    is_refused(
        &device.run(&["edge-docker", "cp", "lamp:/data/log", "/tmp/x"]),
        "refused to root",
    );
    let zero = as_user(&device, "SUDO_UID=0 edge-docker cp lamp:/data/log /tmp/x");
    is_refused(&zero, "refused to root");
}

#[test]
fn wrong_usage() {
    let device = device();
    for (args, text) in [
        (&["cp"][..], "cp takes APP:PATH FILE"),
        (&["cp", "lamp:/data"], "cp takes APP:PATH FILE"),
        (&["cp", "a", "b"], "neither \"a\" nor \"b\" is in an app"),
        (&["cp", "lamp:/data", "lamp:/data"], "between two apps"),
        (&["cp", "-L", "lamp:/data", "-"], "option -L is refused"),
        (&["cp", "-a", "lamp:/data", "-"], "option -a is refused"),
        (&["container", "cp", "lamp:/etc", "-"], "own mounts"),
    ] {
        is_refused(&device.run(&[&["edge-docker"], args].concat()), text);
    }
    level(&device, "look");
    is_refused(
        &device.run(&["edge-docker", "cp", "lamp:/data", "-"]),
        "needs the level `operate`",
    );
    let help = device.good(&["edge-docker", "cp", "--help"]);
    assert!(help.contains("APP:PATH FILE"), "{help}");
    // What was refused, and why, can be asked.
    level(&device, "operate");
    is_refused(
        &device.feed(&["edge-docker", "cp", "-", "lamp:/data"], b""),
        "cp is refused: it needs the level `debug`",
    );
    let why = device.good(&["edge-docker", "why", "lamp"]);
    assert!(why.contains("`cp - lamp:/data` refused"), "{why}");
}
