//! Device in namespaces with the authorization plugin and the real engine, which has
//! the configuration of the image. It has no network and ends with the test.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs
)]

pub mod dice;
pub mod image;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use edge_sim::namespaces::{self, Settings};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use serde_json::Value;
use tempfile::TempDir;

/// `PATH` of the commands on the device.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
pub const REPOSITORY: &str = "registry.test:5000/edge-ai";

/// Listens on the plugin's socket and starts the plugin for a connection, as systemd
/// does.
const ACTIVATE: &str = r#"
import os, select, socket, subprocess
path = "/run/docker/plugins/edge-docker.sock"
os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
if os.path.exists(path): os.unlink(path)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(128)
while True:
    select.select([listener], [], [])
    plugin = subprocess.Popen(["/usr/bin/edge-docker", "authz"], stdin=listener)
    open("/run/plugin.pid", "w").write(str(plugin.pid))
    plugin.wait()
"#;

pub struct Device {
    device: namespaces::Device,
    engine: Option<Child>,
    activator: Option<Child>,
    _directory: TempDir,
}

impl Device {
    pub fn start() -> Self {
        Self::with(&Settings {
            repository: REPOSITORY,
            ..Settings::default()
        })
    }

    /// Starts a device whose repository is that of a registry of this machine, which the
    /// device reaches as `localhost`. `authority` is the file of its CA certificate.
    pub fn with_registry(repository: &str, authority: &Path) -> Self {
        let port = repository.split([':', '/']).nth(1).unwrap();
        Self::with(&Settings {
            repository,
            ca_bundle: &[authority.into()],
            ports: &[port.parse().unwrap()],
            ..Settings::default()
        })
    }

    fn with(settings: &Settings) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("edge-device-")
            .tempdir()
            .unwrap();
        let settings = Settings {
            edge_docker: Some(Path::new(env!("CARGO_BIN_EXE_edge-docker"))),
            // The test starts and stops the engine itself.
            engine: false,
            ssh: false,
            ..*settings
        };
        let device = Self {
            device: namespaces::Device::start(directory.path(), &settings).unwrap(),
            engine: None,
            activator: None,
            _directory: directory,
        };
        device.configure();
        device
    }

    /// Writes the configuration of the engine and the key of the signer.
    fn configure(&self) {
        let key = EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap());
        let key = PKey::from_ec_key(key.unwrap()).unwrap();
        self.write("/data/key.pem", &key.private_key_to_pem_pkcs8().unwrap());
        let public = key.public_key_to_pem().unwrap();
        let anchor = "/etc/edge-ai/container-config/container-signing.pub";
        self.write(anchor, &public);
        for name in ["daemon.json", "seccomp.json"] {
            let files = "../../yocto/meta-edge-secure/recipes-edge/edge-policy/files";
            let content = fs::read(format!("{files}/{name}")).unwrap();
            self.write(&format!("/etc/docker/{name}"), &content);
        }
        for directory in ["/data/docker", "/data/config/edge-docker"] {
            fs::create_dir_all(self.path(directory)).unwrap();
        }
    }

    /// Removes the plugin from the configuration of the engine.
    pub fn without_plugin(&self) {
        self.without("authorization-plugins");
    }

    /// Removes the seccomp profile from the configuration of the engine.
    pub fn without_profile(&self) {
        self.without("seccomp-profile");
    }

    fn without(&self, key: &str) {
        let path = "/etc/docker/daemon.json";
        let mut daemon = self.json(path);
        assert!(daemon.as_object_mut().unwrap().remove(key).is_some());
        self.write(path, daemon.to_string().as_bytes());
    }

    /// Returns the path on this machine of a path of the device.
    pub fn path(&self, path: &str) -> PathBuf {
        self.device.inside(path)
    }

    pub fn write(&self, path: &str, content: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.device.command(args[0]);
        // Variables of the test, for example TMPDIR, have no meaning on the device.
        command.args(&args[1..]).env_clear().env("PATH", PATH);
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command that must succeed; returns its standard output.
    pub fn good(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(
            output.status.success(),
            "{args:?}: {}",
            output_text(&output)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    }

    /// Runs a command that must fail; returns its exit code and output.
    pub fn bad(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        assert!(
            !output.status.success(),
            "{args:?}: {}",
            output_text(&output)
        );
        (output.status.code().unwrap_or(-1), output_text(&output))
    }

    pub fn start_plugin(&mut self) {
        let activator = self.command(&["python3", "-c", ACTIVATE]).spawn();
        self.activator = Some(activator.unwrap());
        until("the plugin's socket", || {
            self.path("/run/docker/plugins/edge-docker.sock")
                .exists()
                .then_some(())
        });
    }

    /// Starts the plugin, the boot audit and the engine, in the order of the units.
    pub fn start_engine(&mut self) {
        if self.activator.is_none() {
            self.start_plugin();
        }
        self.good(&["edge-docker", "audit-stored"]);
        self.start_audited_engine();
    }

    /// Starts the engine, after the plugin and the boot audit.
    pub fn start_audited_engine(&mut self) {
        if !self.try_start_engine() {
            let log = fs::read_to_string(self.path("/data/engine.log"));
            panic!("{}", log.unwrap_or_default());
        }
    }

    /// Starts the engine, and returns whether it answers. It may end at once.
    pub fn try_start_engine(&mut self) -> bool {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("/data/engine.log"));
        let log = log.unwrap();
        let mut engine = self.command(&["dockerd"]);
        engine.stdout(log.try_clone().unwrap()).stderr(log);
        let mut engine = engine.spawn().unwrap();
        let answers = until("the engine", || {
            if engine.try_wait().unwrap().is_some() {
                return Some(false);
            }
            let output = self.run(&["docker", "version"]);
            output.status.success().then_some(true)
        });
        self.engine = Some(engine);
        answers
    }

    pub fn stop_engine(&mut self) {
        let pid = fs::read_to_string(self.path("/run/docker.pid")).unwrap();
        self.good(&["kill", pid.trim()]);
        let mut engine = self.engine.take().unwrap();
        engine.wait().unwrap();
    }

    /// Waits for the end of an engine that was killed.
    pub fn wait_for_engine(&mut self) {
        self.engine.take().unwrap().wait().unwrap();
    }

    /// Kills all processes at once and starts the device again, without the engine.
    pub fn restart_after_power_loss(&mut self) {
        self.device.cut_power();
        self.reap();
        self.device.boot().unwrap();
    }

    /// Waits for the programs that [`Device::command`] started and that the end of the
    /// namespaces killed.
    fn reap(&mut self) {
        for mut child in [self.engine.take(), self.activator.take()]
            .into_iter()
            .flatten()
        {
            let _ = child.wait();
        }
    }

    /// Kills the plugin and leaves its socket.
    pub fn kill_plugin(&self) {
        let pid = fs::read_to_string(self.path("/run/plugin.pid")).unwrap();
        self.good(&["kill", "-KILL", pid.trim()]);
    }

    /// Kills the plugin and removes its socket.
    pub fn stop_plugin(&mut self) {
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

    /// Sends a request to the engine; returns status and body of the response.
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
        let args = [
            &head[..],
            &["-X", method, "-w", "\n%{http_code}", url],
            more,
        ]
        .concat();
        let text = String::from_utf8_lossy(&self.run(&args).stdout).into_owned();
        let (answer, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap_or(0), answer.into())
    }

    pub fn feed(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(args);
        let piped = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // A program that does not read to the end says more by its own output.
                let _ = stdin.write_all(input);
            });
            child.wait_with_output().unwrap()
        })
    }

    /// Returns the sorted names of the running containers.
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
        self.device.cut_power();
        self.reap();
    }
}

/// Returns standard output and standard error of a command.
pub fn output_text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).trim().to_string()
}

/// Probes until there is a value, and returns it.
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(
            start.elapsed() < Duration::from_secs(90),
            "{what} does not come"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
