//! Trials of network settings: kept, returned, interrupted and refused. NetworkManager,
//! chrony and systemd are programs of the root that note how they were called.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

#[allow(dead_code)]
#[path = "ledger/test_root.rs"]
mod test_root;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use test_root::TestRoot;

const OFFICE: &str = r#"{"interfaces":[{"name":"wlan0","type":"wifi",
    "wifi":{"ssid":"Barn","security":"wpa-psk","password":"hunter2-hunter2"}}],
    "proxy":"http://proxy.example:3128","ntp":["ntp.example.com"]}"#;
const WIRED: &str = r#"{"interfaces":[{"name":"eth0","type":"wired"}]}"#;
const KEYFILE: &str = "data/config/NetworkManager/edge-wlan0.nmconnection";
const PENDING: &str = "data/config/edge-network/pending.json";

/// Notes its arguments; fails to activate what is named in `refused`.
const PROGRAM: &str = r#"#!/bin/sh
root=$(dirname "$0")/../..
echo "$(basename "$0") $*" >>"$root/calls"
case "$*" in *" up id "*) ! grep -qxF "${*##* }" "$root/refused" 2>/dev/null ;; esac
"#;

fn device() -> TestRoot {
    let root = TestRoot::new();
    fs::create_dir_all(root.path("usr/bin")).unwrap();
    for name in ["nmcli", "chronyc", "systemctl"] {
        let path = root.path("usr/bin").join(name);
        fs::write(&path, PROGRAM).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    root
}

fn start(root: &TestRoot, args: &[&str]) -> Child {
    let line = root.line(args);
    let mut command = Command::new(&line[0]);
    let piped = command.args(&line[1..]).env_clear().stdin(Stdio::piped());
    piped
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs `network set`; returns exit code and output.
fn set(root: &TestRoot, settings: &str) -> (i32, String) {
    let mut child = start(root, &["network", "set"]);
    let mut stdin = child.stdin.take().unwrap();
    // A program that does not read to the end says more by its own output.
    let _ = stdin.write_all(settings.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), text)
}

fn token(root: &TestRoot, settings: &str) -> String {
    let (code, text) = set(root, settings);
    assert_eq!(code, 0, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["seconds"], 120);
    answer["token"].as_str().unwrap().into()
}

fn show(root: &TestRoot) -> Value {
    serde_json::from_str(&root.good(&["network", "show"])).unwrap()
}

/// Probes until there is a value, and returns it.
fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{what} does not come"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts the trial and waits until its settings are active.
fn trial(root: &TestRoot) -> Child {
    let child = start(root, &["try-network"]);
    until("the activation", || {
        root.path("run/edge-docker/network/active")
            .exists()
            .then_some(())
    });
    child
}

fn keep(root: &TestRoot, settings: &str) {
    let token = token(root, settings);
    let mut child = trial(root);
    root.good(&["network", "confirm", &token]);
    assert!(child.wait().unwrap().success());
}

/// Checks that a boot brings the files in memory back and changes nothing else.
fn restored_at_boot(root: &TestRoot) {
    let changed = || {
        let metadata = fs::metadata(root.path(KEYFILE)).unwrap();
        metadata.modified().unwrap()
    };
    let before = changed();
    fs::remove_dir_all(root.path("run/edge-ai/network")).unwrap();
    root.good(&["restore-network"]);
    assert!(root.path("run/edge-ai/network/proxy.json").exists());
    assert_eq!(changed(), before);
}

#[test]
fn a_confirmed_trial_is_kept() {
    let root = device();
    let token = token(&root, OFFICE);
    // Before the activation the old connection proves nothing.
    let (code, text) = root.say(&["network", "confirm", &token]);
    assert!(code == 1 && text.contains("not active yet"), "{text}");
    let (code, text) = set(&root, WIRED);
    assert!(code == 1 && text.contains("are on trial"), "{text}");
    let mut child = trial(&root);
    let (code, text) = root.say(&["network", "confirm", "0123"]);
    assert!(
        code == 125 && text.contains("no settings with this token"),
        "{text}"
    );
    root.good(&["network", "confirm", &token]);
    assert!(child.wait().unwrap().success());
    // The answer may be lost.
    root.good(&["network", "confirm", &token]);
    assert!(!root.path(PENDING).exists());
    for path in [KEYFILE, "data/config/edge-network/settings.json"] {
        assert_eq!(
            fs::metadata(root.path(path)).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    let shown = show(&root);
    assert_eq!(
        (&shown["last"]["result"], &shown["trial"]),
        (&"kept".into(), &Value::Null)
    );
    let sources = fs::read_to_string(root.path("run/edge-ai/network/edge.sources")).unwrap();
    assert_eq!(sources, "server ntp.example.com iburst prefer\n");
    let proxy = fs::read_to_string(root.path("run/edge-ai/network/proxy.json")).unwrap();
    assert!(proxy.contains("http://proxy.example:3128"), "{proxy}");
    let calls = fs::read_to_string(root.path("calls")).unwrap();
    for call in [
        "systemctl start --no-block edge-network-trial.service",
        "nmcli connection reload",
        "nmcli --wait 30 connection up id edge-wlan0",
        "chronyc reload sources",
        "systemctl try-restart --no-block edge-heartbeat.service",
    ] {
        assert!(calls.contains(call), "{call}: {calls}");
    }
    let ledger = root.good(&["ledger"]);
    assert!(
        ledger.contains("network set") && ledger.contains("network confirm"),
        "{ledger}"
    );
    for text in [ledger, calls, shown.to_string()] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    restored_at_boot(&root);
    // All automatic again.
    keep(&root, "{}");
    assert!(!root.path(KEYFILE).exists() && !root.path("run/edge-ai/network/proxy.json").exists());
}

#[test]
fn an_interface_that_does_not_come_up_returns_at_once() {
    let root = device();
    keep(&root, WIRED);
    fs::write(root.path("refused"), "edge-wlan0\n").unwrap();
    token(&root, OFFICE);
    root.good(&["try-network"]);
    assert!(!root.path(KEYFILE).exists() && !root.path(PENDING).exists());
    assert!(
        root.path("data/config/NetworkManager/edge-eth0.nmconnection")
            .exists()
    );
    let shown = show(&root);
    assert_eq!(shown["last"]["result"], "returned");
    assert!(
        shown["last"]["why"]
            .as_str()
            .unwrap()
            .contains("activating wlan0"),
        "{shown}"
    );
    assert_eq!(shown["settings"]["interfaces"][0]["name"], "eth0");
    let calls = fs::read_to_string(root.path("calls")).unwrap();
    assert!(
        calls.ends_with("edge-heartbeat.service\n") && calls.contains("device connect wlan0"),
        "{calls}"
    );
    assert!(root.good(&["ledger"]).contains("failed network set"));
}

#[test]
fn an_interrupted_trial_returns_at_the_boot() {
    let root = device();
    keep(&root, WIRED);
    token(&root, OFFICE);
    let mut child = trial(&root);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(root.path(KEYFILE).exists());
    fs::remove_dir_all(root.path("run")).unwrap();
    root.good(&["restore-network"]);
    assert!(!root.path(KEYFILE).exists() && !root.path(PENDING).exists());
    assert!(
        show(&root)["last"]["why"]
            .as_str()
            .unwrap()
            .contains("interrupted")
    );
    // A torn file, as no write of this program leaves it.
    fs::write(root.path(PENDING), "{").unwrap();
    assert_eq!(set(&root, WIRED).0, 1);
    root.good(&["restore-network"]);
    keep(&root, OFFICE);
}

#[test]
fn nobody_and_the_cloud() {
    let root = device();
    let cloud = device();
    token(&root, OFFICE);
    let start = Instant::now();
    let mut alone = trial(&root);
    // The other one reaches the cloud; an earlier connection does not count.
    let connection = cloud.path("run/edge-ai/heartbeat/connection.json");
    fs::create_dir_all(connection.parent().unwrap()).unwrap();
    fs::write(&connection, r#"{"refused_since":null}"#).unwrap();
    token(&cloud, WIRED);
    let mut reached = trial(&cloud);
    assert!(!connection.exists());
    fs::write(&connection, r#"{"refused_since":null}"#).unwrap();
    assert!(reached.wait().unwrap().success());
    let shown = show(&cloud);
    assert_eq!(shown["last"]["result"], "kept");
    assert!(
        shown["last"]["why"].as_str().unwrap().contains("cloud"),
        "{shown}"
    );
    assert!(alone.wait().unwrap().success());
    let seconds = start.elapsed().as_secs();
    assert!((115..180).contains(&seconds), "{seconds} s");
    assert!(!root.path(KEYFILE).exists());
    assert!(
        show(&root)["last"]["why"]
            .as_str()
            .unwrap()
            .contains("neither the laptop nor the cloud")
    );
}

#[test]
fn wrong_settings_and_callers_change_nothing() {
    let root = device();
    let large = format!("{{\"proxy\":\"{}\"}}", "x".repeat(100_000));
    for (settings, part) in [
        ("", "network set"),
        ("{", "network set"),
        ("[]", "not a list"),
        (&large, "at most 16384 bytes"),
        (
            r#"{"interfaces":[{"name":"eth0","type":"wired","mtu":68}]}"#,
            "1280 to 9216",
        ),
        (
            r#"{"interfaces":[{"name":"docker0","type":"wired"}]}"#,
            "belongs to the engine",
        ),
        (&OFFICE.replace("-hunter2\"", "\""), "8 to 63"),
        (&OFFICE.replace("ntp\"", "extra\""), "unknown field"),
    ] {
        let (code, text) = set(&root, settings);
        assert!(
            code == 125 && text.contains(part),
            "{settings:.60}: {code} {text}"
        );
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(!root.path(PENDING).exists() && !root.path("calls").exists());
    for args in [
        &["network"][..],
        &["network", "ls"],
        &["network", "confirm"],
        &["network", "show", "x"],
    ] {
        assert_eq!(root.say(args).0, 125, "{args:?}");
    }
    let policy = r#"{"sandbox":false,"run":"signed","engineer":"look"}"#;
    fs::write(
        root.path("etc/edge-ai/container-config/policy.json"),
        policy,
    )
    .unwrap();
    show(&root);
    let (code, text) = set(&root, WIRED);
    assert!(code == 125 && text.contains("level `operate`"), "{text}");
    for name in ["try-network", "restore-network"] {
        let line = root.line(&[name]);
        let mut command = Command::new(&line[0]);
        let output = command
            .args(&line[1..])
            .env("SUDO_UID", "1000")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(125));
    }
}
