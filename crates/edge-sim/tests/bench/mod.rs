//! What the tests of this folder share: a cloud of their own, and a device's
//! root file system in a temporary folder.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clap::Parser;
use edge_common::{Root, exit};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A stand-in cloud that ends with its test, also when that fails.
pub struct Cloud {
    folder: TempDir,
}

pub fn sim(words: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-sim"));
    command
        .args(words)
        .arg("--dir")
        .arg(folder)
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
            folder: tempfile::tempdir().unwrap(),
        };
        let output = sim(&[&["cloud", "up"], words].concat(), cloud.path());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        cloud
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
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

/// A device's root file system: claim, authorities, serial number.
pub struct Device {
    folder: TempDir,
    pub root: Root,
}

impl Device {
    pub fn of(cloud: &Cloud, serial: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        let device = Self { folder, root };
        for path in [
            "etc/edge-ai/claim",
            "etc/edge-ai/ca",
            "data/config",
            "sys/class/net",
        ] {
            fs::create_dir_all(device.path(path)).unwrap();
        }
        let claim = |name: &str| format!("etc/edge-ai/claim/{name}");
        fs::copy(cloud.file("ca.pem"), device.path("etc/edge-ai/ca/root.pem")).unwrap();
        fs::copy(cloud.file("claim.crt"), device.path(&claim("claim.crt"))).unwrap();
        fs::copy(cloud.file("claim.key"), device.path(&claim("claim.key"))).unwrap();
        fs::write(device.path("etc/machine-id"), format!("{serial}\n")).unwrap();
        let port: u16 = cloud.value("iot_port").parse().unwrap();
        device.endpoint(port);
        device
    }

    /// One that the cloud lets in.
    pub fn allowed(cloud: &Cloud, serial: &str) -> Self {
        cloud.allow(serial);
        Self::of(cloud, serial)
    }

    /// The claim leads to this port of this machine.
    pub fn endpoint(&self, port: u16) {
        let config =
            json!({ "endpoint": "localhost", "port": port, "template_name": "edge-ai-fleet" });
        let path = self.path("etc/edge-ai/claim/config.json");
        fs::write(path, config.to_string()).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
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
