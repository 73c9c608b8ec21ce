//! What the tests of this directory share: a cloud of their own, and a device's
//! root file system in a temporary directory.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs
)]

pub mod apps;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use clap::Parser;
use edge_common::{Root, exit};
use edge_sim::cloud;
use edge_sim::endpoint::{Behaviour, Endpoint};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A stand-in cloud that ends with its test, also when that fails.
pub struct Cloud {
    directory: TempDir,
}

pub fn sim(words: &[&str], directory: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-sim"));
    command
        .args(words)
        .arg("--dir")
        .arg(directory)
        .output()
        .unwrap()
}

impl Cloud {
    /// Without the AWS API, which takes longest to start.
    pub fn up() -> Self {
        Self::with(&["--no-aws"])
    }

    pub fn with(words: &[&str]) -> Self {
        let cloud = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        let output = sim(&[&["cloud", "up"], words].concat(), cloud.path());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        cloud
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn value(&self, key: &str) -> String {
        let text = fs::read(self.file("endpoints.json")).unwrap();
        let values: Value = serde_json::from_slice(&text).unwrap();
        match &values[key] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// Its registry, by a name that needs no proxy.
    pub fn local_registry(&self) -> String {
        let name = self.value("registry");
        name.replace(cloud::HOST, "localhost")
    }

    pub fn allow(&self, serial: &str) {
        assert!(
            sim(&["cloud", "allow", serial], self.path())
                .status
                .success()
        );
    }

    pub fn shadow(&self, thing: &str) -> Value {
        let text = fs::read(self.file("shadows").join(format!("{thing}.json"))).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let output = sim(&["cloud", "down"], self.path());
        if !output.status.success() && !std::thread::panicking() {
            panic!("{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// The strict endpoint on a directory of its own, in this process.
pub struct Strict {
    pub endpoint: Endpoint,
    directory: TempDir,
}

impl Strict {
    pub fn with(behaviour: &Behaviour) -> Self {
        let directory = tempfile::tempdir().unwrap();
        cloud::found(directory.path(), &[]).unwrap();
        let endpoint = Endpoint::start(directory.path(), behaviour).unwrap();
        Self {
            endpoint,
            directory,
        }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Another endpoint on the same directory.
    pub fn restart(&mut self, behaviour: &Behaviour) {
        self.endpoint = Endpoint::start(self.directory.path(), behaviour).unwrap();
    }
}

/// Exit code (128 + signal) and all that a program says.
pub fn ended(command: &mut Command) -> (i32, String) {
    use std::os::unix::process::ExitStatusExt;
    let output = command.output().unwrap();
    let said = [&output.stdout[..], &output.stderr].concat();
    let signal = output.status.signal().unwrap_or(0);
    let code = output.status.code().unwrap_or(128 + signal);
    (code, String::from_utf8_lossy(&said).into_owned())
}

/// The program that runs a tool at another root: `examples/at.rs`.
pub fn at() -> PathBuf {
    let sim = Path::new(env!("CARGO_BIN_EXE_edge-sim"));
    let path = sim.with_file_name("examples").join("at");
    assert!(
        path.exists(),
        "{} is missing: cargo build -p edge-sim --examples",
        path.display()
    );
    path
}

/// One serial after the other goes onto a list.
static LIST: Mutex<()> = Mutex::new(());

/// A device's root file system: claim, CA certificates, serial number.
pub struct Device {
    directory: TempDir,
    pub root: Root,
}

impl Device {
    pub fn of(cloud: &Cloud, serial: &str) -> Self {
        let device = Self::on(cloud.path(), serial);
        device.endpoint(cloud.value("iot_port").parse().unwrap());
        device
    }

    /// One that the strict endpoint lets in.
    pub fn strict(cloud: &Strict, serial: &str) -> Self {
        let device = Self::on(cloud.directory.path(), serial);
        device.endpoint(cloud.endpoint.port());
        let _one = LIST.lock();
        cloud::allow(cloud.directory.path(), serial, false).unwrap();
        device
    }

    fn on(cloud: &Path, serial: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        let device = Self { directory, root };
        for path in [
            "etc/edge-ai/claim",
            "etc/edge-ai/ca",
            "data/config",
            "data/log",
            "run",
            "sys/class/net",
        ] {
            fs::create_dir_all(device.path(path)).unwrap();
        }
        let claim = |name: &str| device.path("etc/edge-ai/claim").join(name);
        fs::copy(cloud.join("ca.pem"), device.path("etc/edge-ai/ca/root.pem")).unwrap();
        fs::copy(cloud.join("claim.crt"), claim("claim.crt")).unwrap();
        fs::copy(cloud.join("claim.key"), claim("claim.key")).unwrap();
        fs::write(device.path("etc/machine-id"), format!("{serial}\n")).unwrap();
        device
    }

    /// One that the cloud lets in.
    pub fn allowed(cloud: &Cloud, serial: &str) -> Self {
        cloud.allow(serial);
        Self::of(cloud, serial)
    }

    /// The claim leads to this port of this machine.
    pub fn endpoint(&self, port: u16) {
        self.claim(
            &json!({ "endpoint": "localhost", "port": port, "template_name": "edge-ai-fleet" }),
        );
    }

    /// What the claim says.
    pub fn claim(&self, config: &Value) {
        let path = self.path("etc/edge-ai/claim/config.json");
        fs::write(path, config.to_string()).unwrap();
    }

    /// edge-provision as a process of its own, not yet started.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(at());
        command.arg(self.path("")).arg("edge-provision").args(words);
        command
    }

    /// Runs edge-provision as a process of its own; exit code and all it says.
    pub fn process(&self, words: &[&str]) -> (i32, String) {
        ended(&mut self.command(words))
    }

    /// The names of the files of the identity.
    pub fn files(&self) -> String {
        let entries = fs::read_dir(self.path("data/config/aws-iot"));
        let names = entries.into_iter().flatten().flatten();
        let names = names.map(|e| e.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names.join(" ")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs edge-provision; exit code and message.
    pub fn provision(&self, words: &[&str]) -> (u8, String) {
        let words = [&["edge-provision"], words].concat();
        let args = edge_provision::Args::try_parse_from(words).unwrap();
        outcome(edge_provision::run(&self.root, &args))
    }

    /// Runs edge-heartbeat; exit code and message.
    pub fn heartbeat(&self) -> (u8, String) {
        let args = edge_heartbeat::Args::try_parse_from(["edge-heartbeat", "--once"]).unwrap();
        outcome(edge_heartbeat::run(&self.root, &args))
    }

    /// Every file of the identity: name, inode, time of change, mode, content.
    pub fn identity(&self) -> Vec<(String, u64, i64, u32, Vec<u8>)> {
        use std::os::unix::fs::MetadataExt;
        let mut files: Vec<_> = fs::read_dir(self.path("data/config/aws-iot"))
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let data = entry.metadata().unwrap();
                let name = entry.file_name().into_string().unwrap();
                let content = fs::read(entry.path()).unwrap();
                (
                    name,
                    data.ino(),
                    data.ctime_nsec(),
                    data.mode() & 0o7777,
                    content,
                )
            })
            .collect();
        files.sort();
        files
    }
}

fn outcome(result: anyhow::Result<()>) -> (u8, String) {
    match result {
        Ok(()) => (0, String::new()),
        Err(error) => (exit::code_of(&error), format!("{error:#}")),
    }
}
