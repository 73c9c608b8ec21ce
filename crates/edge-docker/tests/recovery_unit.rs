//! Recovery of an interrupted deployment by its real unit, with its sandbox, under systemd.
//! Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use edge_sim::namespaces::Booted;
use edge_sim::testbed::build_context;
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;

const DOCKERFILE: &str = "FROM scratch\nCOPY busybox /bin/busybox\n\
    RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nENV PATH=/bin\n\
    STOPSIGNAL SIGKILL\nCMD [\"sleep\", \"100000\"]\n";
const DATA: &str = "/data/sandbox/lamp";

fn sh(device: &Booted, script: &str) -> Command {
    let mut command = device.command("sh");
    command.args(["-c", script]);
    command
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn good(device: &Booted, script: &str) -> String {
    let output = sh(device, script).output().unwrap();
    assert!(output.status.success(), "{script}: {}", text(&output));
    text(&output).trim().into()
}

/// Command line of a deployment whose container runs as `user`.
fn replace(head: &str, user: &str) -> String {
    format!("{head} lamp -v {DATA}:/state -u {user} --restart always sandbox/lamp")
}

#[test]
fn the_unit_gives_directories_back_to_the_old_version() {
    let directory = tempfile::tempdir().unwrap();
    let policy = br#"{"sandbox":true,"run":"any","engineer":"debug"}"#;
    let edge_docker = Path::new(env!("CARGO_BIN_EXE_edge-docker"));
    let anchors = "/etc/edge-ai/container-config";
    let key = EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap());
    let key = key.unwrap().public_key_to_pem().unwrap();
    let files: [(&str, &[u8]); 3] = [
        (&format!("{anchors}/container-signing.pub"), &key),
        (&format!("{anchors}/policy.json"), policy),
        (&format!("{anchors}/ecr-url.txt"), b"registry.test/edge-ai"),
    ];
    let device = Booted::start(directory.path(), &[edge_docker], &files).unwrap();
    let mut build = sh(&device, "edge-docker build -q -t sandbox/lamp -");
    let mut build = build.stdin(Stdio::piped()).spawn().unwrap();
    let context = build_context(&[("Dockerfile", DOCKERFILE.as_bytes())]);
    build.stdin.take().unwrap().write_all(&context).unwrap();
    assert!(build.wait().unwrap().success());

    good(&device, &replace("edge-docker replace", "1001:1001"));
    let owner = || fs::metadata(device.path(DATA)).unwrap().uid();
    assert_eq!(owner(), 1001);
    let head = "systemd-run --unit=switch edge-docker replace --apart";
    good(&device, &replace(head, "1002:1002"));
    let start = Instant::now();
    while owner() != 1002 {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "the switch does not come"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    // As a power loss does, in the trial.
    good(&device, "systemctl kill --signal=KILL switch");
    let journal = "journalctl -u edge-docker-recover --no-pager -n 20";
    let recovered = sh(&device, "systemctl restart edge-docker-recover")
        .output()
        .unwrap();
    assert!(recovered.status.success(), "{}", good(&device, journal));
    assert_eq!(owner(), 1001, "{}", good(&device, journal));
    let user = good(
        &device,
        "docker inspect -f '{{.State.Running}} {{.Config.User}}' lamp",
    );
    assert_eq!(user, "true 1001:1001");
}
