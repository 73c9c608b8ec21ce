//! edge-heartbeat as a process, through everything that happens to a device in
//! a week: the broker restarts, the network is cut, the certificate is renewed.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod broker;
mod wire;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use broker::Broker;
use edge_sim::testbed::{Cloud, DeviceRoot, edge_sim, example};
use serde_json::{Value, json};
use wire::Wire;

/// As long as systemd would wait, at a tenth of the time.
const WATCHDOG: Duration = Duration::from_secs(18);

fn until(what: &str, mut ask: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !ask() {
        assert!(Instant::now() < end, "{what}: nothing within 60 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The heartbeat, watched as systemd watches it.
struct Beat {
    child: Child,
    notify: UnixDatagram,
    last: Instant,
    longest: Duration,
    reports: usize,
}

impl Beat {
    fn start(device: &DeviceRoot, milliseconds: u64) -> Self {
        let socket = device.path("notify");
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
        let words = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            words
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

    /// Reads what it tells systemd, for a moment.
    fn watch(&mut self) {
        let mut buffer = [0; 256];
        if let Ok(size) = self.notify.recv(&mut buffer) {
            let words = String::from_utf8_lossy(&buffer[..size]).into_owned();
            if words.contains("WATCHDOG=1") {
                self.longest = self.longest.max(self.last.elapsed());
                self.last = Instant::now();
            }
            self.reports += usize::from(words.contains("STATUS=reported"));
        }
        assert!(self.last.elapsed() < WATCHDOG, "the watchdog was lost");
        assert!(self.child.try_wait().unwrap().is_none(), "it ended");
    }

    fn reach(&mut self, reports: usize) {
        let end = Instant::now() + Duration::from_secs(90);
        while self.reports < reports {
            assert!(
                Instant::now() < end,
                "{} reports, then nothing",
                self.reports
            );
            self.watch();
        }
    }

    fn pass(&mut self, time: Duration) {
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

    /// Its established connections to `port`.
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

impl Drop for Beat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A second identity of the same thing, as a renewal brings it.
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

/// Puts the identity of `from` in the place of that of `to`, each file whole.
fn renew(from: &DeviceRoot, to: &DeviceRoot) {
    for name in ["private.key", "device.crt"] {
        let place = to.path("data/config/aws-iot").join(name);
        let new: PathBuf = place.with_extension("new");
        fs::copy(from.path("data/config/aws-iot").join(name), &new).unwrap();
        fs::rename(new, place).unwrap();
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

/// `cargo xtask campaign heartbeat` sets 2,000; the daily test is shorter.
#[test]
fn a_week_in_minutes() {
    let asked = std::env::var("EDGE_INTERVALS").ok();
    let intervals: usize = asked.map_or(80, |v| v.parse().expect("EDGE_INTERVALS is a number"));
    assert!(intervals > 20);
    let cloud = Cloud::up();
    let wire = Wire::to(cloud.value("iot_port").parse().unwrap());
    cloud.allow("s1");
    let device = DeviceRoot::of(&cloud, "s1");
    device.endpoint(wire.port);
    device.provisioned(&[]);
    let others = [renewed(&cloud, "s1"), renewed(&cloud, "s1")];
    let mut broker = Broker::instead(&cloud);
    let mut beat = Beat::start(&device, 100);
    let mut random = Random(u64::from(std::process::id()) << 20 | 1);
    println!("seed {}", random.0);
    let mut events = [0_usize; 3];
    beat.reach(20);
    let early = beat.resident_kb();
    let mut highest = early;
    while beat.reports < intervals || events.contains(&0) {
        let calm = 15 + usize::try_from(random.below(30)).unwrap();
        beat.reach(beat.reports + calm);
        highest = highest.max(beat.resident_kb());
        assert_eq!(Beat::connections(wire.port), 1);
        // Each kind comes first, then any.
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
                beat.pass(Duration::from_millis(random.below(1500)));
                broker.start();
            }
            1 => {
                wire.pull(true);
                beat.pass(Duration::from_millis(2500 + random.below(2000)));
                wire.pull(false);
            }
            _ => renew(&others[events[2] % 2], &device),
        }
    }
    beat.reach(beat.reports + 10);
    let late = beat.resident_kb();
    println!(
        "{} reports; broker restarted {}, network cut {}, certificate renewed {} times; \
         longest watchdog gap {:.1} s of {} s; memory {early} kB early, {late} kB late, \
         {highest} kB highest",
        beat.reports,
        events[0],
        events[1],
        events[2],
        beat.longest.as_secs_f32(),
        WATCHDOG.as_secs()
    );
    assert_eq!(Beat::connections(wire.port), 1);
    assert!(late < early + 2048, "memory grows: {early} kB to {late} kB");
    assert!(cloud.shadow("edge-ai-s1")["state"]["reported"]["uptime_seconds"].is_null());
}

/// A client of the broker's, as an operator.
fn client(cloud: &Cloud, program: &str) -> Command {
    let mut command = Command::new(Path::new("/usr/bin").join(program));
    command.args(["-h", "localhost", "-p", &cloud.value("iot_port"), "-q", "1"]);
    command.arg("--cafile").arg(cloud.file("ca.pem"));
    command.arg("--cert").arg(cloud.file("responder.crt"));
    command.arg("--key").arg(cloud.file("responder.key"));
    command
}

fn desire(cloud: &Cloud, wish: &Value) {
    let update = json!({ "state": { "desired": wish } }).to_string();
    let mut publish = client(cloud, "mosquitto_pub");
    publish.args(["-t", "$aws/things/edge-ai-s1/shadow/update", "-m", &update]);
    assert!(publish.status().unwrap().success());
}

/// What is wished of the VPN lies where edge-vpn looks for it, until it is not
/// wished any more.
#[test]
fn a_wish_about_the_vpn_is_kept_for_edge_vpn() {
    let cloud = Cloud::up();
    let device = DeviceRoot::allowed(&cloud, "s1");
    device.provisioned(&[]);
    let mut beat = Beat::start(&device, 60_000);
    beat.reach(1);
    fs::create_dir_all(device.path("data/config/vpn")).unwrap();
    let kept = device.path("data/config/vpn/desired.json");
    let vpn = json!({ "address": "10.77.0.2", "peers": [{ "public_key": "k" }] });
    for (wish, expected) in [
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
        desire(&cloud, &json!({ "vpn": wish }));
        until("the wish about the VPN on disk and reported back", || {
            beat.watch();
            let text = fs::read(&kept).ok();
            let now = text.map(|t| serde_json::from_slice::<Value>(&t).unwrap());
            let told = cloud.shadow("edge-ai-s1")["state"]["reported"]["vpn"]["peers"].clone();
            now == expected
                && told
                    == expected
                        .as_ref()
                        .map(|e| e["peers"].clone())
                        .unwrap_or_default()
        });
    }
}

/// What the broker tells others when the device is gone, and what a wish does.
#[test]
fn a_wish_is_followed_and_a_last_will_is_published() {
    let cloud = Cloud::up();
    let device = DeviceRoot::allowed(&cloud, "s1");
    device.provisioned(&[]);
    let reported = |key: &str| cloud.shadow("edge-ai-s1")["state"]["reported"][key].clone();
    let mut beat = Beat::start(&device, 60_000);
    beat.reach(1);
    for (wish, effect) in [
        (json!(2), 2),
        (json!(900), 60),
        (json!("soon"), 60),
        (json!(null), 60),
    ] {
        desire(&cloud, &json!({ "heartbeat_seconds": wish }));
        until("the wish reported back", || {
            beat.watch();
            reported("heartbeat_seconds") == effect
        });
    }
    // Only now listened to: nothing was said while it was there.
    let mut subscribe = client(&cloud, "mosquitto_sub");
    subscribe.args(["-t", "edge-ai/edge-ai-s1/offline", "-C", "1", "-W", "30"]);
    subscribe.args(["-i", "listener"]);
    let listener = subscribe.stdout(Stdio::piped()).spawn().unwrap();
    until("a listener", || {
        let log = fs::read_to_string(cloud.file("mosquitto.log")).unwrap();
        log.contains("Sending SUBACK to listener")
    });
    drop(beat);
    let said = listener.wait_with_output().unwrap().stdout;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains(r#""state":"offline""#), "{said:?}");
}
