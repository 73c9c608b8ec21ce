//! edge-vpn with a container of the client: real edge-docker and engine, a signed image
//! with grants, and a simulated client with NordVPN's documented messages. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use edge_signature::{Annotations, CachedSignature, ImageRef, Manifest, Signed};
use edge_sim::namespaces::{Device, Settings};
use edge_sim::testbed::{build_image, program};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use serde_json::{Value, json};

const REPOSITORY: &str = "registry.test/edge-ai";
const TOKEN: &str = "e79f42d7a18c11b2e79f42d7a18c11b2e79f42d7a18c11b2e79f42d7a18c11b2";
/// Simulated systemctl: it runs the command lines of the one unit.
const SYSTEMCTL: &str = r#"#!/bin/sh
unit=/data/services/vpn-nordvpn.service
case $* in
"is-active --quiet "*) [ -n "$(docker ps -q -f name=nordvpn)" ] ;;
"daemon-reload") ;;
"--no-block start "*)
	sed -n 's/^ExecStartPre=-//p' $unit | sh >/dev/null 2>&1
	sed -n 's/^ExecStart=/exec /p' $unit | setsid sh >/data/unit.log 2>&1 &
	;;
"show "*) echo 0 ;;
"reload-or-restart sshd.service") kill -HUP "$(cat /run/sshd.pid)" ;;
"stop "*) edge-docker stop -t 0 nordvpn || : ;;
esac
"#;
/// Simulated client. Setting its address takes NET_ADMIN.
const CLIENT: &str = r#"#!/bin/sh
s=/var/lib/nordvpn
case "$*" in
daemon) [ -c /dev/net/tun ] && hostname >$s/host && exec sleep 100000 ;;
"set analytics off") : >$s/consent ;;
"login") read -r token; [ -e $s/consent ] && [ "$token" = TOKEN ] && : >$s/in && echo Welcome ;;
"set meshnet on") ip address add 100.64.0.15/32 dev lo && : >/on && echo "Meshnet is set to 'enabled' successfully." ;;
"meshnet set nickname "*) echo "$4" >$s/nick ;;
"meshnet peer list")
	[ -e $s/in ] || { echo "You're not logged in."; exit 1; }
	[ -e /on ] || { echo "Meshnet is not enabled."; exit 1; }
	echo "This device:"
	[ ! -e $s/nick ] || echo "Nickname: $(cat $s/nick)"
	printf 'Hostname: me-alps.nord\nIP: 100.64.0.15\n\nLocal Peers:\n[no peers]\n'
	;;
esac
"#;
const DOCKERFILE: &str = "FROM scratch\nCOPY busybox /bin/busybox\n\
    RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nENV PATH=/bin\n\
    COPY nordvpn nordvpn-login /bin/\nSTOPSIGNAL SIGKILL\nCMD [\"/bin/nordvpn\", \"daemon\"]\n";

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
        let policy = r#"{"sandbox":true,"ssh":"vpn"}"#;
        testbed.write("/etc/edge-ai/container-config/policy.json", policy);
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
        let client = CLIENT.replace("TOKEN", TOKEN);
        let files: [(&str, &[u8]); 3] = [
            ("Dockerfile", DOCKERFILE.as_bytes()),
            ("nordvpn", client.as_bytes()),
            ("nordvpn-login", b"#!/bin/sh\nexec nordvpn login\n"),
        ];
        build_image(&self.device, "sandbox/nordvpn", &files);
        self.read_output("docker", &["inspect", "-f", "{{.Id}}", "sandbox/nordvpn"])
    }

    /// Caches a signature of the image, as a pull does; returns the digest.
    fn sign(&self, id: &str, grants: &[&str]) -> String {
        let manifest = Manifest::new(json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": id, "size": 2 },
            "layers": [], "annotations": { "grants": grants.join(",") },
        }).to_string().into_bytes());
        let annotations = Annotations {
            app: "nordvpn".into(),
            version: "1.0".into(),
            release_number: 1,
            grants: grants.iter().map(ToString::to_string).collect(),
            run: None,
        };
        let reference: ImageRef = format!("{REPOSITORY}:nordvpn-1.0").parse().unwrap();
        let payload = edge_signature::payload(&reference, &manifest.digest, &annotations);
        let (signature, _) = edge_signature::sign_with_pem(&self.key, &payload).unwrap();
        let proof = CachedSignature::new(&manifest, vec![Signed::new(payload, signature)]);
        let path = format!(
            "/data/config/edge-docker/proofs/{}.json",
            manifest.digest.hex()
        );
        self.write(&path, &serde_json::to_string(&proof).unwrap());
        manifest.digest.to_string()
    }

    fn configure(&self, digest: &str) {
        let vpn = json!({ "provider": "nordvpn", "image": digest });
        self.write("/etc/edge-ai/vpn.json", &vpn.to_string());
    }
}

#[test]
fn the_container_gets_the_signed_grants_and_no_others() {
    let testbed = Testbed::new();
    let id = testbed.build();
    testbed.read_output("/data/edge-vpn", &["sshd"]);
    let mut sshd = testbed.device.command("/usr/sbin/sshd");
    let mut sshd = sshd.args(["-D"]).stdin(Stdio::null()).spawn().unwrap();
    // Signed without the grant: edge-docker refuses the container.
    testbed.configure(&testbed.sign(&id, &[]));
    let (code, output) = testbed.run("/data/edge-vpn", &["--budget", "3"]);
    assert_eq!(code, 10, "{output}");
    let log = fs::read_to_string(testbed.device.path("/data/unit.log")).unwrap();
    assert!(log.contains("--grant vpn is refused"), "{log}");
    // Signed with the grant: the device becomes ready.
    let digest = testbed.sign(&id, &["vpn"]);
    testbed.configure(&digest);
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
    assert_generator_links_unit(&testbed);
    assert_eq!(testbed.run("/data/edge-vpn", &[]), (0, String::new()));
    let (code, output) = testbed.run("/data/edge-vpn", &["status"]);
    assert!(code == 0 && output.contains("me-alps.nord"), "{output}");
    // The container ends: the next run starts it again, still logged in.
    testbed.read_output("docker", &["kill", "nordvpn"]);
    let end = Instant::now() + Duration::from_secs(20);
    while !testbed.read_output("docker", &["ps", "-q"]).is_empty() {
        assert!(Instant::now() < end, "the container still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
    testbed.read_output("/bin/sh", &["-c", "ip address del 100.64.0.15/32 dev lo"]);
    let (code, output) = testbed.run("/data/edge-vpn", &[]);
    assert!(code == 0 && !output.contains("logged in"), "{output}");
    let _ = sshd.kill();
    let _ = sshd.wait();
}

/// Asserts that the container has the grant, one directory, and nothing else.
fn assert_container(testbed: &Testbed) {
    let inspected = testbed.read_output("docker", &["inspect", "nordvpn"]);
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    let host = &inspected[0]["HostConfig"];
    assert_eq!(host["NetworkMode"], "host");
    assert_eq!(host["CapAdd"], json!(["NET_ADMIN"]));
    assert_eq!(
        (&host["Privileged"], &host["Devices"][0]["PathOnHost"]),
        (&json!(false), &json!("/dev/net/tun"))
    );
    let mounts = inspected[0]["Mounts"].as_array().unwrap();
    assert_eq!(mounts.len(), 1, "{mounts:?}");
    assert_eq!(mounts[0]["Destination"], "/var/lib/nordvpn");
}

fn assert_generator_links_unit(testbed: &Testbed) {
    let generator = testbed.device.path("/data/edge-generator");
    fs::copy(program("edge-generator"), generator).unwrap();
    let directory = "/data/units";
    fs::create_dir(testbed.device.path(directory)).unwrap();
    testbed.read_output("/data/edge-generator", &[directory; 3]);
    let link = format!("{directory}/multi-user.target.wants/vpn-nordvpn.service");
    let target = fs::read_link(testbed.device.path(&link)).unwrap();
    assert_eq!(target, Path::new("/data/services/vpn-nordvpn.service"));
}
