//! Root file system of a device in a temporary directory, and runs of the tools on
//! this root.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use edge_common::Root;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::cloud::{Cloud, StrictEndpoint};
use super::programs::example;
use super::run;
use crate::cloud;

/// Lock for the allow-list, which tests of the same process read, change and write.
static ALLOW_LIST: Mutex<()> = Mutex::new(());

/// Root file system of a device in a temporary directory: claim, CA certificate and
/// serial number.
pub struct DeviceRoot {
    directory: TempDir,
    /// The temporary directory as the prefix of all paths, in the type that the
    /// tools' libraries take.
    pub root: Root,
}

/// File of the device identity: name, inode, nanoseconds of the change time, mode
/// and content.
pub type IdentityFile = (String, u64, i64, u32, Vec<u8>);

impl DeviceRoot {
    /// Creates a device whose claim refers to a local cloud.
    pub fn of(cloud: &Cloud, serial: &str) -> Self {
        let device = Self::on(cloud.path(), serial);
        device.endpoint(cloud.value("iot_port").parse().unwrap());
        device
    }

    /// Creates a device whose serial number is on the allow-list of a local cloud.
    pub fn allowed(cloud: &Cloud, serial: &str) -> Self {
        cloud.allow(serial);
        Self::of(cloud, serial)
    }

    /// Creates a device whose serial number is on the allow-list of a strict
    /// endpoint.
    pub fn strict(cloud: &StrictEndpoint, serial: &str) -> Self {
        let device = Self::on(cloud.path(), serial);
        device.endpoint(cloud.endpoint.port());
        let _guard = ALLOW_LIST.lock();
        cloud::allow(cloud.path(), serial, false).unwrap();
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

    /// Changes the endpoint in the claim to this port of localhost.
    pub fn endpoint(&self, port: u16) {
        self.claim(
            &json!({ "endpoint": "localhost", "port": port, "template_name": "edge-ai-fleet" }),
        );
    }

    /// Writes `config.json`, the configuration of the claim.
    pub fn claim(&self, config: &Value) {
        let path = self.path("etc/edge-ai/claim/config.json");
        fs::write(path, config.to_string()).unwrap();
    }

    /// Returns the path of `name`, a path relative to the root of the device.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the command that runs edge-provision on this root.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(example("provision_at_root"));
        command.arg(self.path("")).args(args);
        command
    }

    /// Runs edge-provision on this root; returns its exit code and output.
    pub fn provision(&self, args: &[&str]) -> (i32, String) {
        run(&mut self.command(args))
    }

    /// Runs edge-provision, which must succeed.
    pub fn provisioned(&self, args: &[&str]) {
        let (code, output) = self.provision(args);
        assert_eq!(code, 0, "{output}");
    }

    /// Runs `edge-heartbeat --once` on this root; returns its exit code and output.
    pub fn heartbeat(&self) -> (i32, String) {
        let mut command = Command::new(example("heartbeat_at_root"));
        run(command.arg(self.path("")).arg("--once"))
    }

    /// Returns the sorted names of the identity files in `data/config/aws-iot`,
    /// separated by blanks.
    pub fn files(&self) -> String {
        let entries = fs::read_dir(self.path("data/config/aws-iot"));
        let names = entries.into_iter().flatten().flatten();
        let names = names.map(|e| e.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names.join(" ")
    }

    /// Returns the identity files in `data/config/aws-iot`, sorted by name.
    pub fn identity(&self) -> Vec<IdentityFile> {
        let mut files: Vec<_> = fs::read_dir(self.path("data/config/aws-iot"))
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let metadata = entry.metadata().unwrap();
                (
                    entry.file_name().into_string().unwrap(),
                    metadata.ino(),
                    metadata.ctime_nsec(),
                    metadata.mode() & 0o7777,
                    fs::read(entry.path()).unwrap(),
                )
            })
            .collect();
        files.sort();
        files
    }
}
