//! What edge-provision makes of a cloud, a network, a clock and a disk that are
//! not as they should be. All cases run at once, most of their time is waiting;
//! the table is printed by `cargo xtask campaign faults`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod bench;

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bench::{Device, Strict, at};
use edge_sim::endpoint::{Behaviour, Endpoint, Server, Tls};
use openssl::ssl::SslVersion;

/// One line of the matrix.
struct Case {
    name: &'static str,
    /// The script of the endpoint; see `edge_sim::endpoint::fault`.
    faults: &'static [&'static str],
    /// Exit code of the first run.
    code: i32,
    /// Part of what it says.
    words: &'static str,
    /// Certificates asked for until all is well; 0: not looked at.
    creates: usize,
}

const fn case(
    name: &'static str,
    faults: &'static [&'static str],
    code: i32,
    words: &'static str,
    creates: usize,
) -> Case {
    Case {
        name,
        faults,
        code,
        words,
        creates,
    }
}

/// Seconds that a run may try in these cases.
const BUDGET: u64 = 25;
/// The budget, and the documented minute of the last try.
const LIMIT: Duration = Duration::from_secs(BUDGET + 60);

const CASES: &[Case] = &[
    case("all well", &[], 0, "provisioned as", 1),
    case(
        "certificate refused",
        &["create:refused"],
        6,
        "AccessDenied (403)",
        2,
    ),
    case(
        "thing refused",
        &["register:refused"],
        6,
        "AccessDenied (403)",
        1,
    ),
    case(
        "throttled twice",
        &["create:throttled*2"],
        0,
        "Rate exceeded",
        3,
    ),
    case(
        "internal error once",
        &["register:broken*1"],
        0,
        "Internal error",
        1,
    ),
    case("silent once", &["create:silent*1"], 0, "no answer on", 1),
    case("silent", &["register:silent"], 5, "no answer on", 1),
    case(
        "late, 3 s",
        &["create:late=3000*1", "register:late=3000*1"],
        0,
        "provisioned as",
        1,
    ),
    case(
        "late, after we gave up",
        &["register:late=12000*1"],
        0,
        "no answer on",
        1,
    ),
    case(
        "dropped after the first answer",
        &["create:cut*1"],
        0,
        "trying again",
        1,
    ),
    case(
        "dropped before any answer",
        &["create:dropped*1"],
        0,
        "connection was lost",
        1,
    ),
    case(
        "registered, answer lost",
        &["register:lost*1"],
        0,
        "connection was lost",
        1,
    ),
    case(
        "duplicate",
        &["create:twice", "register:twice"],
        0,
        "provisioned as",
        1,
    ),
    case(
        "malformed once",
        &["create:malformed*1"],
        0,
        "is not JSON",
        2,
    ),
    case("malformed", &["register:malformed"], 5, "is not JSON", 1),
    case(
        "oversized once",
        &["create:oversized*1"],
        0,
        "no answer on",
        2,
    ),
    case(
        "incomplete",
        &["create:incomplete"],
        5,
        "has no certificatePem",
        0,
    ),
    case(
        "certificate of another key",
        &["create:other-key"],
        5,
        "for another key",
        0,
    ),
    case(
        "certificate that is over",
        &["create:over"],
        5,
        "not valid now",
        0,
    ),
    case(
        "another thing's name",
        &["register:other-thing"],
        5,
        "instead of edge-ai-",
        1,
    ),
    case(
        "token expired",
        &["register:expired*1"],
        0,
        "provisioned as",
        2,
    ),
    case(
        "connection refused by the broker",
        &["connect:refused"],
        6,
        "refused the connection",
        1,
    ),
    case(
        "broker silent",
        &["connect:silent"],
        5,
        "connecting to localhost",
        1,
    ),
    case(
        "broker drops once",
        &["connect:dropped*1"],
        0,
        "connecting to localhost",
        1,
    ),
];

/// What is printed for a case.
struct Row {
    name: String,
    seconds: f32,
    code: i32,
    said: String,
    disk: String,
    next: i32,
}

#[derive(Default)]
struct Table(Mutex<Vec<Row>>);

impl Table {
    /// Runs the device now, checks the end, mends what was wrong, runs again.
    fn row(
        &self,
        name: &str,
        device: &Device,
        code: i32,
        words: &str,
        mut run: Command,
        mend: impl FnOnce(),
    ) {
        let begin = Instant::now();
        let (ended, said) = bench::ended(&mut run);
        let taken = begin.elapsed();
        let last = said.lines().last().unwrap_or_default().to_string();
        assert!(said.contains(words), "{name}: {said}");
        assert_eq!(ended, code, "{name}: {said}");
        assert!(taken < LIMIT, "{name}: {taken:?}");
        for secret in ["PRIVATE KEY", "BEGIN CERT"] {
            assert!(!said.contains(secret), "{name} tells a secret: {said}");
        }
        let disk = device.files();
        let key = fs::read(device.path("data/config/aws-iot/private.key")).ok();
        mend();
        let (next, again) = device.process(&["--budget", "60"]);
        assert_eq!(next, 0, "{name}, the next boot: {again}");
        assert_eq!(
            device.files(),
            "config.json device.crt private.key",
            "{name}"
        );
        let kept = fs::read(device.path("data/config/aws-iot/private.key")).ok();
        assert!(key.is_none() || key == kept, "{name}: another key");
        let row = Row {
            name: name.into(),
            seconds: taken.as_secs_f32(),
            code,
            said: last.trim_start_matches("edge-provision: ").into(),
            disk,
            next,
        };
        self.0.lock().unwrap().push(row);
    }

    fn print(self) {
        let mut rows = self.0.into_inner().unwrap();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        println!(
            "{:<33} {:>6} {:>4} {:<42} {:>4}  message",
            "fault", "s", "code", "on disk after", "next"
        );
        for Row {
            name,
            seconds,
            code,
            said,
            disk,
            next,
        } in rows
        {
            let said: String = said.chars().take(90).collect();
            println!("{name:<33} {seconds:>6.1} {code:>4} {disk:<42} {next:>4}  {said}");
        }
    }
}

fn budget() -> String {
    BUDGET.to_string()
}

/// The cases of the script.
fn scripted(table: &Table, case: &Case) {
    let faults = case.faults.iter().map(|f| f.parse().unwrap()).collect();
    let cloud = Strict::with(&Behaviour {
        faults,
        ..Behaviour::default()
    });
    let device = Device::strict(&cloud, "f1");
    let run = device.command(&["--budget", &budget()]);
    table.row(case.name, &device, case.code, case.words, run, || {
        cloud.endpoint.play(&[])
    });
    let created = cloud
        .endpoint
        .events()
        .iter()
        .filter(|e| e.what == "create" && e.good)
        .count();
    // A refusal is noted as not good; all others count.
    let refused = cloud
        .endpoint
        .events()
        .iter()
        .filter(|e| e.what == "create" && !e.good)
        .count();
    if case.creates > 0 {
        assert_eq!(
            created + refused,
            case.creates,
            "{}: certificates",
            case.name
        );
    }
    assert_eq!(cloud.endpoint.keys_seen(), 1, "{}: keys", case.name);
}

/// Another server comes back as it should be, on the same port.
fn wrong_server(table: &Table, name: &str, server: Server, words: &str) {
    let mut cloud = Strict::with(&Behaviour {
        server,
        ..Behaviour::default()
    });
    let device = Device::strict(&cloud, "f1");
    let run = device.command(&["--budget", &budget()]);
    table.row(name, &device, 7, words, run, || {
        cloud.restart(&Behaviour::default());
        device.endpoint(cloud.endpoint.port());
    });
}

fn tls(table: &Table, name: &str, version: SslVersion) {
    let cloud = Strict::with(&Behaviour {
        tls: Tls::Only(version),
        ..Behaviour::default()
    });
    let device = Device::strict(&cloud, "f1");
    table.row(
        name,
        &device,
        0,
        "provisioned as",
        device.command(&[]),
        || {},
    );
}

fn clock(table: &Table, name: &str, time: &str, words: &str) {
    let cloud = Strict::with(&Behaviour::default());
    let device = Device::strict(&cloud, "f1");
    let mut run = Command::new("/usr/bin/faketime");
    run.args(["-f", time])
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    run.arg(at())
        .arg(device.path(""))
        .args(["edge-provision", "--budget", "3"]);
    table.row(name, &device, 4, words, run, || {});
}

fn no_name(table: &Table) {
    let cloud = Strict::with(&Behaviour::default());
    let device = Device::strict(&cloud, "f1");
    device.claim(&serde_json::json!({ "endpoint": "nowhere.invalid", "port": 8883, "template_name": "edge-ai-fleet" }));
    let run = device.command(&["--budget", "5"]);
    table.row(
        "DNS failing",
        &device,
        5,
        "looking up nowhere.invalid",
        run,
        || {
            device.endpoint(cloud.endpoint.port());
        },
    );
}

/// 40 s in the campaign; here as long as the others take anyway.
fn late_network(table: &Table) {
    let late = if std::env::var_os("EDGE_EVERY").is_some() {
        40
    } else {
        12
    };
    let mut cloud = Strict::with(&Behaviour::default());
    let device = Device::strict(&cloud, "f1");
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    device.endpoint(port);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(late));
            cloud.restart(&Behaviour {
                port,
                ..Behaviour::default()
            });
        });
        let run = device.command(&["--budget", "200"]);
        let name = format!("network {late} s late");
        // The time is that of the network, and of one pause of the back-off.
        table.row(&name, &device, 0, "trying again", run, || {});
    });
}

/// A `/data` of its own that is full, or cannot be written, and is mended.
fn bad_disk(table: &Table, name: &str, damage: &str, repair: &str, words: &str) {
    let cloud = Strict::with(&Behaviour::default());
    let device = Device::strict(&cloud, "f1");
    let (root, program) = (device.path(""), at());
    let script = format!(
        "set -e; mount -t tmpfs -o size=64k tmpfs {root}/data; mkdir -p {root}/data/config/aws-iot; \
         {damage}; set +e; {at} {root} edge-provision; code=$?; {repair}; \
         [ -z \"$(ls -A {root}/data/config/aws-iot)\" ] || echo LEFT; \
         {at} {root} edge-provision && {at} {root} edge-provision status && exit $code; exit 99",
        root = root.display(),
        at = program.display(),
    );
    let script = script.replace("DATA", &root.join("data").display().to_string());
    let mut run = Command::new("/usr/bin/unshare");
    run.args(["--map-root-user", "--mount", "sh", "-c", &script]);
    let begin = Instant::now();
    let (code, said) = bench::ended(&mut run);
    assert!(
        said.contains(words) && said.contains("valid") && !said.contains("LEFT"),
        "{name}: {said}"
    );
    assert_eq!(code, 1, "{name}: {said}");
    let line = said.lines().find(|l| l.contains(words)).unwrap_or_default();
    table.0.lock().unwrap().push(Row {
        name: name.into(),
        seconds: begin.elapsed().as_secs_f32(),
        code,
        said: line.trim_start_matches("edge-provision: ").into(),
        disk: "nothing".into(),
        next: 0,
    });
}

/// All lines of the matrix that are no script of the endpoint.
const OTHERS: &[fn(&Table)] = &[
    |t| {
        wrong_server(
            t,
            "unknown CA",
            Server::Unknown,
            "certificate is not trusted",
        )
    },
    |t| {
        wrong_server(
            t,
            "server of another name",
            Server::Elsewhere,
            "hostname mismatch",
        )
    },
    |t| tls(t, "TLS 1.2 alone", SslVersion::TLS1_2),
    |t| tls(t, "TLS 1.3 alone", SslVersion::TLS1_3),
    |t| {
        clock(
            t,
            "clock in 1970",
            "@1970-01-02 00:00:00",
            "before this image was made",
        )
    },
    |t| {
        clock(
            t,
            "clock in 2040",
            "@2040-01-01 00:00:00",
            "past the end of the claim",
        )
    },
    no_name,
    late_network,
    |t| {
        let fill = "dd if=/dev/zero of=DATA/fill bs=4k status=none 2>/dev/null || true";
        bad_disk(t, "disk full", fill, "rm DATA/fill", "No space left");
    },
    |t| {
        let (lock, open) = ("mount -o remount,ro DATA", "mount -o remount,rw DATA");
        bad_disk(t, "/data read-only", lock, open, "Read-only file system");
    },
];

#[test]
fn every_fault_has_its_end_and_the_next_boot_heals() {
    let table = Table::default();
    let table_ref = &table;
    std::thread::scope(|scope| {
        for case in CASES {
            scope.spawn(move || scripted(table_ref, case));
        }
        for other in OTHERS {
            scope.spawn(move || other(table_ref));
        }
    });
    table.print();
}

/// The port is free at once, unless somebody else on this machine is given it in between.
#[test]
fn an_endpoint_that_is_gone_frees_its_port() {
    let freed = || {
        let cloud = Strict::with(&Behaviour::default());
        let port = cloud.endpoint.port();
        let folder = cloud.file("");
        drop(cloud.endpoint);
        let again = Behaviour {
            port,
            ..Behaviour::default()
        };
        Endpoint::start(&folder, &again).is_ok_and(|again| again.port() == port)
    };
    assert!((0..5).any(|_| freed()), "five times its port stayed taken");
}
