//! edge-docker against a real engine: links, races, restarts, and hostile lines
//! that would leave a mark. Needs root.
#![allow(
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::unwrap_used,
    missing_docs
)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use edge_sim::namespaces::{Device, Settings};
use edge_sim::testbed::build_image;
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Build context of an image that is a shell.
const DOCKERFILE: &[u8] = b"FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n";
/// Names of the host's root that must not be seen in a container's mount.
const HOST: [&str; 3] = ["proc", "sys", "sbin"];

struct Testbed {
    device: Device,
    _directory: tempfile::TempDir,
}

impl Testbed {
    /// Starts a device with the image `sandbox/box`, a shell.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key.pub");
        let group = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1);
        let pair = openssl::ec::EcKey::generate(&group.unwrap()).unwrap();
        fs::write(&key, pair.public_key_to_pem().unwrap()).unwrap();
        let device = Device::start(
            &directory.path().join("device"),
            &Settings {
                repository: "r.test/edge-ai",
                edge_docker: Some(Path::new(env!("CARGO_BIN_EXE_edge-docker"))),
                keys: &[key],
                ssh: false,
                ..Settings::default()
            },
        )
        .unwrap();
        let testbed = Self {
            device,
            _directory: directory,
        };
        build_image(
            &testbed.device,
            "sandbox/box",
            &[("Dockerfile", DOCKERFILE)],
        );
        testbed
    }

    fn edge_docker(&self, args: &[&str]) -> Output {
        self.on("edge-docker", args)
    }

    fn on(&self, program: &str, args: &[&str]) -> Output {
        let mut command: Command = self.device.command(program);
        command.args(args).stdin(Stdio::null()).output().unwrap()
    }

    fn good(&self, program: &str, args: &[&str]) -> String {
        let output = self.on(program, args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn directory(&self, app: &str) -> PathBuf {
        let directory = self.device.path(&format!("/data/sandbox/{app}"));
        fs::create_dir_all(&directory).unwrap();
        directory
    }
}

/// Program of the container: replaces its mounted directory by a link to `/`, and lists
/// it after each further start.
const ESCAPE: &str = include_str!("escape.sh");

/// Starts [`ESCAPE`] in a container with the name of its directory, which is mounted twice.
fn escape(testbed: &Testbed, program: &str, name: &str) {
    let data = format!("/data/sandbox/{name}:/data");
    let models = format!("/data/sandbox/{name}/models:/models");
    let args = ["run", "-d", "--restart", "always", "--name", name];
    let mounts = ["-v", &data, "-v", &models];
    let command = ["sandbox/box", "sh", "-c", ESCAPE];
    testbed.good(program, &[&args[..], &mounts, &command].concat());
}

/// Returns the lists that the container has written.
fn seen(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|e| e.unwrap().path());
    let seen = names.filter(|p| {
        p.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("seen-")
    });
    seen.map(|p| fs::read_to_string(p).unwrap()).collect()
}

fn host(seen: &str) -> bool {
    HOST.iter().all(|name| seen.lines().any(|l| l == *name))
}

fn wait_seen(testbed: &Testbed, directory: &Path) -> String {
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        if let Some(seen) = seen(directory).pop() {
            return seen;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("nothing was seen: {}", testbed.device.log());
}

#[test]
fn a_nested_mount_is_no_way_out() {
    let mut testbed = Testbed::new();
    let (own, plain) = (testbed.directory("box"), testbed.directory("plain"));
    // With docker alone the container escapes, so this test can fail.
    fs::create_dir(plain.join("models")).unwrap();
    escape(&testbed, "docker", "plain");
    assert!(
        host(&wait_seen(&testbed, &plain)),
        "docker has closed it by itself"
    );
    testbed.good("docker", &["rm", "-f", "plain"]);

    escape(&testbed, "edge-docker", "box");
    assert!(!host(&wait_seen(&testbed, &own)));
    testbed.good("edge-docker", &["restart", "-t", "0", "box"]);

    // After a reboot the link lies where the directory was: the app stays down.
    let before = seen(&own).len();
    testbed.device.shut_down();
    testbed.device.boot().unwrap();
    let running = testbed.on("docker", &["inspect", "-f", "{{.State.Running}}", "box"]);
    let running = String::from_utf8_lossy(&running.stdout).into_owned();
    assert_ne!(running, "true\n", "{}", testbed.device.log());
    assert!(!testbed.edge_docker(&["start", "box"]).status.success());
    assert!(seen(&own).iter().all(|s| !host(s)));
    assert!(seen(&own).len() >= before);
}

#[test]
fn an_honest_app_comes_back_after_a_reboot() {
    let mut testbed = Testbed::new();
    let directory = testbed.directory("box");
    let script = "/bin/busybox date >>/data/starts; /bin/busybox sleep 1000";
    let args = [
        "run",
        "-d",
        "--name",
        "app",
        "--restart",
        "always",
        "-v",
        "/data/sandbox/box/sub:/data",
        "-u",
        "1234",
        "sandbox/box",
        "sh",
        "-c",
        script,
    ];
    testbed.good("edge-docker", &args);
    let starts = || {
        fs::read_to_string(directory.join("sub/starts"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    let until = |wanted: usize| {
        let end = Instant::now() + Duration::from_secs(30);
        while starts() < wanted && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(starts(), wanted);
    };
    until(1);
    testbed.device.shut_down();
    testbed.device.boot().unwrap();
    until(2);
    // Its mount clones are removed with it.
    let clones = || {
        testbed.good(
            "sh",
            &[
                "-c",
                "ls /run/edge-docker/pins /data/config/edge-docker/pins",
            ],
        )
    };
    assert!(clones().contains(".json"));
    testbed.good("edge-docker", &["rm", "-f", "app"]);
    assert!(!clones().contains(".json"), "{}", clones());
    assert_eq!(
        testbed.good("sh", &["-c", "grep -c edge-docker/pins /proc/mounts || :"]),
        "0\n"
    );
}

/// Exchanges a directory and a link to `/` as fast as possible while containers start that
/// mount it.
#[test]
fn a_directory_that_is_swapped_never_shows_the_host() {
    let testbed = Testbed::new();
    let directory = testbed.directory("box");
    fs::create_dir(directory.join("swap")).unwrap();
    fs::write(directory.join("swap/mine"), "").unwrap();
    symlink("/", directory.join("other")).unwrap();
    let stop = AtomicBool::new(false);
    let (started, refused) = (AtomicU32::new(0), AtomicU32::new(0));
    let end = Instant::now() + Duration::from_secs(120);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (one, two) = (directory.join("swap"), directory.join("other"));
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE).unwrap();
                std::thread::yield_now();
            }
        });
        let starts = (0..3).map(|_| {
            scope.spawn(|| {
                let args = [
                    "run",
                    "--rm",
                    "-v",
                    "/data/sandbox/box/swap:/x",
                    "sandbox/box",
                    "/bin/busybox",
                    "ls",
                    "/x",
                ];
                while started.load(Ordering::Relaxed) < 1000 && Instant::now() < end {
                    let output = testbed.edge_docker(&args);
                    let (out, err) = (
                        String::from_utf8_lossy(&output.stdout),
                        String::from_utf8_lossy(&output.stderr),
                    );
                    match output.status.code() {
                        Some(0) => {
                            assert_eq!(out, "mine\n");
                            started.fetch_add(1, Ordering::Relaxed);
                        }
                        Some(125) if err.contains("a link") => {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        _ => panic!("{output:?}"),
                    }
                }
            })
        });
        let results: Vec<_> = starts
            .collect::<Vec<_>>()
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect();
        stop.store(true, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok), "a start went wrong");
    });
    let (started, refused) = (started.into_inner(), refused.into_inner());
    assert!(
        started > 20 && refused > 5,
        "{started} started, {refused} refused"
    );
    writeln!(
        std::io::stdout(),
        "{started} started, {refused} refused: the host was never seen"
    )
    .unwrap();
}

/// Hostile lines of the corpus that would run or create something.
#[test]
fn hostile_lines_leave_no_mark() {
    let testbed = Testbed::new();
    testbed.directory("box");
    let corpus = include_str!("corpus/hostile.txt");
    let mut count = 0;
    for line in corpus.lines().filter_map(|l| Some(l.split_once(" | ")?.1)) {
        let plain = !line.contains(['\'', '"'])
            && ["run ", "build ", "exec ", "create "]
                .iter()
                .any(|v| line.starts_with(v));
        if !plain {
            continue;
        }
        let line = ["@H", "@V", "@N", "@S"]
            .iter()
            .fold(line.to_string(), |l, name| l.replace(name, "sandbox/box"));
        let args: Vec<_> = line.split(' ').collect();
        let output = testbed.edge_docker(&args);
        assert!(
            matches!(output.status.code(), Some(124 | 125)),
            "{line}: {output:?}"
        );
        count += 1;
    }
    let left =
        testbed.good("docker", &["ps", "-aq"]) + &testbed.good("docker", &["volume", "ls", "-q"]);
    assert_eq!(left, "");
    let images = testbed.good("docker", &["images", "--format", "{{.Repository}}"]);
    assert_eq!(images, "sandbox/box\n");
    assert!(count > 150, "{count}");
    writeln!(
        std::io::stdout(),
        "{count} hostile lines at a real engine, no mark"
    )
    .unwrap();
}
