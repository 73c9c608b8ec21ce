//! The container of the VPN client by its real unit, and a break-glass ticket for it, under
//! systemd on a production device. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod nordvpn_image;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use edge_docker_policy::break_glass::{BreakGlassTicket, TicketLevel};
use edge_signature::dsse::Role;
use edge_sim::namespaces::Booted;
use edge_sim::testbed::{build_context, program};
use nordvpn_image::{REPOSITORY, TOKEN};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use serde_json::{Value, json};

const POLICY: &str = "/etc/edge-ai/container-config/policy.json";
const DEVELOPMENT: &str = r#"{"sandbox":true,"run":"any","engineer":"debug"}"#;
const PRODUCTION: &str = r#"{"sandbox":false,"run":"signed","engineer":"operate"}"#;
const VPN: &str = "/etc/edge-ai/vpn.json";
const THING: &str = "edge-ai-7";

struct Testbed {
    device: Booted,
    container_key: PKey<Private>,
    engineer_key: PKey<Private>,
    _directory: tempfile::TempDir,
}

fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

impl Testbed {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (container_key, engineer_key) = (key(), key());
        let [container, engineer] =
            [&container_key, &engineer_key].map(|key| key.public_key_to_pem().unwrap());
        let config = json!({ "endpoint": "e.test", "thing_name": THING, "cert_path": "c",
            "key_path": "k", "ca_path": "a" });
        let anchors = "/etc/edge-ai/container-config";
        let files: [(&str, &[u8]); 6] = [
            (&format!("{anchors}/container-signing.pub"), &container),
            (&format!("{anchors}/engineer-signing.pub"), &engineer),
            (&format!("{anchors}/ecr-url.txt"), REPOSITORY.as_bytes()),
            (POLICY, DEVELOPMENT.as_bytes()),
            ("/etc/edge-ai/claim/nordvpn-token", TOKEN.as_bytes()),
            (VPN, br#"{"provider":"none"}"#),
        ];
        let edge_docker = program("edge-docker");
        let programs = [Path::new(env!("CARGO_BIN_EXE_edge-vpn")), &edge_docker];
        let device = Booted::start(directory.path(), &programs, &files).unwrap();
        let testbed = Self {
            device,
            container_key,
            engineer_key,
            _directory: directory,
        };
        testbed.write("/data/config/aws-iot/config.json", &config.to_string());
        // edge-vpn requests nothing without a default route.
        testbed.good(
            "ip link add uplink type bridge && ip address add 10.9.9.2/24 dev uplink && \
             ip link set uplink up && ip route add default via 10.9.9.1 && \
             ssh-keygen -A && systemctl reset-failed && systemctl start ssh",
        );
        testbed
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.device.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn run(&self, script: &str) -> Output {
        self.feed(script, b"")
    }

    fn feed(&self, script: &str, input: &[u8]) -> Output {
        let mut command = self.device.command("sh");
        command.args(["-c", script]).stdin(Stdio::piped());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that is refused does not read it.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    fn good(&self, script: &str) -> String {
        let output = self.run(script);
        let journal = || text(&self.run("journalctl -b -u 'edge-*' --no-pager -n 60"));
        assert!(
            output.status.success(),
            "{script}: {}\n{}",
            text(&output),
            journal()
        );
        String::from_utf8(output.stdout).unwrap().trim().into()
    }

    fn refused(&self, script: &str, why: &str) {
        let output = self.run(script);
        let text = text(&output);
        assert_eq!(output.status.code(), Some(125), "{script}: {text}");
        assert!(text.contains(why), "{script}: {text}");
    }

    /// Signs the client's image as this version, as a pull leaves it.
    fn sign(&self, id: &str, version: &str, grants: &[&str]) -> String {
        let key = self.container_key.private_key_to_pem_pkcs8().unwrap();
        let (digest, files) = nordvpn_image::signed(&key, id, version, grants);
        for (path, text) in files {
            self.write(&path, &text);
        }
        digest
    }

    /// Hands a ticket for the client's app to edge-docker.
    fn give(&self, n: u32, minutes: u32) -> Output {
        let ticket = BreakGlassTicket {
            app: "nordvpn".into(),
            id: format!("{n:032x}"),
            level: TicketLevel::Debug,
            minutes,
            not_after: 4_000_000_000,
            reason: "the tunnel is slow".into(),
            thing: THING.into(),
            v: 1,
            who: "anna".into(),
        };
        let payload = ticket.to_bytes().unwrap();
        let pem = self.engineer_key.private_key_to_pem_pkcs8().unwrap();
        let signed = edge_signature::sign_with_pem(&pem, &Role::Ticket.to_sign(&payload));
        let sealed = Role::Ticket.seal(&payload, &signed.unwrap().0);
        self.feed("edge-docker ticket", &sealed)
    }

    fn inspect(&self) -> Value {
        let found = self.good("docker inspect nordvpn");
        serde_json::from_str::<Value>(&found).unwrap()[0].take()
    }
}

fn until(what: &str, limit: Duration, mut probe: impl FnMut() -> bool) {
    let start = Instant::now();
    while !probe() {
        assert!(start.elapsed() < limit, "{what} does not come");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn the_client_runs_by_its_unit_and_a_ticket_for_it_ends_by_itself() {
    let testbed = Testbed::start();
    let context = build_context(&nordvpn_image::FILES);
    let built = testbed.feed("edge-docker build -q -t sandbox/nordvpn -", &context);
    assert!(built.status.success(), "{}", text(&built));
    let id = testbed.good("docker image inspect -f '{{.Id}}' sandbox/nordvpn");
    testbed.write(POLICY, PRODUCTION);
    client(&testbed, &id);
    signed_again(&testbed, &id);
    ticket(&testbed);
}

/// The unit of the client creates its container, with mounts and grants.
fn client(testbed: &Testbed, id: &str) {
    testbed.sign(id, "1.0", &["vpn"]);
    let vpn = json!({ "provider": "nordvpn", "image": "nordvpn-1.0" });
    testbed.write(VPN, &vpn.to_string());
    testbed.good("systemctl start edge-vpn-client.service");
    let container = testbed.inspect();
    assert_eq!(container["HostConfig"]["NetworkMode"], "host");
    assert_eq!(container["Mounts"][0]["Destination"], "/var/lib/nordvpn");
    assert_eq!(container["State"]["Running"], true);
    let processes = container["HostConfig"]["PidsLimit"].as_i64().unwrap_or(0);
    let id = container["Id"].as_str().unwrap();
    let limit = format!("find /sys/fs/cgroup/ -path '*{id}*' -name pids.max -exec cat {{}} +");
    assert!(processes > 0, "the engine dropped the limit of processes");
    assert_eq!(testbed.good(&limit), processes.to_string());
    // As at boot: the whole chain, by the units.
    testbed.good("systemctl start edge-vpn.service");
    let name = testbed.device.path("/data/config/nordvpn/meshnet-hostname");
    assert_eq!(fs::read_to_string(name).unwrap(), "me-alps.nord\n");
    // Again: nothing changes.
    testbed.good("systemctl start edge-vpn-client.service edge-vpn.service");
    assert_eq!(testbed.inspect()["Id"], container["Id"]);
}

/// The same version, signed again for another manifest: the container that was stopped
/// does not fit it any more, and is replaced.
fn signed_again(testbed: &Testbed, id: &str) {
    let digest = testbed.sign(id, "1.0", &["vpn", "gpu"]);
    let label = || testbed.inspect()["Config"]["Labels"]["edge.digest"].clone();
    // What runs is left alone.
    testbed.good("systemctl start edge-vpn-client.service");
    assert_ne!(label(), digest.as_str());
    testbed.good("edge-docker stop -t 0 nordvpn");
    testbed.good("systemctl start edge-vpn-client.service");
    assert_eq!(label(), digest.as_str());
    assert_eq!(testbed.inspect()["State"]["Running"], true);
    testbed.good("edge-docker rm nordvpn-previous");
}

/// A ticket of one minute, which nobody ends, and which a clock that is set back does not
/// prolong.
fn ticket(testbed: &Testbed) {
    let before = testbed.inspect();
    testbed.refused("edge-docker exec nordvpn sh -c :", "exec");
    let given = testbed.give(1, 1);
    assert!(given.status.success(), "{}", text(&given));
    let taken = Instant::now();
    testbed.good("systemctl is-active edge-docker-ticket-end.service || sleep 1; systemctl is-active edge-docker-ticket-end.service");
    testbed.good(
        "edge-docker exec nordvpn sh -c 'echo left >/left; echo kept >/var/lib/nordvpn/kept'",
    );
    testbed.good("edge-docker exec -d nordvpn sleep 7777 && pgrep -f 'sleep 7777'");
    let tag = format!("{REPOSITORY}:nordvpn-1.0");
    testbed.good(&format!(
        "edge-docker run -d --name probe -e A=b {tag} sleep 8888"
    ));
    until("the end", Duration::from_secs(240), || {
        let status = testbed.good("edge-docker ticket status --json");
        let status: Value = serde_json::from_str(&status).unwrap();
        status["ticket"].is_null() && status["ending"] == false
    });
    assert!(
        taken.elapsed() >= Duration::from_secs(60),
        "{:?}",
        taken.elapsed()
    );
    testbed.refused("edge-docker exec nordvpn sh -c :", "exec");
    assert!(
        !testbed
            .run("pgrep -f 'sleep [78][78][78][78]'")
            .status
            .success()
    );
    assert_eq!(
        testbed.good("docker ps -a --format '{{.Names}}'"),
        "nordvpn"
    );
    let after = testbed.inspect();
    assert_ne!(after["Id"], before["Id"]);
    assert_eq!(
        after["Config"]["Labels"]["edge.run"],
        before["Config"]["Labels"]["edge.run"]
    );
    assert_eq!(after["State"]["Running"], true);
    assert!(!testbed.good("docker diff nordvpn").contains("/left"));
    assert_eq!(testbed.good("cat /data/apps/nordvpn/state/kept"), "kept");
    let again = testbed.give(1, 1);
    assert!(text(&again).contains("valid once"), "{}", text(&again));
    // The unit is at rest until the next ticket.
    until("rest", Duration::from_secs(60), || {
        testbed
            .run("systemctl is-active edge-docker-ticket-end.service")
            .stdout
            == b"inactive\n"
    });
    testbed.good("systemctl is-active edge-docker-ticket-end.path");
}
