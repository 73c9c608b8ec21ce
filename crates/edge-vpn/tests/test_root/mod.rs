//! Root of a device in a temporary directory, with simulated edge-docker, NordVPN client
//! and systemd, and a network of its own in which SSH answers.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use edge_sim::namespaces::Namespaces;
use edge_sim::testbed::example;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

pub const TOKEN: &str = "e79f42d7a18c11b2e79f42d7a18c11b2e79f42d7a18c11b2e79f42d7a18c11b2";
pub const THING: &str = "edge-ai-1234567890123";
pub const REPOSITORY: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/edge-ai";

/// Returns the process id of a network with an address of Meshnet and SSH on it. The
/// network ends with the test program.
fn network() -> u32 {
    static NETWORK: OnceLock<Namespaces> = OnceLock::new();
    let namespaces = NETWORK.get_or_init(|| {
        let script = "ip link set lo up && ip address add 100.64.0.15/32 dev lo && \
            echo ready && exec cat >/dev/null";
        let namespaces = Namespaces::start(script, &[], Stdio::inherit()).unwrap();
        let network = fs::File::open(namespaces.network()).unwrap();
        let listener = std::thread::spawn(move || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            TcpListener::bind("0.0.0.0:22").unwrap()
        });
        let listener = listener.join().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = (&stream).write_all(b"SSH-2.0-simulated\r\n");
            }
        });
        namespaces
    });
    namespaces.pid()
}

pub struct TestRoot {
    directory: TempDir,
    pub network: u32,
}

impl TestRoot {
    /// Creates the root of a provisioned device with a token and `vpn.json`.
    pub fn new(vpn: &str) -> Self {
        let root = Self {
            directory: tempfile::tempdir().unwrap(),
            network: network(),
        };
        for (path, text) in [
            ("etc/edge-ai/vpn.json", vpn),
            ("etc/edge-ai/claim/nordvpn-token", TOKEN),
            (
                "etc/edge-ai/container-config/policy.json",
                "{\"sandbox\":false}",
            ),
            ("etc/edge-ai/container-config/ecr-url.txt", REPOSITORY),
            ("dev/net/tun", ""),
            ("data/log/boot/x", ""),
            ("state/token", TOKEN),
            ("state/notice", ""),
            ("state/exit-status", "0"),
            ("state/journal", ""),
            (
                "state/peers",
                "Local Peers:\n[no peers]\n\nExternal Peers:\n[no peers]\n",
            ),
            ("state/replies/none", ""),
        ] {
            root.write(path, text);
        }
        let config = format!(
            r#"{{"endpoint":"e.example","thing_name":"{THING}","cert_path":"c","key_path":"k","ca_path":"a"}}"#
        );
        root.write("data/config/aws-iot/config.json", &config);
        root.program("usr/bin/edge-docker", include_str!("edge-docker.sh"));
        root.program("usr/bin/systemctl", include_str!("systemctl.sh"));
        root
    }

    pub fn nordvpn() -> Self {
        Self::new(r#"{"provider":"nordvpn","image":"nordvpn-1.0"}"#)
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn program(&self, path: &str, text: &str) {
        self.write(path, text);
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    /// Scripts a reply of the client to the command `key`.
    pub fn reply(&self, key: &str, number: &str, code: u8, output: &str) {
        self.write(
            &format!("state/replies/{key}.{number}"),
            &format!("{code}\n{output}\n"),
        );
    }

    /// Returns program and arguments of a run in the network.
    pub fn command_line(&self, args: &[&str]) -> Vec<String> {
        let program = example("vpn_at_root");
        let net = format!("--net=/proc/{}/ns/net", self.network);
        let root = self.directory.path().display().to_string();
        let head = [
            "nsenter".into(),
            net,
            "--".into(),
            program.display().to_string(),
            root,
        ];
        head.into_iter()
            .chain(args.iter().map(ToString::to_string))
            .collect()
    }

    /// Runs edge-vpn; returns exit code and output.
    pub fn run(&self, args: &[&str]) -> (i32, String) {
        let command_line = self.command_line(args);
        let mut command = Command::new(&command_line[0]);
        let output = command
            .args(&command_line[1..])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let both = [&output.stdout[..], &output.stderr[..]].concat();
        let text = String::from_utf8_lossy(&both).into_owned();
        (output.status.code().unwrap_or(-1), text)
    }

    /// Returns the calls of edge-docker and systemd since the last call of this function.
    pub fn journal(&self) -> Vec<String> {
        let text = self.read("state/journal");
        self.write("state/journal", "");
        text.lines().map(String::from).collect()
    }

    /// Returns content, mode and inode of every file of `/data` and `/run/edge-vpn` except
    /// for the results of boot steps.
    pub fn tree(&self) -> BTreeMap<PathBuf, (Vec<u8>, u32, u64)> {
        let mut tree = BTreeMap::new();
        let mut directories = vec![self.path("data"), self.path("run/edge-vpn")];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let (path, data) = (entry.path(), entry.metadata().unwrap());
                if path.ends_with("log/boot") {
                } else if data.is_dir() {
                    directories.push(path);
                } else {
                    let text = fs::read(&path).unwrap();
                    tree.insert(path, (text, data.mode() & 0o7777, data.ino()));
                }
            }
        }
        tree
    }
}
