//! edge-heartbeat as a process, through the events of a week: the broker restarts, the
//! network is unplugged, the certificate is renewed.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod broker;
mod cable;
mod jobs;
mod jobs_killed;
mod named;
mod refusal;
mod rejections;
mod samples;
mod sandbox;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use broker::Broker;
use cable::Cable;
use edge_sim::testbed::{Cloud, DeviceRoot, edge_sim, example};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use serde_json::{Value, json};

/// Watchdog interval, a tenth of that of the unit.
const WATCHDOG: Duration = Duration::from_secs(18);

fn until(condition: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "not within 60 s: {condition}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Process of edge-heartbeat, watched as by systemd.
struct Heartbeat {
    child: Child,
    notify: UnixDatagram,
    last: Instant,
    longest: Duration,
    reports: usize,
}

impl Heartbeat {
    fn start(device: &DeviceRoot, milliseconds: u64) -> Self {
        let socket = device.path("notify");
        let _ = fs::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket).unwrap();
        notify
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let mut child = Command::new(example("heartbeat_at_root"))
            .arg(device.path(""))
            .arg("--pace")
            .arg(milliseconds.to_string())
            .env("NOTIFY_SOCKET", &socket)
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .for_each(|l| println!("{l}"))
        });
        Self {
            child,
            notify,
            last: Instant::now(),
            longest: Duration::ZERO,
            reports: 0,
        }
    }

    /// Kills the process.
    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Reads a notification if one comes within a moment.
    fn watch(&mut self) {
        let mut buffer = [0; 256];
        if let Ok(size) = self.notify.recv(&mut buffer) {
            let message = String::from_utf8_lossy(&buffer[..size]).into_owned();
            if message.contains("WATCHDOG=1") {
                self.longest = self.longest.max(self.last.elapsed());
                self.last = Instant::now();
            }
            self.reports += usize::from(message.contains("STATUS=reported"));
        }
        assert!(self.last.elapsed() < WATCHDOG, "the watchdog expired");
        assert!(
            self.child.try_wait().unwrap().is_none(),
            "the process ended"
        );
    }

    /// Watches until the process has sent so many reports.
    fn wait_for_reports(&mut self, reports: usize) {
        let end = Instant::now() + Duration::from_secs(90);
        while self.reports < reports {
            assert!(
                Instant::now() < end,
                "{} reports, then no more",
                self.reports
            );
            self.watch();
        }
    }

    fn watch_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.watch();
        }
    }

    fn resident_kb(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("VmRSS:"))
            .unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Counts the established connections to `port`.
    fn connections(port: u16) -> usize {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let remote = format!("0100007F:{port:04X}");
        let ours = |l: &&str| {
            let mut fields = l.split_whitespace().skip(2);
            fields.next() == Some(&remote) && fields.next() == Some("01")
        };
        table.lines().filter(ours).count()
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.end();
    }
}

/// Provisions a second identity of the same thing, as a renewal does.
fn renewed(cloud: &Cloud, serial: &str) -> DeviceRoot {
    assert!(
        edge_sim(&["cloud", "allow", "--again", serial], cloud.path())
            .status
            .success()
    );
    let device = DeviceRoot::of(cloud, serial);
    device.provisioned(&[]);
    device
}

/// Replaces the identity of `to` by that of `from`, each file atomically.
fn renew(from: &DeviceRoot, to: &DeviceRoot) {
    for name in ["private.key", "device.crt"] {
        let path = to.path("data/config/aws-iot").join(name);
        let new: PathBuf = path.with_extension("new");
        fs::copy(from.path("data/config/aws-iot").join(name), &new).unwrap();
        fs::rename(new, path).unwrap();
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn a_report_updates_the_shadow_of_the_thing() {
    let cloud = Cloud::up();
    let device = DeviceRoot::allowed(&cloud, "s1");
    assert_eq!(device.heartbeat().0, 3);
    device.provisioned(&[]);
    for version in 1..=2 {
        assert_eq!(device.heartbeat().0, 0);
        let shadow = cloud.shadow("edge-ai-s1");
        assert_eq!(shadow["version"], version);
        assert!(shadow["state"]["reported"].is_object(), "{shadow}");
    }
    drop(cloud);
    let (code, output) = device.heartbeat();
    assert_eq!(code, 1, "{output}");
}

/// `cargo xtask campaign heartbeat` sets 2,000; the daily test is shorter.
#[test]
fn a_week_in_minutes() {
    let variable = std::env::var("EDGE_INTERVALS").ok();
    let intervals: usize = variable.map_or(80, |v| v.parse().expect("EDGE_INTERVALS is a number"));
    assert!(intervals > 20);
    let cloud = Cloud::up();
    let cable = Cable::to(cloud.value("iot_port").parse().unwrap());
    cloud.allow("s1");
    let device = DeviceRoot::of(&cloud, "s1");
    device.endpoint(cable.port);
    device.provisioned(&[]);
    let others = [renewed(&cloud, "s1"), renewed(&cloud, "s1")];
    let mut broker = Broker::replace(&cloud);
    let mut heartbeat = Heartbeat::start(&device, 100);
    let mut random = Random(u64::from(std::process::id()) << 20 | 1);
    println!("seed {}", random.0);
    let mut events = [0_usize; 3];
    heartbeat.wait_for_reports(20);
    let early = heartbeat.resident_kb();
    let mut highest = early;
    while heartbeat.reports < intervals || events.contains(&0) {
        let calm = 15 + usize::try_from(random.below(30)).unwrap();
        heartbeat.wait_for_reports(heartbeat.reports + calm);
        highest = highest.max(heartbeat.resident_kb());
        assert_eq!(Heartbeat::connections(cable.port), 1);
        // Each kind once, then random ones.
        let done: usize = events.iter().sum();
        let event = if done < 3 {
            done
        } else {
            usize::try_from(random.below(3)).unwrap()
        };
        events[event] += 1;
        match event {
            0 => {
                broker.stop();
                heartbeat.watch_for(Duration::from_millis(random.below(1500)));
                broker.start();
            }
            1 => {
                cable.unplug(true);
                heartbeat.watch_for(Duration::from_millis(2500 + random.below(2000)));
                cable.unplug(false);
            }
            _ => renew(&others[events[2] % 2], &device),
        }
    }
    heartbeat.wait_for_reports(heartbeat.reports + 10);
    let late = heartbeat.resident_kb();
    println!(
        "{} reports; broker restarted {}, network unplugged {}, certificate renewed {} times; \
         longest watchdog gap {:.1} s of {} s; memory {early} kB early, {late} kB late, \
         {highest} kB highest",
        heartbeat.reports,
        events[0],
        events[1],
        events[2],
        heartbeat.longest.as_secs_f32(),
        WATCHDOG.as_secs()
    );
    assert_eq!(Heartbeat::connections(cable.port), 1);
    assert!(late < early + 2048, "memory grows: {early} kB to {late} kB");
    assert!(cloud.shadow("edge-ai-s1")["state"]["reported"]["uptime_seconds"].is_null());
}

/// Returns a command for a client of the broker, as an operator uses it.
fn client(cloud: &Cloud, program: &str) -> Command {
    let mut command = Command::new(Path::new("/usr/bin").join(program));
    command.args(["-h", "localhost", "-p", &cloud.value("iot_port"), "-q", "1"]);
    command.arg("--cafile").arg(cloud.file("ca.pem"));
    command.arg("--cert").arg(cloud.file("responder.crt"));
    command.arg("--key").arg(cloud.file("responder.key"));
    command
}

fn set_desired(cloud: &Cloud, desired: &Value) {
    let update = json!({ "state": { "desired": desired } }).to_string();
    let mut publish = client(cloud, "mosquitto_pub");
    publish.args(["-t", "$aws/things/edge-ai-s1/shadow/update", "-m", &update]);
    assert!(publish.status().unwrap().success());
}

#[test]
fn the_desired_vpn_is_saved_for_edge_vpn_and_removed_with_the_key() {
    let cloud = Cloud::up();
    let device = DeviceRoot::allowed(&cloud, "s1");
    device.provisioned(&[]);
    let mut heartbeat = Heartbeat::start(&device, 60_000);
    heartbeat.wait_for_reports(1);
    fs::create_dir_all(device.path("data/config/vpn")).unwrap();
    let saved = device.path("data/config/vpn/desired.json");
    let vpn = json!({ "address": "10.77.0.2", "peers": [{ "public_key": "k" }] });
    for (desired, expected) in [
        (vpn.clone(), Some(vpn.clone())),
        (
            json!({ "peers": [] }),
            Some(json!({ "address": "10.77.0.2", "peers": [] })),
        ),
        (
            json!({ "peers": ["x".repeat(3000)] }),
            Some(json!({ "address": "10.77.0.2", "peers": [] })),
        ),
        (json!(null), None),
    ] {
        set_desired(&cloud, &json!({ "vpn": desired }));
        until("the desired VPN is on disk and reported", || {
            heartbeat.watch();
            let text = fs::read(&saved).ok();
            let now = text.map(|t| serde_json::from_slice::<Value>(&t).unwrap());
            let reported = cloud.shadow("edge-ai-s1")["state"]["reported"]["vpn"]["peers"].clone();
            now == expected
                && reported
                    == expected
                        .as_ref()
                        .map(|e| e["peers"].clone())
                        .unwrap_or_default()
        });
    }
}

#[test]
fn the_desired_interval_is_applied_and_the_last_will_is_published() {
    let cloud = Cloud::up();
    let device = DeviceRoot::allowed(&cloud, "s1");
    device.provisioned(&[]);
    let reported = |key: &str| cloud.shadow("edge-ai-s1")["state"]["reported"][key].clone();
    let mut heartbeat = Heartbeat::start(&device, 60_000);
    heartbeat.wait_for_reports(1);
    // The time of the shadow's answer is noted for edge-docker.
    let noted = fs::read(device.path("data/config/edge-heartbeat/cloud-time.json")).unwrap();
    let noted: Value = serde_json::from_slice(&noted).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    assert!(noted["unix"].as_u64().unwrap().abs_diff(now.as_secs()) < 120);
    for (desired, effective) in [
        (json!(2), 2),
        (json!(900), 60),
        (json!("soon"), 60),
        (json!(null), 60),
    ] {
        set_desired(&cloud, &json!({ "heartbeat_seconds": desired }));
        until("the interval is reported", || {
            heartbeat.watch();
            reported("heartbeat_seconds") == effective
        });
    }
    // Subscribed only now: any message is the last will.
    let mut subscribe = client(&cloud, "mosquitto_sub");
    subscribe.args(["-t", "edge-ai/edge-ai-s1/offline", "-C", "1", "-W", "30"]);
    subscribe.args(["-i", "listener"]);
    let listener = subscribe.stdout(Stdio::piped()).spawn().unwrap();
    until("a subscriber", || {
        let log = fs::read_to_string(cloud.file("mosquitto.log")).unwrap();
        log.contains("Sending SUBACK to listener")
    });
    drop(heartbeat);
    let message = listener.wait_with_output().unwrap().stdout;
    let message = String::from_utf8(message).unwrap();
    assert!(message.contains(r#""state":"offline""#), "{message:?}");
}

/// An engine that hangs, with as many connections waiting as it allows.
#[test]
fn an_engine_with_a_full_backlog_does_not_stop_the_reports() {
    let cloud = Cloud::up();
    let device = DeviceRoot::allowed(&cloud, "s1");
    device.provisioned(&[]);
    let socket = device.path("run/docker.sock");
    let listener = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    );
    let listener = listener.unwrap();
    let address = SocketAddrUnix::new(&socket).unwrap();
    bind(&listener, &address).unwrap();
    listen(&listener, 1).unwrap();
    let mut waiting = Vec::new();
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let client = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        if connect(&client, &address).is_err() {
            break;
        }
        waiting.push(client);
    }
    let mut heartbeat = Heartbeat::start(&device, 100);
    heartbeat.wait_for_reports(3);
    let reported = cloud.shadow("edge-ai-s1")["state"]["reported"].clone();
    assert!(reported["containers"].is_null() && reported["disk"].is_object());
    assert!(waiting.len() < 10, "{} connections", waiting.len());
}
