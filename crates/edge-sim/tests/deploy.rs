//! edge-app deploys: to a fleet of devices with a stand-in for edge-docker, and
//! to a device with the real one and an engine.
#![allow(
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::unwrap_used,
    missing_docs
)]

mod bench;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bench::Cloud;
use edge_signature::{Credentials, Registry, Repository};
use edge_sim::device::{Device, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Takes as long as a small pull and a switch, and keeps its words.
const STAND_IN: &str = r#"#!/bin/sh
case $1 in
pull) cat >/data/password; printf '%s\0' "$@" >/data/pull; [ -e /data/fast ] || sleep 1.5 ;;
replace)
	[ "$2" = --status ] && exit 0
	printf '%s\0' "$@" >/data/replace
	[ -e /data/fast ] || sleep 1.5
	if [ -e /data/broken ]; then
		echo "edge-docker: hello: it ended with exit code 7; switched back" >&2
		exit 123
	fi ;;
*) printf '%s\0' "$@" >"/data/$1" ;;
esac
"#;

/// One test at a time: what is measured needs the machine for itself.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_edge-sim")).with_file_name(name);
    assert!(path.exists(), "{name} is missing: cargo build -p {name}");
    path
}

/// A project whose one app is `hello`.
struct Project<'a> {
    folder: TempDir,
    cloud: &'a Cloud,
    registry: String,
    docker: Option<String>,
}

impl<'a> Project<'a> {
    fn new(cloud: &'a Cloud, registry: String, devices: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let project = Self {
            folder,
            cloud,
            registry,
            docker: None,
        };
        let config = json!({
            "registry": project.registry, "ca": cloud.file("ca.pem"), "devices": devices,
            "credentials": {
                "username": "AWS", "password_file": cloud.value("registry_password_file"),
            },
            "signing_key": cloud.value("signing_key"), "platform": "linux/amd64",
        });
        project.put("edge-app.yaml", &config.to_string());
        project.put("hello/Dockerfile", "FROM scratch\n");
        project.put("hello/app.yaml", "name: hello\n");
        project
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program("edge-app"));
        command.args(words).current_dir(self.folder.path());
        command.env("HTTPS_PROXY", self.cloud.value("proxy"));
        command.env("NO_PROXY", "localhost");
        command.envs(self.docker.iter().map(|host| ("DOCKER_HOST", host)));
        command.stdin(Stdio::null());
        command
    }

    /// Exit code, standard output, standard error.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let output = self.command(words).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(output.stdout), text(output.stderr));
        (output.status.code().unwrap(), out, err)
    }

    fn good(&self, words: &[&str]) -> String {
        let (code, out, err) = self.run(words);
        assert_eq!(code, 0, "{words:?}: {out}{err}");
        out
    }
}

fn password(cloud: &Cloud) -> String {
    let text = fs::read_to_string(cloud.file("registry.password")).unwrap();
    text.trim().into()
}

/// Something that can be resolved, as `hello-v1`.
fn push(cloud: &Cloud, registry: &str) -> String {
    let repository: Repository = registry.parse().unwrap();
    let login = Credentials {
        username: "AWS".into(),
        password: password(cloud),
    };
    let authority = fs::read(cloud.file("ca.pem")).unwrap();
    let registry = Registry::new(&repository, Some(login), &[authority]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let config = registry.push_blob(b"{}".to_vec()).await.unwrap();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": config,
            },
        });
        let bytes = manifest.to_string().into_bytes();
        let digest = registry.push_manifest("hello-v1", bytes, MANIFEST).await;
        digest.unwrap().to_string()
    })
}

/// Looks at every command line and environment of this machine, again and again.
struct Sampler {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(u32, Vec<String>)>,
}

impl Sampler {
    fn start(secret: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut samples, mut found) = (0, Vec::new());
            while !flag.load(Ordering::Relaxed) {
                samples += 1;
                for entry in fs::read_dir("/proc").unwrap().flatten() {
                    for name in ["cmdline", "environ"] {
                        let text = fs::read(entry.path().join(name)).unwrap_or_default();
                        let text = String::from_utf8_lossy(&text).into_owned();
                        if text.contains(&secret) {
                            found.push(text);
                        }
                    }
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            (samples, found)
        });
        Self { stop, thread }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let (samples, found) = self.thread.join().unwrap();
        println!("{samples} samples of the process list");
        assert!(samples > 5 && found.is_empty(), "{found:?}");
    }
}

/// Devices without an engine, whose edge-docker is the stand-in.
struct Fleet {
    devices: Vec<Device>,
    folder: TempDir,
}

impl Fleet {
    fn start(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("edge-docker");
        fs::write(&script, STAND_IN).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let start = |number: usize| {
            let name = format!("d{number:02}");
            let place = folder.path().join(&name);
            fs::create_dir(&place).unwrap();
            let settings = Settings {
                name: &name,
                edge_docker: &script,
                edge_sim: Path::new(env!("CARGO_BIN_EXE_edge-sim")),
                engine: false,
                ..Settings::default()
            };
            Device::start(&place, &settings).unwrap()
        };
        let devices = (0..count).map(start).collect();
        Self { devices, folder }
    }

    fn config(&self) -> Value {
        let each = self.devices.iter().enumerate();
        each.map(|(number, device)| {
            let name = format!("d{number:02}");
            (name, json!({ "ssh_config": device.ssh_config() }))
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
    }
}

fn localhost(cloud: &Cloud) -> String {
    let name = cloud.value("registry");
    name.replace("cloud.edge.test", "localhost")
}

#[test]
fn a_fleet_at_once_with_broken_ones_among_it() {
    let _alone = alone();
    let (cloud, fleet) = (Cloud::up(), Fleet::start(20));
    let registry = localhost(&cloud);
    let digest = push(&cloud, &registry);
    let project = Project::new(&cloud, registry, &fleet.config());
    let deploy = ["deploy", "hello", "--version", "v1"];

    let start = Instant::now();
    let five = ["d00", "d01", "d02", "d03", "d04", "--jobs", "1"];
    project.good(&[&deploy[..], &five].concat());
    let one_after_another = start.elapsed() * 4;
    for device in &fleet.devices {
        let _ = fs::remove_file(device.path("/data/replace"));
    }

    for broken in [3, 11] {
        fs::write(fleet.devices[broken].path("/data/broken"), "").unwrap();
    }
    let closed = fleet.folder.path().join("d17/ssh_config");
    fs::write(&closed, "Host *\n  ProxyCommand false\n").unwrap();
    let sampler = Sampler::start(password(&cloud));
    let start = Instant::now();
    let (code, out, err) = project.run(&[&deploy[..], &["--all", "--max-failures", "9"]].concat());
    let at_once = start.elapsed();
    sampler.end();
    assert_eq!(code, 10, "{out}{err}");
    assert!(err.contains("3 of 20 devices failed"), "{err}");
    let words = |name: &str| {
        let line = out.lines().find(|l| l.starts_with(name)).unwrap();
        line[name.len()..].trim_start().to_string()
    };
    for (number, device) in fleet.devices.iter().enumerate() {
        let said = words(&format!("d{number:02}"));
        let wanted = match number {
            3 | 11 => "switched back",
            17 => "unreachable",
            _ => "done",
        };
        assert!(said.starts_with(wanted), "{number}: {out}");
        if number != 17 {
            let got = fs::read(device.path("/data/replace")).unwrap();
            let got = String::from_utf8(got).unwrap();
            assert!(got.ends_with(&format!("@{digest}\0")), "{got}");
            let got = fs::read_to_string(device.path("/data/password")).unwrap();
            assert_eq!(got, password(&cloud));
        }
    }
    let times = one_after_another.as_secs_f32() / at_once.as_secs_f32();
    println!(
        "20 devices: {one_after_another:?} one after another (of 5), {at_once:?} at once: {times:.1} times faster"
    );
    assert!(times > 4.0, "{times}");

    let (code, out, err) = project.run(&[&deploy[..], &["d03", "d04", "--jobs", "1"]].concat());
    assert!(code == 10 && out.contains("not started"), "{out}{err}");
    assert!(err.contains("raise --max-failures"), "{err}");
    assert_eq!(project.run(&[&deploy[..], &["d03"]].concat()).0, 8);
}

#[test]
fn words_that_a_shell_would_take_arrive_as_they_are() {
    let _alone = alone();
    let (cloud, fleet) = (Cloud::up(), Fleet::start(1));
    let registry = localhost(&cloud);
    let digest = push(&cloud, &registry);
    let project = Project::new(&cloud, registry.clone(), &fleet.config());
    let nasty = [
        "$(touch /data/pwned)",
        "`touch /data/pwned`",
        "'; touch /data/pwned; '",
        "\"; touch /data/pwned; \"",
        "a  b\\",
        "-oProxyCommand=touch /data/pwned",
        "* ~ ! # & | > < é %s",
        "",
    ];
    fs::write(fleet.devices[0].path("/data/fast"), "").unwrap();
    for value in nasty {
        let app = json!({
            "name": "hello", "env": { "A": value }, "ports": ["80:80"], "grants": ["a;id"],
            "health": { "command": value, "interval": "1s" }, "volumes": [".:/data"],
            "resources": { "memory": "$(id)", "pids": 7 },
        });
        project.put("hello/app.yaml", &app.to_string());
        project.good(&["deploy", "hello", "d00", "--version", "v1"]);
        let device = &fleet.devices[0];
        let got = fs::read_to_string(device.path("/data/replace")).unwrap();
        let got: Vec<_> = got.split_terminator('\0').collect();
        let wanted = [
            "--restart=unless-stopped",
            "--publish=80:80",
            &format!("--env=A={value}"),
            "--volume=/data/apps/hello:/data",
            &format!("--health-cmd={value}"),
            "--health-interval=1s",
            "--memory=$(id)",
            "--pids-limit=7",
            "--grant=a;id",
        ];
        let label = format!("--label=edge-app.options={}", json!(wanted));
        let image = format!("{registry}@{digest}");
        let first = ["replace", "hello", "--timeout=120", &label];
        assert_eq!(got, [&first[..], &wanted, &[image.as_str()]].concat());
        assert!(!device.path("/data/pwned").exists(), "{value}");
    }
    for name in ["a b", "$(id)", "-x", "a\nb", "../a", "a-previous", "a'b"] {
        for words in [
            &["rollback", "--", name, "d00"][..],
            &["stop", "--", name, "d00"],
        ] {
            let (code, _, said) = project.run(words);
            assert!(
                code == 2 && said.contains("not the name of an app"),
                "{said}"
            );
        }
    }
    for name in [
        "-oProxyCommand=id",
        "a b",
        "$(id)",
        "a;id",
        "a\nb",
        "a/b",
        "'",
    ] {
        for verb in [
            &["status"][..],
            &["rollback", "hello"],
            &["diff", "hello", "--version=v1"],
        ] {
            let (code, _, said) = project.run(&[verb, &["--", name]].concat());
            assert!(
                code == 2 && said.contains("not the name of a device"),
                "{said}"
            );
        }
    }
}

/// A device with the real edge-docker, an engine, and a registry to pull from.
struct Real<'a> {
    device: Device,
    project: Project<'a>,
    _folder: TempDir,
}

impl<'a> Real<'a> {
    fn start(cloud: &'a Cloud) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = cloud.value("registry");
        let port = registry.split(['/', ':']).nth(1).unwrap().parse().unwrap();
        let edge_docker = program("edge-docker");
        let settings = Settings {
            name: "jetson",
            edge_docker: &edge_docker,
            edge_sim: Path::new(env!("CARGO_BIN_EXE_edge-sim")),
            repository: &registry,
            keys: &[cloud.file("signing.pub")],
            authorities: &[cloud.file("ca.pem")],
            ports: &[port],
            ..Settings::default()
        };
        let device = Device::start(folder.path(), &settings).unwrap();
        let devices = json!({ "jetson": { "ssh_config": device.ssh_config() } });
        let mut project = Project::new(cloud, registry, &devices);
        project.docker = Some(device.engine());
        Self {
            device,
            project,
            _folder: folder,
        }
    }

    /// Makes, signs and pushes a version that runs `script`.
    fn push(&self, version: &str, script: &str) {
        let name = format!("{}:hello-{version}", self.project.registry);
        let entry = format!("ENTRYPOINT {}", json!(["/bin/sh", "-c", script]));
        let mut import = self.device.command("docker");
        import.args(["import", "--change", &entry, "-", &name]);
        let mut child = import
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&shell()).unwrap();
        assert!(child.wait().unwrap().success());
        self.project.good(&["push", "hello", "--version", version]);
    }

    fn status(&self) -> Value {
        let text = self.project.good(&["status", "--json"]);
        serde_json::from_str::<Value>(&text).unwrap()[0].clone()
    }

    /// What `hello` is, by the device's own words.
    fn version(&self) -> String {
        let status = self.status();
        let apps = status["apps"].as_array().unwrap();
        let hello = apps.iter().find(|a| a["name"] == "hello").unwrap();
        assert_eq!(hello["state"], "running", "{hello}");
        hello["version"].as_str().unwrap().into()
    }
}

/// This machine's shell and what it needs.
fn shell() -> Vec<u8> {
    let libraries = Command::new("ldd").arg("/bin/sh").output().unwrap();
    let libraries = String::from_utf8(libraries.stdout).unwrap();
    let libraries = libraries.split_whitespace().filter(|w| w.starts_with('/'));
    let files: BTreeSet<_> = libraries.chain(["/bin/sh", "/bin/sleep"]).collect();
    let files = files.iter().map(|f| f.trim_start_matches('/'));
    let mut tar = Command::new("tar");
    tar.args(["-ch", "-C", "/"])
        .args(files)
        .output()
        .unwrap()
        .stdout
}

const SERVE: &str =
    "echo $$ >>/data/starts; trap 'exit 0' TERM; while :; do read x </dev/full; done";

#[test]
fn a_device_keeps_an_app_that_works() {
    let _alone = alone();
    let cloud = Cloud::up();
    let real = Real::start(&cloud);
    let project = &real.project;
    let app = |health: &str| {
        let text = json!({
            "name": "hello", "volumes": [".:/data"],
            "health": { "command": health, "interval": "1s", "retries": 2 },
        });
        project.put("hello/app.yaml", &text.to_string());
    };
    let deploy = |version: &str| {
        let words = [
            "deploy",
            "hello",
            "jetson",
            "--timeout=30",
            "--version",
            version,
        ];
        project.run(&words)
    };
    app("true");
    let sampler = Sampler::start(password(&cloud));
    real.push("v1", SERVE);
    let (code, out, err) = deploy("v1");
    sampler.end();
    assert!(code == 0 && out.contains("hello v1 runs"), "{out}{err}");
    assert_eq!(real.version(), "v1");
    let login = real.device.path("/data/.docker/config.json");
    assert!(!login.exists(), "a login stays behind");
    let diff = ["diff", "hello", "jetson", "--version", "v1"];
    assert!(project.good(&diff).contains("nothing would change"));

    real.push("v2", "echo broken >&2; exit 7");
    let (code, out, err) = deploy("v2");
    assert!(code == 8 && err.contains("exit code 7"), "{out}{err}");
    assert_eq!(real.version(), "v1");
    assert!(
        project
            .good(&["status"])
            .contains("the last switch of hello")
    );
    app("exit 1");
    real.push("v3", SERVE);
    let (code, out, err) = deploy("v3");
    assert!(
        code == 8 && err.contains("health check fails"),
        "{out}{err}"
    );
    assert_eq!(real.version(), "v1");

    app("true");
    let diff = project.good(&["diff", "hello", "jetson", "--version", "v3"]);
    assert!(diff.contains("version  v1 -> v3"), "{diff}");
    let list = project.good(&["list", "--json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list[0]["devices"], json!(["jetson"]), "{list}");

    cut_in_the_middle(&real);
    assert_eq!(real.version(), "v3");
    project.good(&["rollback", "hello", "jetson"]);
    assert_eq!(real.version(), "v1");
    let starts = real.device.path("/data/apps/hello/starts");
    assert!(
        fs::read_to_string(starts).unwrap().lines().count() > 3,
        "data are kept"
    );
    project.good(&["remove", "hello", "jetson"]);
    assert_eq!(real.status()["apps"], json!([]));
}

/// The connection is cut while the device switches; edge-app asks again.
fn cut_in_the_middle(real: &Real) {
    let words = [
        "deploy",
        "hello",
        "jetson",
        "--version",
        "v3",
        "--timeout=30",
    ];
    let mut command = real.project.command(&words);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let record = real
        .device
        .path("/data/config/edge-docker/switches/hello.json");
    let start = Instant::now();
    while !fs::read_to_string(&record)
        .unwrap_or_default()
        .contains("\"trial\"")
    {
        assert!(start.elapsed() < Duration::from_secs(60), "no switch");
        std::thread::sleep(Duration::from_millis(5));
    }
    real.device.cut_connections().unwrap();
    let output = child.unwrap().wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("asking how the switch ends"), "{said}");
}
