//! A device in namespaces of its own: this machine's files below a layer that
//! forgets, its own /data and /run, no network, and the real engine with the
//! image's own configuration. All of it ends with the test.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs
)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use edge_signature::{Annotations, Digest, ImageRef, Manifest, Proof, Signed};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use serde_json::{Value, json};
use tempfile::TempDir;

pub const REPOSITORY: &str = "registry.test:5000/edge-ai";

/// What PID 1 of the device does first.
const INIT: &str = r#"set -e
cd "$1"
mount -t tmpfs -o mode=755 tmpfs top
mkdir top/up top/work
mount -t overlay overlay -o lowerdir=/,upperdir="$1/top/up",workdir="$1/top/work" new
mkdir -p new/data new/old
mount --bind data new/data
mount -t tmpfs -o mode=755 tmpfs new/run
mount -t proc proc new/proc
mount --rbind /sys new/sys
mount --rbind /dev new/dev
cd new
pivot_root . old
umount -l /old
ip link set lo up
: >/run/ready
exec cat >/dev/null"#;

/// As systemd does with the plugin's socket and its service.
const ACTIVATE: &str = r#"
import os, select, socket, subprocess
place = "/run/docker/plugins/edge-docker.sock"
os.makedirs(os.path.dirname(place), mode=0o711, exist_ok=True)
if os.path.exists(place): os.unlink(place)
door = socket.socket(socket.AF_UNIX)
door.bind(place)
door.listen(128)
while True:
    select.select([door], [], [])
    gate = subprocess.Popen(["/usr/bin/edge-docker", "authz"], stdin=door)
    open("/run/gate.pid", "w").write(str(gate.pid))
    gate.wait()
"#;

pub struct Device {
    _folder: TempDir,
    init: Child,
    pid: u32,
    engine: Option<Child>,
    activator: Option<Child>,
}

/// An image that is loaded, and signed as `app`.
pub struct Image {
    pub id: String,
    /// `REPOSITORY@DIGEST`
    pub name: String,
    pub layers: Vec<String>,
}

impl Device {
    pub fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("edge-device-")
            .tempdir()
            .unwrap();
        for name in ["top", "new", "data"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut init = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child"])
            .args(["--propagation", "private", "/bin/sh", "-c", INIT, "init"])
            .arg(folder.path())
            // It ends with this pipe, and so with us, whatever becomes of us.
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = until("the device", || {
            assert!(
                init.try_wait().unwrap().is_none(),
                "the device ended: are you root?"
            );
            let children = format!("/proc/{0}/task/{0}/children", init.id());
            let pid: u32 = fs::read_to_string(children).ok()?.trim().parse().ok()?;
            Path::new(&format!("/proc/{pid}/root/run/ready"))
                .exists()
                .then_some(pid)
        });
        let device = Self {
            _folder: folder,
            init,
            pid,
            engine: None,
            activator: None,
        };
        device.furnish();
        device
    }

    /// Programs, trust anchors and configuration, as the image has them.
    fn furnish(&self) {
        let key = EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap());
        let key = PKey::from_ec_key(key.unwrap()).unwrap();
        self.write("/data/key.pem", &key.private_key_to_pem_pkcs8().unwrap());
        let anchors = "/etc/edge-ai/container-config";
        let public = key.public_key_to_pem().unwrap();
        self.write(&format!("{anchors}/container-signing.pub"), &public);
        self.write(&format!("{anchors}/ecr-url.txt"), REPOSITORY.as_bytes());
        self.write(&format!("{anchors}/policy.json"), br#"{"sandbox":true}"#);
        let daemon = "../../yocto/meta-edge-secure/recipes-edge/edge-policy/files/daemon.json";
        self.write("/etc/docker/daemon.json", &fs::read(daemon).unwrap());
        let _ = fs::remove_file(self.path("/usr/bin/edge-docker"));
        fs::copy(
            env!("CARGO_BIN_EXE_edge-docker"),
            self.path("/usr/bin/edge-docker"),
        )
        .unwrap();
        for folder in [
            "/data/apps",
            "/data/sandbox",
            "/data/docker",
            "/data/config/edge-docker",
        ] {
            fs::create_dir_all(self.path(folder)).unwrap();
        }
    }

    /// The same configuration of the engine, but for the door.
    pub fn without_plugin(&self) {
        let place = "/etc/docker/daemon.json";
        let mut daemon = self.json(place);
        let plugins = daemon.as_object_mut().unwrap();
        assert!(plugins.remove("authorization-plugins").is_some());
        self.write(place, daemon.to_string().as_bytes());
    }

    /// Where a path of the device lies for us.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.pid))
    }

    pub fn write(&self, path: &str, content: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid.to_string(), "--all", "--"])
            .args(words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).stdin(Stdio::null()).output().unwrap()
    }

    /// Output of what must succeed.
    pub fn good(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    }

    /// Words of what must fail, and its exit code.
    pub fn bad(&self, words: &[&str]) -> (i32, String) {
        let output = self.run(words);
        assert!(!output.status.success(), "{words:?}: {}", said(&output));
        (output.status.code().unwrap_or(-1), said(&output))
    }

    pub fn open_door(&mut self) {
        let activator = self.command(&["python3", "-c", ACTIVATE]).spawn();
        self.activator = Some(activator.unwrap());
        until("the plugin's socket", || {
            self.path("/run/docker/plugins/edge-docker.sock")
                .exists()
                .then_some(())
        });
    }

    /// As the units do: the door, the sweep, the engine.
    pub fn start_engine(&mut self) {
        if self.activator.is_none() {
            self.open_door();
        }
        self.good(&["edge-docker", "sweep"]);
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("/data/engine.log"));
        let log = log.unwrap();
        let mut engine = self.command(&["dockerd"]);
        engine.stdout(log.try_clone().unwrap()).stderr(log);
        let mut engine = engine.spawn().unwrap();
        until("the engine", || {
            let log = || fs::read_to_string(self.path("/data/engine.log")).unwrap_or_default();
            assert!(engine.try_wait().unwrap().is_none(), "{}", log());
            self.run(&["docker", "version"])
                .status
                .success()
                .then_some(())
        });
        self.engine = Some(engine);
    }

    pub fn stop_engine(&mut self) {
        let pid = fs::read_to_string(self.path("/run/docker.pid")).unwrap();
        self.good(&["kill", pid.trim()]);
        let mut engine = self.engine.take().unwrap();
        engine.wait().unwrap();
    }

    /// Kills the plugin; the socket stays.
    pub fn kill_gate(&self) {
        let pid = fs::read_to_string(self.path("/run/gate.pid")).unwrap();
        self.good(&["kill", "-KILL", pid.trim()]);
    }

    /// No plugin and no socket.
    pub fn close_door(&mut self) {
        let mut activator = self.activator.take().unwrap();
        activator.kill().unwrap();
        activator.wait().unwrap();
        self.good(&[
            "sh",
            "-c",
            "kill -KILL $(pidof python3) $(pidof edge-docker)",
        ]);
        fs::remove_file(self.path("/run/docker/plugins/edge-docker.sock")).unwrap();
    }

    /// Asks the engine; status and answer.
    pub fn ask(&self, method: &str, uri: &str, more: &[&str]) -> (u16, String) {
        let url = ["http://docker", uri].concat();
        let url = if uri.starts_with("http") { uri } else { &url };
        let head = [
            "curl",
            "-s",
            "--path-as-is",
            "-m",
            "20",
            "--unix-socket",
            "/run/docker.sock",
        ];
        let words = [
            &head[..],
            &["-X", method, "-w", "\n%{http_code}", url],
            more,
        ]
        .concat();
        let text = String::from_utf8_lossy(&self.run(&words).stdout).into_owned();
        let (answer, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap_or(0), answer.into())
    }

    pub fn feed(&self, words: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(words);
        let piped = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // What it says if it does not read on tells more.
                let _ = stdin.write_all(input);
            });
            child.wait_with_output().unwrap()
        })
    }

    /// Loads an image of two layers, as anyone may, and keeps a proof of it, as
    /// a pull does. `ballast` bytes make it large.
    pub fn image(&self, app: &str, ballast: usize) -> Image {
        let layers = [programs(), extra(ballast)];
        let digests = layers.each_ref().map(|l| Digest::of(l).to_string());
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z",
            "config": { "Env": ["PATH=/bin", "FROM_IMAGE=yes"], "Cmd": ["sleep", "1000"],
                "WorkingDir": "/tmp/", "Volumes": { "/cache": {} }, "Labels": { "maker": app } },
            "rootfs": { "type": "layers", "diff_ids": digests },
        });
        let config = config.to_string().into_bytes();
        let id = Digest::of(&config);
        let contents = json!([{ "Config": "config.json", "RepoTags": [format!("sandbox/{app}:base")],
            "Layers": ["0/layer.tar", "1/layer.tar"] }]);
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in [
            ("config.json", &config),
            ("0/layer.tar", &layers[0]),
            ("1/layer.tar", &layers[1]),
            ("manifest.json", &contents.to_string().into_bytes()),
        ] {
            add(&mut archive, name, 0o644, content);
        }
        let output = self.feed(&["edge-docker", "load"], &archive.into_inner().unwrap());
        assert!(output.status.success(), "{}", said(&output));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": id.as_str(), "size": config.len() },
            "layers": [],
        });
        let name = self.prove(app, &Manifest::new(manifest.to_string().into_bytes()));
        Image {
            id: id.to_string(),
            name,
            layers: digests.to_vec(),
        }
    }

    fn prove(&self, app: &str, manifest: &Manifest) -> String {
        let annotations = Annotations {
            app: app.into(),
            version: "v1".into(),
            serial: 1,
            grants: Vec::new(),
        };
        let reference: ImageRef = format!("{REPOSITORY}:{app}-v1").parse().unwrap();
        let payload = edge_signature::payload(&reference, &manifest.digest, &annotations);
        let key = fs::read(self.path("/data/key.pem")).unwrap();
        let (signature, _) = edge_signature::sign_with_pem(&key, &payload).unwrap();
        let proof = Proof::new(manifest, vec![Signed::new(payload, signature)]);
        let hex = manifest.digest.hex();
        let path = format!("/data/config/edge-docker/proofs/{hex}.json");
        self.write(&path, &serde_json::to_vec(&proof).unwrap());
        format!("{REPOSITORY}@{}", manifest.digest)
    }

    /// Names of the containers that run.
    pub fn running(&self) -> Vec<String> {
        let names = self.good(&["docker", "ps", "--format", "{{.Names}}"]);
        let mut names: Vec<_> = names.lines().map(String::from).collect();
        names.sort();
        names
    }

    pub fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(path)).unwrap()).unwrap()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Everything on the device goes with its first process.
        let _ = self.init.kill();
        let _ = self.init.wait();
        for child in [&mut self.engine, &mut self.activator]
            .into_iter()
            .flatten()
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).trim().to_string()
}

/// Asks until there is an answer.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            start.elapsed() < Duration::from_secs(90),
            "{what} does not come"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn add(archive: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, name, content).unwrap();
}

/// A few programs of this machine, with their libraries.
fn programs() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut folder = tar::Header::new_ustar();
    folder.set_entry_type(tar::EntryType::Directory);
    folder.set_mode(0o1777);
    folder.set_size(0);
    archive.append_data(&mut folder, "tmp/", &[][..]).unwrap();
    let mut libraries = std::collections::BTreeSet::new();
    for program in ["sleep", "cat", "ls", "sh"] {
        let path = fs::canonicalize(format!("/bin/{program}")).unwrap();
        let listed = Command::new("ldd").arg(&path).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let words = listed.split_whitespace().filter(|w| w.starts_with('/'));
        libraries.extend(words.map(String::from));
        add(
            &mut archive,
            &format!("bin/{program}"),
            0o755,
            &fs::read(path).unwrap(),
        );
    }
    for library in libraries {
        add(
            &mut archive,
            library.trim_start_matches('/'),
            0o755,
            &fs::read(&library).unwrap(),
        );
    }
    archive.into_inner().unwrap()
}

/// Something of every kind, above the first layer.
fn extra(ballast: usize) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    add(&mut archive, "etc/app.conf", 0o640, b"signed\n");
    add(&mut archive, "bin/.wh.cat", 0o644, b"");
    let mut link = tar::Header::new_ustar();
    link.set_mode(0o777);
    link.set_size(0);
    link.set_entry_type(tar::EntryType::Symlink);
    archive
        .append_link(&mut link, "etc/app.link", "app.conf")
        .unwrap();
    link.set_entry_type(tar::EntryType::Link);
    archive
        .append_link(&mut link, "etc/app.same", "etc/app.conf")
        .unwrap();
    let mut state = 1_u64;
    let noise = (0..ballast / 8).flat_map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_le_bytes()
    });
    let noise: Vec<u8> = noise.collect();
    for (at, part) in noise.chunks(10 << 20).enumerate() {
        add(&mut archive, &format!("data/part{at}"), 0o644, part);
    }
    archive.into_inner().unwrap()
}
