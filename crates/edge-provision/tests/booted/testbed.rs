//! Device under systemd, and the world at the other end of its cable: strict endpoint,
//! name server and the engineer's laptop.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use edge_sim::cloud;
use edge_sim::namespaces::{Booted, Image, Namespaces};
use edge_sim::testbed::{build_context, program};
use tempfile::TempDir;

/// Serial number of the device.
pub const SERIAL: &str = "5e1a1000000000000000000000000001";
/// Time limit of each event, on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
/// First process of a network.
const NETWORK: &str = "ip link set lo up; echo ready; cat >/dev/null";
/// App that an operator started, and one of a unit of `/data/services`.
const APPS: [&str; 2] = ["app", "beat"];
const DOCKERFILE: &[u8] = b"FROM scratch\nCOPY busybox /bin/busybox\nSTOPSIGNAL SIGKILL\n\
    CMD [\"/bin/busybox\", \"sleep\", \"1000000\"]\n";
const UNIT: &str = "[Unit]\nAfter=docker.service\nWants=docker.service\n[Service]\n\
    ExecStart=/usr/bin/edge-docker run --rm --name beat sandbox/app\nRestart=always\n\
    RestartSec=2\n[Install]\nWantedBy=multi-user.target\n";

/// Network of a device: addresses at both ends of the cable.
pub struct Network {
    /// Address of the device.
    pub device: &'static str,
    /// Address of endpoint, name server and laptop.
    pub world: &'static str,
    /// Length of the network's prefix.
    pub prefix: u8,
    /// Address that takes packets and never answers.
    pub dead: &'static str,
    /// Answers of the name server.
    pub names: &'static str,
}

pub struct Testbed {
    device: Booted,
    world: Namespaces,
    address: &'static str,
    directory: TempDir,
    _cable: Namespaces,
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Starts a program that ends with its namespaces.
fn serve(command: &mut Command, log: &Path) {
    let log = fs::File::create(log).unwrap();
    let error = log.try_clone().unwrap();
    command.stdin(Stdio::null()).stdout(log).stderr(error);
    drop(command.spawn().unwrap());
}

impl Testbed {
    /// Boots a device that was never provisioned.
    pub fn start(network: &Network) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        let log = || Stdio::from(fs::File::create(at.join("log")).unwrap());
        let [world, cable] = [(), ()].map(|()| Namespaces::start(NETWORK, &[], log()).unwrap());
        connect(network, &world, &cable);
        fs::create_dir(at.join("cloud")).unwrap();
        cloud::create(&at.join("cloud"), &[SERIAL.into()]).unwrap();
        let mut endpoint = world.command(program("edge-sim").to_str().unwrap());
        endpoint.args([
            "endpoint",
            "--address",
            network.world,
            "--port",
            "8883",
            "--dir",
        ]);
        serve(endpoint.arg(at.join("cloud")), &at.join("endpoint"));
        let mut names = world.command("python3");
        names.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/name_server.py"));
        serve(
            names.args([network.world, network.names]),
            &at.join("names"),
        );
        let key = at.join("id");
        let mut keygen = Command::new("ssh-keygen");
        output(
            keygen
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(&key),
        );
        let public_key = fs::read_to_string(at.join("id.pub")).unwrap();
        let image = Image {
            cloud: &at.join("cloud"),
            serial: SERIAL,
            public_key: public_key.trim(),
            network: &cable.network(),
            resolver: &format!("nameserver {}\n", network.world),
        };
        let device = Booted::image(&at.join("device"), &image).unwrap();
        Self {
            device,
            world,
            address: network.device,
            directory,
            _cable: cable,
        }
    }

    /// Returns the directory of the cloud's state.
    pub fn cloud(&self) -> PathBuf {
        self.directory.path().join("cloud")
    }

    pub fn run(&self, script: &str) -> Output {
        self.device
            .command("sh")
            .args(["-c", script])
            .output()
            .unwrap()
    }

    pub fn good(&self, script: &str) -> String {
        let output = self.run(script);
        assert!(
            output.status.success(),
            "{script}: {}\n{}",
            text(&output),
            self.journal()
        );
        String::from_utf8(output.stdout).unwrap().trim().into()
    }

    fn journal(&self) -> String {
        text(&self.run("journalctl -b --no-pager -n 120; systemctl --failed"))
    }

    /// Probes until there is a value, and returns it.
    pub fn until<T>(&self, what: &str, mut probe: impl FnMut(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(value) = probe(self) {
                return value;
            }
            assert!(
                start.elapsed() < LIMIT,
                "{what} does not come: {}",
                self.journal()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn shadow(&self) -> PathBuf {
        let name = format!("shadows/edge-ai-{SERIAL}.json");
        self.directory.path().join("cloud").join(name)
    }

    pub fn reported(&self) -> bool {
        fs::read_to_string(self.shadow()).is_ok_and(|text| text.contains("reported"))
    }

    /// Waits until the cloud has a report of this boot.
    pub fn reports(&self) {
        self.until("a report", |testbed| testbed.reported().then_some(()));
    }

    /// Cuts the power and boots; the cloud forgets what was reported.
    pub fn power_loss(&mut self) {
        self.device.cut_power();
        let _ = fs::remove_file(self.shadow());
        self.device.boot().unwrap();
    }

    /// Logs in as edge from the other end of the cable, and uses the rule of sudo.
    pub fn engineer_gets_in(&self) {
        let at = self.directory.path().display();
        let script = format!(
            "ssh -F none -i {at}/id -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=5 \
             -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={at}/known_hosts \
             -o GlobalKnownHostsFile=/dev/null edge@{} sudo -n /usr/bin/edge-docker ps",
            self.address
        );
        self.until("SSH", |testbed| {
            let mut ssh = testbed.world.command("sh");
            let output = ssh.args(["-c", &script]).output().unwrap();
            output.status.success().then_some(())
        });
    }

    /// Builds an image and starts an app of each kind.
    pub fn start_apps(&self) {
        let mut build = self.device.command("edge-docker");
        build.args(["build", "-q", "-t", "sandbox/app", "-"]);
        let piped = build.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = piped.spawn().unwrap();
        let context = build_context(&[("Dockerfile", DOCKERFILE)]);
        child.stdin.take().unwrap().write_all(&context).unwrap();
        assert!(child.wait().unwrap().success(), "{}", self.journal());
        self.good("edge-docker run -d --restart unless-stopped --name app sandbox/app");
        let unit = self.device.path("/data/services/beat.service");
        fs::write(unit, UNIT).unwrap();
        self.good("systemctl daemon-reload && systemctl start beat.service");
        self.apps_run();
        self.good("sync");
    }

    /// Waits until every app runs.
    pub fn apps_run(&self) {
        self.until("all apps", |testbed| {
            let names = testbed.run("docker ps --format '{{.Names}}'").stdout;
            let names = String::from_utf8(names).unwrap();
            let runs = |app: &&str| names.lines().any(|name| name == *app);
            APPS.iter().all(runs).then_some(())
        });
    }

    pub fn no_failed_units(&self) {
        let failed = self.good("systemctl list-units --failed --plain --no-legend 'edge-*'");
        let unit = failed.split_whitespace().next().unwrap_or_default();
        let why = self.run(&format!("journalctl -b --no-pager -u '{unit}'"));
        assert_eq!(failed, "", "{}\n{}", text(&why), self.journal());
    }
}

/// Lays the cable. The dead address has a neighbour that nobody is.
fn connect(network: &Network, world: &Namespaces, cable: &Namespaces) {
    // From outside: a process id is unknown in the other namespaces.
    let mut ip = Command::new("nsenter");
    ip.arg(format!("--net={}", world.network().display()));
    ip.args(["ip", "link", "add", "world0", "type", "veth"]);
    output(ip.args(["peer", "name", "up0", "netns", &cable.pid().to_string()]));
    let Network { prefix, dead, .. } = network;
    for (end, link, address, other) in [
        (world, "world0", network.world, network.device),
        (cable, "up0", network.device, network.world),
    ] {
        let mut nodad = if address.contains(':') { " nodad" } else { "" }.to_string();
        if link == "up0" {
            nodad += &format!("; ip neigh add {dead} lladdr 02:00:00:00:00:09 dev up0");
        }
        let script = format!(
            "set -e; ip link set {link} up; ip address add {address}/{prefix} dev {link}{nodad}
             [ {link} = world0 ] || ip route add default via {other}"
        );
        output(end.command("sh").args(["-c", &script]));
    }
}
