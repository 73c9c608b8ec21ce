//! Device and hub in network namespaces, and the cable between them.

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use edge_sim::namespaces::{Device, Namespaces, Settings};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;
use tempfile::TempDir;

pub const THING: &str = "edge-ai-7";
pub const NAME: &str = "edge-ai-7.vpn.test";
/// `ip` with wireguard-go instead of the kernel's WireGuard, which a test machine may lack.
pub const IP: &str = r#"#!/bin/sh
case $* in
"link add "*" type wireguard") exec wireguard-go "$3" </dev/null >/dev/null 2>&1 ;;
esac
exec /data/real-ip "$@"
"#;
/// Simulated systemctl.
pub const SYSTEMCTL: &str = r#"#!/bin/sh
[ "$*" = "reload-or-restart sshd.service" ] && kill -HUP "$(cat /run/sshd.pid)"
"#;
pub const PREPARE: &str = "cp /usr/sbin/ip /data/real-ip && chmod 755 /data/ip /data/systemctl && \
    mount --bind /data/ip /usr/sbin/ip && mount --bind /data/systemctl /usr/bin/systemctl";

/// First process of the hub: keys, host names, and a `/proc` for its processes.
const HUB: &str = r#"set -e
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mount --bind "$1/hosts" /etc/hosts
ip link set lo up
umask 77
wg genkey >"$1/key"
wg pubkey <"$1/key" >"$1/pub"
echo ready
exec cat >/dev/null"#;

/// Hub in namespaces of its own, from which engineers connect.
pub struct Hub {
    namespaces: Namespaces,
    directory: PathBuf,
}

pub fn both_streams(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

pub fn run(command: &mut Command) -> (i32, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    (output.status.code().unwrap_or(-1), both_streams(&output))
}

/// Runs a command that has to succeed; returns its standard output.
pub fn read_output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        both_streams(&output)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

impl Hub {
    pub fn new(directory: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join("hosts"), format!("10.77.0.2 {NAME}\n")).unwrap();
        let namespaces = Namespaces::start(HUB, &[directory], Stdio::inherit()).unwrap();
        Self {
            namespaces,
            directory: directory.into(),
        }
    }

    pub fn sh(&self, script: &str) -> Command {
        let mut command = self.namespaces.command("/bin/sh");
        command.args(["-ec", script]);
        command
    }

    /// Takes requests at the DNS port and never answers, until it is dropped.
    pub fn silent_name_server(&self) -> UdpSocket {
        let network = fs::File::open(self.namespaces.network()).unwrap();
        let bound = std::thread::spawn(move || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            UdpSocket::bind("192.0.2.1:53").unwrap()
        });
        bound.join().unwrap()
    }

    pub fn key(&self) -> String {
        fs::read_to_string(self.directory.join("pub"))
            .unwrap()
            .trim()
            .into()
    }

    /// Connects the hub to the device by a cable.
    pub fn connect(&self, device: &Device) {
        // From outside: the process id of the device is unknown in the hub.
        let mut ip = Command::new("nsenter");
        ip.arg(format!("--net={}", self.namespaces.network().display()));
        ip.args(["ip", "link", "add", "hub0", "type", "veth"]);
        read_output(ip.args(["peer", "name", "up0", "netns", &device.pid().to_string()]));
        read_output(&mut self.sh(&format!(
            "ip address add 192.0.2.1/24 dev hub0; ip link set hub0 up
             wireguard-go wghub </dev/null >/dev/null 2>&1
             wg set wghub listen-port 51820 private-key {}/key
             ip address add 10.77.0.1/16 dev wghub; ip link set wghub up",
            self.directory.display()
        )));
    }
}

pub struct Testbed {
    pub directory: TempDir,
    pub device: Device,
    pub hub: Hub,
}

impl Testbed {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            engine: false,
            ..Settings::default()
        };
        let device = Device::start(&directory.path().join("device"), &settings).unwrap();
        let hub = Hub::new(&directory.path().join("hub"));
        let testbed = Self {
            directory,
            device,
            hub,
        };
        testbed.prepare();
        testbed
    }

    pub fn prepare(&self) {
        fs::copy(
            env!("CARGO_BIN_EXE_edge-vpn"),
            self.device.path("/data/edge-vpn"),
        )
        .unwrap();
        self.write("/data/ip", IP);
        self.write("/data/systemctl", SYSTEMCTL);
        self.sh(PREPARE);
        self.hub.connect(&self.device);
        self.sh("ip address add 192.0.2.2/24 dev up0; ip link set up0 up");
        self.write("/etc/hosts", "127.0.0.1 localhost\n192.0.2.1 hub.test\n");
        self.write(
            "/etc/edge-ai/container-config/policy.json",
            r#"{"sandbox":false,"ssh":"vpn"}"#,
        );
        let config = json!({ "endpoint": "e.test", "thing_name": THING, "cert_path": "c",
            "key_path": "k", "ca_path": "a" });
        self.write("/data/config/aws-iot/config.json", &config.to_string());
        self.configure(&json!({}), &json!({}));
    }

    /// Writes `vpn.json` with further settings of the interface and of the hub.
    pub fn configure(&self, interface: &serde_json::Value, hub: &serde_json::Value) {
        let merge = |base: &mut serde_json::Value, more: &serde_json::Value| {
            let base = base.as_object_mut().unwrap();
            base.extend(more.as_object().unwrap().clone());
        };
        let mut peer = json!({ "public_key": self.hub.key(), "endpoint": "hub.test:51820",
            "allowed_ips": ["10.77.0.0/17"], "keepalive": 1 });
        merge(&mut peer, hub);
        let mut vpn = json!({ "provider": "wireguard", "range": "10.77.0.0/16",
            "domain": "vpn.test", "peers_from_shadow": true, "peers": [peer] });
        merge(&mut vpn, interface);
        self.write("/etc/edge-ai/vpn.json", &vpn.to_string());
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.device.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.device.path(path))
            .unwrap_or_default()
            .trim()
            .into()
    }

    /// Runs a script on the device, which has to succeed; returns its output.
    pub fn sh(&self, script: &str) -> String {
        read_output(self.device.command("/bin/sh").args(["-ec", script]))
    }

    pub fn vpn(&self, args: &[&str]) -> (i32, String) {
        run(self.device.command("/data/edge-vpn").args(args))
    }

    /// Connects by SSH from the hub to `host`; returns exit code and output.
    pub fn ssh(&self, host: &str) -> (i32, String) {
        let device = self.directory.path().join("device");
        let device = device.display();
        run(&mut self.hub.sh(&format!(
            "ssh -F none -i {device}/id -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=3 \
             -o HostKeyAlias=device -o UserKnownHostsFile={device}/known_hosts \
             -o GlobalKnownHostsFile=/dev/null edge@{host} echo through the VPN"
        )))
    }

    pub fn wait_for_ssh(&self) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let (code, output) = self.ssh(NAME);
            if code == 0 {
                assert_eq!(output.lines().last(), Some("through the VPN"));
                return;
            }
            assert!(
                Instant::now() < end,
                "{output}\n{:?}",
                self.vpn(&["status"])
            );
        }
    }

    /// Returns the files on `/data`, and the state of the interface.
    pub fn state(&self) -> (BTreeMap<PathBuf, Vec<u8>>, String) {
        let directories =
            ["/data/config/wireguard", "/data/config/vpn"].map(|f| self.device.path(f));
        let entries = directories
            .iter()
            .flat_map(|f| fs::read_dir(f).into_iter().flatten().flatten());
        let files = entries
            .map(|e| (e.path(), fs::read(e.path()).unwrap()))
            .collect();
        let interface = "ip -brief address show edge-vpn; wg show edge-vpn dump | cut -f 1-4";
        (files, self.sh(interface))
    }

    pub fn set_desired(&self, desired: &serde_json::Value) {
        self.write("/data/config/vpn/desired.json", &desired.to_string());
    }

    pub fn add_to_hub(&self) {
        let key = self.read("/data/config/wireguard/public.key");
        read_output(
            &mut self
                .hub
                .sh(&format!("wg set wghub peer {key} allowed-ips 10.77.0.2/32")),
        );
    }

    /// Starts sshd as its units do.
    pub fn start_sshd(&self) -> Child {
        assert_eq!(self.vpn(&["sshd"]).0, 0);
        let mut sshd = self.device.command("/usr/sbin/sshd");
        let child = sshd
            .args(["-D", "-e"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let end = Instant::now() + Duration::from_secs(10);
        while self
            .device
            .command("/usr/bin/test")
            .args(["-s", "/run/sshd.pid"])
            .status()
            .unwrap()
            .code()
            != Some(0)
        {
            assert!(Instant::now() < end, "sshd does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        child.unwrap()
    }
}
