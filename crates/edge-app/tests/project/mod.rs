//! Project with one app, and a device for its deployments.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs
)]

pub mod engine;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use edge_sim::namespaces::{Device, Settings};
use edge_sim::testbed::Cloud;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Project with one app, `hello`.
pub struct Project<'a> {
    pub directory: TempDir,
    pub cloud: &'a Cloud,
    pub registry: String,
    pub variables: Vec<(&'static str, String)>,
    /// PID of a process in whose network namespace edge-app runs: an engine can push to
    /// edge-app only from the same one.
    pub network: Option<u32>,
}

impl<'a> Project<'a> {
    pub fn new(cloud: &'a Cloud, registry: String, devices: &Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let project = Self {
            directory,
            cloud,
            registry,
            variables: Vec::new(),
            network: None,
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

    pub fn put(&self, name: &str, text: &str) {
        let path = self.directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Sets a value in `edge-app.yaml`.
    pub fn set(&self, key: &str, value: Value) {
        let path = self.directory.path().join("edge-app.yaml");
        let text = fs::read_to_string(&path).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config[key] = value;
        fs::write(&path, config.to_string()).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = edge_app(self.network);
        command.args(arguments).current_dir(self.directory.path());
        command.env("HTTPS_PROXY", self.cloud.value("proxy"));
        command.env("NO_PROXY", "localhost");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command
    }

    /// Returns exit code, standard output and standard error.
    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(output.stdout), text(output.stderr));
        (output.status.code().unwrap(), out, err)
    }

    pub fn fails(&self, arguments: &[&str], code: i32, expected: &str) {
        let (got, _, printed) = self.run(arguments);
        assert_eq!(got, code, "{arguments:?}: {printed}");
        assert!(printed.contains(expected), "{arguments:?}: {printed}");
        assert!(!printed.contains("panicked"), "{printed}");
    }

    pub fn succeeds(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
        out
    }
}

/// Returns the command edge-app, in the network namespace of the process `network`.
pub fn edge_app(network: Option<u32>) -> Command {
    let program = env!("CARGO_BIN_EXE_edge-app");
    let Some(pid) = network else {
        return Command::new(program);
    };
    let mut command = Command::new("nsenter");
    command.args([&format!("--net=/proc/{pid}/ns/net"), "--", program]);
    command
}

/// Device with the real edge-docker and an engine, and a registry to pull from.
pub struct Real<'a> {
    pub device: Device,
    pub project: Project<'a>,
    _directory: TempDir,
}

impl<'a> Real<'a> {
    pub fn start(cloud: &'a Cloud) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let registry = cloud.value("registry");
        let port = registry.split(['/', ':']).nth(1).unwrap().parse().unwrap();
        // The second one exists if the local cloud has an AWS API.
        let engineers = ["engineer.pub", "kms-engineer.pub"].map(|name| cloud.file(name));
        let engineers: Vec<_> = engineers.into_iter().filter(|key| key.exists()).collect();
        let settings = Settings {
            name: "jetson",
            repository: &registry,
            keys: &[cloud.file("signing.pub")],
            engineer_keys: &engineers,
            ca_bundle: &[cloud.file("ca.pem")],
            ports: &[port],
            ..Settings::default()
        };
        let device = Device::start(directory.path(), &settings).unwrap();
        let devices = json!({ "jetson": { "ssh_config": device.ssh_config() } });
        let mut project = Project::new(cloud, registry, &devices);
        project.variables.push(("DOCKER_HOST", device.engine()));
        Self {
            device,
            project,
            _directory: directory,
        }
    }

    /// Creates, signs and pushes a version that runs `script`.
    pub fn push(&self, version: &str, script: &str) {
        self.image(version, script);
        self.project
            .succeeds(&["push", "hello", "--version", version]);
    }

    /// Creates a version that runs `script`.
    pub fn image(&self, version: &str, script: &str) {
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
    }

    pub fn status(&self) -> Value {
        let text = self.project.succeeds(&["status", "--json"]);
        serde_json::from_str::<Value>(&text).unwrap()[0].clone()
    }

    /// Returns the version of `hello` that the device reports.
    pub fn version(&self) -> String {
        let status = self.status();
        let apps = status["apps"].as_array().unwrap();
        let hello = apps.iter().find(|a| a["name"] == "hello").unwrap();
        assert_eq!(hello["state"], "running", "{hello}");
        hello["version"].as_str().unwrap().into()
    }
}

/// Tar archive of this machine's shell and its libraries.
pub fn shell() -> Vec<u8> {
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
