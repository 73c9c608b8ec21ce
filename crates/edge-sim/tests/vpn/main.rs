//! edge-vpn with WireGuard between a device and its hub, and SSH through it. The
//! kernel's part is played by wireguard-go, so that it works on any kernel; all
//! else is real. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use edge_sim::device::{Device, Settings};
use serde_json::json;
use tempfile::TempDir;

const THING: &str = "edge-ai-7";
const NAME: &str = "edge-ai-7.vpn.test";
/// `ip`, but for the one thing that the kernel may lack.
const IP: &str = r#"#!/bin/sh
case $* in
"link add "*" type wireguard") exec wireguard-go "$3" </dev/null >/dev/null 2>&1 ;;
esac
exec /data/real-ip "$@"
"#;
/// The one thing that is asked of systemd.
const SYSTEMCTL: &str = r#"#!/bin/sh
[ "$*" = "reload-or-restart sshd.service" ] && kill -HUP "$(cat /run/sshd.pid)"
"#;
const PREPARE: &str = "cp /usr/sbin/ip /data/real-ip && chmod 755 /data/ip /data/systemctl && \
    mount --bind /data/ip /usr/sbin/ip && mount --bind /data/systemctl /usr/bin/systemctl";

/// The hub, in a network of its own, and the engineer who sits there.
struct Hub {
    _holder: Child,
    pid: u32,
    folder: PathBuf,
}

fn words(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn run(command: &mut Command) -> (i32, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    (output.status.code().unwrap_or(-1), words(&output))
}

/// Standard output of what must succeed.
fn good(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", words(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

impl Hub {
    fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("hosts"), format!("10.77.0.2 {NAME}\n")).unwrap();
        let script = format!(
            "set -e; mount -t tmpfs tmpfs /run; mount --bind {0}/hosts /etc/hosts; \
             ip link set lo up; umask 77; wg genkey >{0}/key; wg pubkey <{0}/key >{0}/pub; \
             echo $$; exec cat >/dev/null",
            folder.display()
        );
        let mut holder = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "--propagation",
                "private",
                "/bin/sh",
                "-c",
                &script,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let pid = line
            .trim()
            .parse()
            .expect("wg is missing, or you are not root: scripts/setup");
        Self {
            _holder: holder,
            pid,
            folder: folder.into(),
        }
    }

    fn sh(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--mount", "--target", &self.pid.to_string(), "--"]);
        command.args(["/bin/sh", "-ec", script]);
        command
    }

    fn key(&self) -> String {
        fs::read_to_string(self.folder.join("pub"))
            .unwrap()
            .trim()
            .into()
    }

    /// A cable to the device.
    fn connect(&self, device: &Device) {
        let pid = device.pid();
        good(&mut self.sh(&format!(
            "ip link add hub0 type veth peer name up0 netns {pid}
             ip address add 192.0.2.1/24 dev hub0; ip link set hub0 up
             wireguard-go wghub </dev/null >/dev/null 2>&1
             wg set wghub listen-port 51820 private-key {}/key
             ip address add 10.77.0.1/16 dev wghub; ip link set wghub up",
            self.folder.display()
        )));
    }
}

struct Bench {
    folder: TempDir,
    device: Device,
    hub: Hub,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sim = Path::new(env!("CARGO_BIN_EXE_edge-sim"));
        let settings = Settings {
            edge_docker: &sim.with_file_name("edge-docker"),
            edge_sim: sim,
            engine: false,
            ..Settings::default()
        };
        let device = Device::start(&folder.path().join("device"), &settings).unwrap();
        let hub = Hub::new(&folder.path().join("hub"));
        let bench = Self {
            folder,
            device,
            hub,
        };
        bench.furnish(sim);
        bench
    }

    fn furnish(&self, sim: &Path) {
        fs::copy(
            sim.with_file_name("edge-vpn"),
            self.device.path("/data/edge-vpn"),
        )
        .expect("edge-vpn is not built: cargo build --workspace --bins");
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
        let vpn = json!({ "provider": "wireguard", "range": "10.77.0.0/16", "domain": "vpn.test",
            "peers_from_shadow": true, "peers": [{ "public_key": self.hub.key(),
            "endpoint": "hub.test:51820", "allowed_ips": ["10.77.0.0/16"], "keepalive": 1 }] });
        self.write("/etc/edge-ai/vpn.json", &vpn.to_string());
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.device.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.device.path(path))
            .unwrap_or_default()
            .trim()
            .into()
    }

    /// A script on the device, that must succeed.
    fn sh(&self, script: &str) -> String {
        good(self.device.command("/bin/sh").args(["-ec", script]))
    }

    fn vpn(&self, words: &[&str]) -> (i32, String) {
        run(self.device.command("/data/edge-vpn").args(words))
    }

    /// SSH from the engineer to `host`; what it says.
    fn ssh(&self, host: &str) -> (i32, String) {
        let at = self.folder.path().join("device");
        let at = at.display();
        run(&mut self.hub.sh(&format!(
            "ssh -F none -i {at}/id -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=3 \
             -o HostKeyAlias=device -o UserKnownHostsFile={at}/known_hosts \
             -o GlobalKnownHostsFile=/dev/null edge@{host} echo through the VPN"
        )))
    }

    fn until_ssh(&self) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let (code, said) = self.ssh(NAME);
            if code == 0 {
                assert_eq!(said.lines().last(), Some("through the VPN"));
                return;
            }
            assert!(Instant::now() < end, "{said}\n{:?}", self.vpn(&["status"]));
        }
    }

    /// What is kept, and the interface.
    fn state(&self) -> (BTreeMap<PathBuf, Vec<u8>>, String) {
        let folders = ["/data/config/wireguard", "/data/config/vpn"].map(|f| self.device.path(f));
        let entries = folders
            .iter()
            .flat_map(|f| fs::read_dir(f).into_iter().flatten().flatten());
        let files = entries
            .map(|e| (e.path(), fs::read(e.path()).unwrap()))
            .collect();
        let interface = "ip -brief address show edge-vpn; wg show edge-vpn dump | cut -f 1-4";
        (files, self.sh(interface))
    }

    fn wish(&self, wish: &serde_json::Value) {
        self.write("/data/config/vpn/desired.json", &wish.to_string());
    }

    fn welcome(&self) {
        let key = self.read("/data/config/wireguard/public.key");
        good(
            &mut self
                .hub
                .sh(&format!("wg set wghub peer {key} allowed-ips 10.77.0.2/32")),
        );
    }

    /// As its units do.
    fn start_sshd(&self) -> Child {
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

#[test]
fn a_device_and_its_hub() {
    let bench = Bench::new();
    let mut sshd = bench.start_sshd();
    before_the_hub_knows(&bench);
    let key = through_the_vpn(&bench);
    nothing_twice(&bench);
    only_through_the_vpn(&bench);
    unplugged(&bench);
    deleted(&bench, &key);
    wishes_that_are_wrong(&bench, &key);
    wishes_that_are_right(&bench);
    sshd.kill().unwrap();
    sshd.wait().unwrap();
}

fn before_the_hub_knows(bench: &Bench) {
    // In a range of IPv4 no address follows from the key.
    let (code, said) = bench.vpn(&["--budget", "1"]);
    assert!(code == 3 && said.contains("no address"), "{said}");
    bench.wish(&json!({ "address": "10.77.0.2" }));
    let (code, said) = bench.vpn(&["--budget", "1"]);
    assert!(
        code == 4 && said.contains("does not know this device's key"),
        "{said}"
    );
    let (code, said) = bench.vpn(&["status", "--json"]);
    assert!(code == 4 && said.contains("never"), "{said}");
    bench.welcome();
}

fn through_the_vpn(bench: &Bench) -> String {
    let (code, said) = bench.vpn(&[]);
    assert_eq!(code, 0, "{said}");
    bench.until_ssh();
    assert_eq!(bench.read("/data/config/wireguard/hostname"), NAME);
    assert_eq!(bench.read("/data/config/wireguard/address"), "10.77.0.2");
    let path = bench.device.path("/data/config/wireguard/private.key");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let (code, said) = bench.vpn(&["status"]);
    assert!(code == 0 && said.contains("ready        yes"), "{said}");
    let key = fs::read_to_string(path).unwrap();
    assert!(!said.contains(key.trim()), "{said}");
    key
}

fn nothing_twice(bench: &Bench) {
    let before = bench.state();
    assert_eq!(bench.vpn(&[]), (0, String::new()));
    assert_eq!(bench.state(), before);
}

/// The cable's own address is closed; a neighbour who sends packets for the
/// VPN's address gets to sshd, and no further.
fn only_through_the_vpn(bench: &Bench) {
    let listening = bench.sh("ss -Hltn 'sport = 22' | awk '{print $4}' | sort");
    assert_eq!(listening, "10.77.0.2:22\n127.0.0.1:22");
    let (code, said) = bench.ssh("192.0.2.2");
    assert!(code != 0 && said.contains("Connection refused"), "{said}");
    good(
        &mut bench
            .hub
            .sh("ip link set wghub down; ip route add 10.77.0.2 via 192.0.2.2"),
    );
    let (code, said) = bench.ssh("10.77.0.2");
    assert!(code != 0 && said.contains("Permission denied"), "{said}");
    good(
        &mut bench
            .hub
            .sh("ip route del 10.77.0.2 via 192.0.2.2; ip link set wghub up"),
    );
    bench.until_ssh();
}

fn unplugged(bench: &Bench) {
    good(&mut bench.hub.sh("ip link set hub0 down"));
    let (code, _) = bench.ssh(NAME);
    assert_ne!(code, 0);
    good(&mut bench.hub.sh("ip link set hub0 up"));
    bench.until_ssh();
}

fn deleted(bench: &Bench, key: &str) {
    let before = bench.state();
    bench.sh("ip link del edge-vpn");
    let (code, said) = bench.vpn(&["status"]);
    assert!(code != 0 && said.contains("edge-vpn"), "{said}");
    let (code, said) = bench.vpn(&[]);
    assert_eq!(code, 0, "{said}");
    bench.until_ssh();
    assert_eq!(bench.read("/data/config/wireguard/private.key"), key.trim());
    assert_eq!(bench.state().0, before.0);
    // Half of it is not enough either.
    for harm in [
        "ip link set edge-vpn down",
        "ip address flush dev edge-vpn",
        "ip address add 10.77.9.9/16 dev edge-vpn",
        "wg set edge-vpn private-key /data/other",
        "wg set edge-vpn peer $(wg show edge-vpn peers) remove",
        "wg set edge-vpn peer $(wg pubkey </data/other) allowed-ips 10.77.0.0/16",
    ] {
        bench.sh(&format!("umask 77; wg genkey >/data/other; {harm}"));
        let (code, said) = bench.vpn(&[]);
        assert_eq!(code, 0, "{harm}: {said}");
        let after = bench.state().1;
        assert!(
            after.contains("10.77.0.2/16") && !after.contains("10.77.9.9"),
            "{harm}: {after}"
        );
        assert_eq!(after.lines().count(), 3, "{harm}: {after}");
        bench.until_ssh();
    }
}

fn wishes_that_are_wrong(bench: &Bench, key: &str) {
    let peer = |more: &str| {
        format!(
            r#"{{"address":"10.77.0.2","peers":[{{"public_key":"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",{more}}}]}}"#
        )
    };
    let hub = format!(
        r#"{{"address":"10.77.0.2","peers":[{{"public_key":"{}","allowed_ips":["10.77.0.9/32"]}}]}}"#,
        bench.hub.key()
    );
    for wish in [
        String::new(),
        "{".into(),
        "x".repeat(20_000),
        r#"{"address":"10.78.0.2"}"#.into(),
        r#"{"address":"10.77.0.2","private_key":"x"}"#.into(),
        peer(r#""allowed_ips":["0.0.0.0/0"]"#),
        peer(r#""allowed_ips":["192.0.2.0/24"]"#),
        peer(r#""allowed_ips":["10.77.0.0/16"]"#),
        peer(r#""endpoint":"--help:1""#),
        hub,
    ] {
        bench.write("/data/config/vpn/desired.json", &wish);
        let config = bench.read("/etc/edge-ai/vpn.json");
        // With an address of its own the device does not need the shadow's.
        let own = config.replacen('{', r#"{"address":"10.77.0.2","#, 1);
        bench.write("/etc/edge-ai/vpn.json", &own);
        let (code, said) = bench.vpn(&[]);
        assert!(
            code == 3 && said.contains("desired.vpn of the shadow is refused"),
            "{wish}: {said}"
        );
        bench.until_ssh();
        bench.write("/etc/edge-ai/vpn.json", &config);
    }
    assert_eq!(bench.read("/data/config/wireguard/private.key"), key.trim());
    // An image that does not let the shadow change anything.
    let config = bench.read("/etc/edge-ai/vpn.json");
    let strict = config.replace(r#""peers_from_shadow":true"#, r#""address":"10.77.0.2""#);
    bench.write("/etc/edge-ai/vpn.json", &strict);
    bench.wish(&json!({ "address": "10.77.0.3" }));
    let (code, said) = bench.vpn(&[]);
    assert!(
        code == 3 && said.contains("does not let the shadow"),
        "{said}"
    );
    bench.until_ssh();
    bench.write("/etc/edge-ai/vpn.json", &config);
}

fn wishes_that_are_right(bench: &Bench) {
    let other = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    bench.wish(&json!({ "address": "10.77.0.2", "peers": [
        { "public_key": other, "allowed_ips": ["10.77.5.0/24"] },
        { "public_key": bench.hub.key(), "endpoint": "192.0.2.1:51820" }] }));
    let (code, said) = bench.vpn(&[]);
    assert_eq!(code, 0, "{said}");
    let dump = bench.sh("wg show edge-vpn allowed-ips");
    assert!(dump.contains(&format!("{other}\t10.77.5.0/24")), "{dump}");
    bench.until_ssh();
    bench.wish(&json!({ "address": "10.77.0.2" }));
    assert_eq!(bench.vpn(&[]).0, 0);
    assert_eq!(bench.sh("wg show edge-vpn peers"), bench.hub.key());
    let mut out = std::io::stdout();
    writeln!(
        out,
        "SSH through the VPN, unplugged, deleted, harmed: healed"
    )
    .unwrap();
}
