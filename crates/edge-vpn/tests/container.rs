//! edge-vpn with a container of the client: real edge-docker and engine, a signed image
//! with grants, and a simulated client with NordVPN's documented messages. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod nordvpn_image;

use std::fs;
use std::process::Stdio;

use edge_sim::namespaces::{Device, Settings};
use edge_sim::testbed::build_image;
use nordvpn_image::{REPOSITORY, TOKEN};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use serde_json::{Value, json};

/// Simulated systemctl: it runs the command line of the one unit of the read-only root.
const SYSTEMCTL: &str = r#"#!/bin/sh
case $* in
"--no-block start edge-vpn-client.service") setsid /data/edge-vpn client >/data/unit.log 2>&1 & ;;
"show "*) echo 0 ;;
"reload-or-restart sshd.service") kill -HUP "$(cat /run/sshd.pid)" ;;
esac
"#;
/// Policy of a production image that reserves SSH for the VPN.
const PRODUCTION: &str = r#"{"sandbox":false,"run":"signed","engineer":"operate","ssh":"vpn"}"#;

struct Testbed {
    device: Device,
    key: Vec<u8>,
    _directory: tempfile::TempDir,
}

impl Testbed {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let public = directory.path().join("key.pub");
        fs::write(&public, key.public_key_to_pem().unwrap()).unwrap();
        let settings = Settings {
            repository: REPOSITORY,
            keys: &[public],
            ..Settings::default()
        };
        let device = Device::start(&directory.path().join("device"), &settings).unwrap();
        let key = key.private_key_to_pem_pkcs8().unwrap();
        let testbed = Self {
            device,
            key,
            _directory: directory,
        };
        fs::copy(
            env!("CARGO_BIN_EXE_edge-vpn"),
            testbed.device.path("/data/edge-vpn"),
        )
        .unwrap();
        let table = "../../yocto/meta-edge-secure/recipes-edge/edge-policy/files/devices.json";
        testbed.write(
            "/etc/edge-ai/devices.json",
            &fs::read_to_string(table).unwrap(),
        );
        testbed.write("/etc/edge-ai/claim/nordvpn-token", TOKEN);
        let config = json!({ "endpoint": "e.test", "thing_name": "edge-ai-7", "cert_path": "c",
            "key_path": "k", "ca_path": "a" });
        testbed.write("/data/config/aws-iot/config.json", &config.to_string());
        testbed.write("/data/systemctl", SYSTEMCTL);
        testbed.read_output(
            "/bin/sh",
            &[
                "-c",
                "chmod 755 /data/systemctl; mount --bind /data/systemctl /usr/bin/systemctl",
            ],
        );
        testbed
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.device.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn run(&self, program: &str, args: &[&str]) -> (i32, String) {
        let mut command = self.device.command(program);
        let output = command.args(args).stdin(Stdio::null()).output().unwrap();
        let both = [&output.stdout[..], &output.stderr[..]].concat();
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&both).into_owned(),
        )
    }

    fn read_output(&self, program: &str, args: &[&str]) -> String {
        let output = self
            .device
            .command(program)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{args:?}: {output:?} {}",
            self.device.log()
        );
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    }

    /// Builds the client's image; returns its image ID.
    fn build(&self) -> String {
        build_image(&self.device, "sandbox/nordvpn", &nordvpn_image::FILES);
        self.read_output("docker", &["inspect", "-f", "{{.Id}}", "sandbox/nordvpn"])
    }

    /// Caches a signature of the image and the run specification of the example, as a pull
    /// does; returns the digest.
    fn sign(&self, id: &str, version: &str, grants: &[&str]) -> String {
        let (digest, files) = nordvpn_image::signed(&self.key, id, version, grants);
        for (path, text) in files {
            self.write(&path, &text);
        }
        digest
    }

    fn configure(&self, image: &str) {
        let vpn = json!({ "provider": "nordvpn", "image": image });
        self.write("/etc/edge-ai/vpn.json", &vpn.to_string());
    }
}

#[test]
fn the_container_gets_the_signed_grants_and_no_others() {
    let testbed = Testbed::new();
    let id = testbed.build();
    testbed.write("/etc/edge-ai/container-config/policy.json", PRODUCTION);
    // edge-vpn requests nothing without a default route.
    let uplink = "ip link add uplink type bridge && ip address add 10.9.9.2/24 dev uplink && \
                  ip link set uplink up && ip route add default via 10.9.9.1";
    testbed.read_output("/bin/sh", &["-c", uplink]);
    testbed.read_output("/data/edge-vpn", &["sshd"]);
    let mut sshd = testbed.device.command("/usr/sbin/sshd");
    let mut sshd = sshd.args(["-D"]).stdin(Stdio::null()).spawn().unwrap();
    // Signed without the grant: edge-docker refuses the container.
    testbed.sign(&id, "0.9", &[]);
    testbed.configure("nordvpn-0.9");
    let (code, output) = testbed.run("/data/edge-vpn", &["--budget", "3"]);
    assert_eq!(code, 10, "{output}");
    let log = fs::read_to_string(testbed.device.path("/data/unit.log")).unwrap();
    assert!(log.contains("--grant vpn is refused"), "{log}");
    // Signed with the grant: the device becomes ready.
    let digest = testbed.sign(&id, "1.0", &["vpn"]);
    testbed.configure(&format!("nordvpn-1.0@{digest}"));
    let (code, output) = testbed.run("/data/edge-vpn", &[]);
    let log = fs::read_to_string(testbed.device.path("/data/unit.log")).unwrap();
    assert_eq!(code, 0, "{output} {log}");
    let read = |path: &str| fs::read_to_string(testbed.device.path(path)).unwrap();
    assert_eq!(
        read("/data/config/nordvpn/meshnet-hostname"),
        "me-alps.nord\n"
    );
    assert_eq!(read("/data/apps/nordvpn/state/nick"), "edge-ai-7\n");
    assert_eq!(read("/data/apps/nordvpn/state/host"), "edge-ai-7\n");
    assert!(!output.contains(TOKEN));
    let listening = "ss -Hltn 'sport = 22' | awk '{print $4}' | sort";
    let listening = testbed.read_output("/bin/sh", &["-c", listening]);
    assert_eq!(listening, "100.64.0.15:22\n127.0.0.1:22");
    assert_container(&testbed);
    assert_commands(&testbed);
    assert_eq!(testbed.run("/data/edge-vpn", &[]), (0, String::new()));
    let (code, output) = testbed.run("/data/edge-vpn", &["status"]);
    assert!(code == 0 && output.contains("me-alps.nord"), "{output}");
    // The container was stopped: the next run starts it again, still logged in.
    testbed.read_output("edge-docker", &["stop", "-t", "0", "nordvpn"]);
    testbed.read_output("/bin/sh", &["-c", "ip address del 100.64.0.15/32 dev lo"]);
    let (code, output) = testbed.run("/data/edge-vpn", &[]);
    assert!(code == 0 && !output.contains("logged in"), "{output}");
    // Another version in the device image: it replaces the one that runs.
    let digest = testbed.sign(&id, "1.1", &["vpn"]);
    testbed.configure("nordvpn-1.1");
    testbed.read_output("/bin/sh", &["-c", "ip address del 100.64.0.15/32 dev lo"]);
    testbed.read_output("/data/edge-vpn", &["client"]);
    let (code, output) = testbed.run("/data/edge-vpn", &[]);
    assert_eq!((code, output.as_str()), (0, "edge-vpn: Meshnet is on\n"));
    let label = "{{index .Config.Labels \"edge.digest\"}}";
    assert_eq!(
        testbed.read_output("docker", &["inspect", "-f", label, "nordvpn"]),
        digest
    );
    // An image without VPN: the containers are removed.
    testbed.write("/etc/edge-ai/vpn.json", r#"{"provider":"none"}"#);
    testbed.read_output("/data/edge-vpn", &["client"]);
    assert_eq!(testbed.read_output("docker", &["ps", "-aq"]), "");
    let _ = sshd.kill();
    let _ = sshd.wait();
}

/// Asserts that the container has the grant, one directory, and nothing else.
fn assert_container(testbed: &Testbed) {
    let inspected = testbed.read_output("docker", &["inspect", "nordvpn"]);
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    let host = &inspected[0]["HostConfig"];
    assert_eq!(host["NetworkMode"], "host");
    // The default ones of every container, and the two of the grant.
    let capabilities = host["CapAdd"].to_string();
    assert!(capabilities.contains("NET_ADMIN") && capabilities.contains("NET_RAW"));
    assert!(!capabilities.contains("SYS_"), "{capabilities}");
    assert_eq!(host["RestartPolicy"]["Name"], "unless-stopped");
    assert_eq!(
        (&host["Privileged"], &host["Devices"][0]["PathOnHost"]),
        (&json!(false), &json!("/dev/net/tun"))
    );
    let mounts = inspected[0]["Mounts"].as_array().unwrap();
    assert_eq!(mounts.len(), 1, "{mounts:?}");
    assert_eq!(mounts[0]["Destination"], "/var/lib/nordvpn");
}

/// Asserts that a caller runs the signed commands and nothing else in the container.
fn assert_commands(testbed: &Testbed) {
    let (code, output) = testbed.run("edge-docker", &["exec", "nordvpn", "peers"]);
    assert!(code == 0 && output.contains("me-alps.nord"), "{output}");
    for line in [
        "nordvpn nordvpn meshnet peer list",
        "nordvpn nordvpn-login",
        "nordvpn nordvpn logout",
        "nordvpn ip address add 192.0.2.1/32 dev lo",
        "nordvpn sh",
        "nordvpn peers now",
        "nordvpn nickname",
        "nordvpn nickname --help",
        "nordvpn nickname a b",
        "-u 0 nordvpn peers",
        "-e LD_PRELOAD=/var/lib/nordvpn/x.so nordvpn peers",
        "-w /var/lib/nordvpn nordvpn peers",
        "-d nordvpn peers",
        "--privileged nordvpn peers",
    ] {
        let args: Vec<_> = ["exec"].into_iter().chain(line.split(' ')).collect();
        let (code, output) = testbed.run("edge-docker", &args);
        assert_eq!(code, 125, "{line}: {output}");
    }
    let nick = testbed.device.path("/data/apps/nordvpn/state/nick");
    assert_eq!(fs::read_to_string(nick).unwrap(), "edge-ai-7\n");
}
