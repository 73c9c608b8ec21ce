//! A device's root in a temporary directory, with stand-ins for the gate, the client
//! behind it and systemd, and a network of its own where SSH answers.
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

/// Process id of a network with the address of Meshnet, on which SSH answers. It
/// ends with the test program.
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
                let _ = (&stream).write_all(b"SSH-2.0-stand-in\r\n");
            }
        });
        namespaces
    });
    namespaces.pid()
}

pub struct World {
    directory: TempDir,
    pub network: u32,
}

impl World {
    /// Provisioned, with a token and `vpn.json`.
    pub fn new(vpn: &str) -> Self {
        let world = Self {
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
            ("state/say/none", ""),
        ] {
            world.write(path, text);
        }
        let config = format!(
            r#"{{"endpoint":"e.example","thing_name":"{THING}","cert_path":"c","key_path":"k","ca_path":"a"}}"#
        );
        world.write("data/config/aws-iot/config.json", &config);
        world.program("usr/bin/edge-docker", include_str!("edge-docker.sh"));
        world.program("usr/bin/systemctl", include_str!("systemctl.sh"));
        world
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

    /// Scripts an answer to the words of the client.
    pub fn say(&self, key: &str, number: &str, code: u8, words: &str) {
        self.write(
            &format!("state/say/{key}.{number}"),
            &format!("{code}\n{words}\n"),
        );
    }

    /// Program and words of a run, in the network.
    pub fn words(&self, words: &[&str]) -> Vec<String> {
        let at = example("vpn_at_root");
        let net = format!("--net=/proc/{}/ns/net", self.network);
        let root = self.directory.path().display().to_string();
        let head = [
            "nsenter".into(),
            net,
            "--".into(),
            at.display().to_string(),
            root,
        ];
        head.into_iter()
            .chain(words.iter().map(ToString::to_string))
            .collect()
    }

    /// Exit code and all that was said.
    pub fn run(&self, words: &[&str]) -> (i32, String) {
        let words = self.words(words);
        let mut command = Command::new(&words[0]);
        let output = command
            .args(&words[1..])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let both = [&output.stdout[..], &output.stderr[..]].concat();
        let said = String::from_utf8_lossy(&both).into_owned();
        (output.status.code().unwrap_or(-1), said)
    }

    /// What the gate and systemd were asked since the last call.
    pub fn journal(&self) -> Vec<String> {
        let text = self.read("state/journal");
        self.write("state/journal", "");
        text.lines().map(String::from).collect()
    }

    /// Every file of `/data` and `/run/edge-vpn` but the results of steps:
    /// content, mode and which file it is.
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
