//! edge-provision with faults of cloud, network, clock and disk. All cases run at once,
//! since they mostly wait; `cargo xtask campaign faults` prints the table.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod cases;
mod table;

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use cases::{CASES, Case};
use edge_sim::endpoint::{Behaviour, Endpoint, Server, Tls};
use edge_sim::testbed::{self, DeviceRoot, StrictEndpoint, example};
use openssl::ssl::SslVersion;
use table::{BUDGET, Row, Table};

fn budget() -> String {
    BUDGET.to_string()
}

/// Runs a case with a script of the endpoint.
fn scripted(table: &Table, case: &Case) {
    let faults = case.faults.iter().map(|f| f.parse().unwrap()).collect();
    let cloud = StrictEndpoint::with(&Behaviour {
        faults,
        ..Behaviour::default()
    });
    let device = DeviceRoot::strict(&cloud, "f1");
    let run = device.command(&["--budget", &budget()]);
    table.row(case.name, &device, case.code, case.message, run, || {
        cloud.endpoint.play(&[])
    });
    let created = cloud
        .endpoint
        .events()
        .iter()
        .filter(|e| e.kind == "create" && e.succeeded)
        .count();
    // A rejected request is recorded as not good; all others count.
    let rejected = cloud
        .endpoint
        .events()
        .iter()
        .filter(|e| e.kind == "create" && !e.succeeded)
        .count();
    if case.creates > 0 {
        assert_eq!(
            created + rejected,
            case.creates,
            "{}: certificates",
            case.name
        );
    }
    assert_eq!(cloud.endpoint.keys_seen(), 1, "{}: keys", case.name);
}

/// Runs against a wrong server, which is then replaced by the right one on its port.
fn wrong_server(table: &Table, name: &str, server: Server, message: &str) {
    let mut cloud = StrictEndpoint::with(&Behaviour {
        server,
        ..Behaviour::default()
    });
    let device = DeviceRoot::strict(&cloud, "f1");
    let run = device.command(&["--budget", &budget()]);
    table.row(name, &device, 7, message, run, || {
        cloud.restart(&Behaviour::default());
        device.endpoint(cloud.endpoint.port());
    });
}

fn tls(table: &Table, name: &str, version: SslVersion) {
    let cloud = StrictEndpoint::with(&Behaviour {
        tls: Tls::Only(version),
        ..Behaviour::default()
    });
    let device = DeviceRoot::strict(&cloud, "f1");
    table.row(
        name,
        &device,
        0,
        "provisioned as",
        device.command(&[]),
        || {},
    );
}

fn clock(table: &Table, name: &str, time: &str, message: &str) {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let device = DeviceRoot::strict(&cloud, "f1");
    let mut run = Command::new("/usr/bin/faketime");
    run.args(["-f", time])
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    run.arg(example("provision_at_root"))
        .arg(device.path(""))
        .args(["--budget", "3"]);
    table.row(name, &device, 4, message, run, || {});
}

fn no_name(table: &Table) {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let device = DeviceRoot::strict(&cloud, "f1");
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

/// Runs with a network that comes late: 40 s in the campaign, in the daily test as long as
/// the other cases take anyway.
fn late_network(table: &Table) {
    let late = if std::env::var_os("EDGE_EVERY").is_some() {
        40
    } else {
        12
    };
    let mut cloud = StrictEndpoint::with(&Behaviour::default());
    let device = DeviceRoot::strict(&cloud, "f1");
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
        // Takes until the network is there, and one pause of the backoff.
        table.row(&name, &device, 0, "trying again", run, || {});
    });
}

/// Runs on a `/data` of its own that is full or read-only, and again after the repair.
fn bad_disk(table: &Table, name: &str, damage: &str, repair: &str, message: &str) {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let device = DeviceRoot::strict(&cloud, "f1");
    let (root, program) = (device.path(""), example("provision_at_root"));
    let script = format!(
        "set -e; mount -t tmpfs -o size=64k tmpfs {root}/data; mkdir -p {root}/data/config/aws-iot; \
         {damage}; set +e; {at} {root}; code=$?; {repair}; \
         [ -z \"$(ls -A {root}/data/config/aws-iot)\" ] || echo LEFT; \
         {at} {root} && {at} {root} status && exit $code; exit 99",
        root = root.display(),
        at = program.display(),
    );
    let script = script.replace("DATA", &root.join("data").display().to_string());
    let mut run = Command::new("/usr/bin/unshare");
    run.args(["--map-root-user", "--mount", "sh", "-c", &script]);
    let begin = Instant::now();
    let (code, output) = testbed::run(&mut run);
    assert!(
        output.contains(message) && output.contains("valid") && !output.contains("LEFT"),
        "{name}: {output}"
    );
    assert_eq!(code, 1, "{name}: {output}");
    let line = output.lines().find(|l| l.contains(message));
    let line = line.unwrap_or_default();
    table.add(Row {
        name: name.into(),
        seconds: begin.elapsed().as_secs_f32(),
        code,
        message: line.trim_start_matches("edge-provision: ").into(),
        disk: "nothing".into(),
        next: 0,
    });
}

/// Faults that no script of the endpoint produces.
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
fn every_fault_ends_and_the_next_boot_recovers() {
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

/// Tried five times: another process may be given the port in between.
#[test]
fn a_dropped_endpoint_frees_its_port() {
    let freed = || {
        let cloud = StrictEndpoint::with(&Behaviour::default());
        let port = cloud.endpoint.port();
        let directory = cloud.file("");
        drop(cloud.endpoint);
        let again = Behaviour {
            port,
            ..Behaviour::default()
        };
        Endpoint::start(&directory, &again).is_ok_and(|again| again.port() == port)
    };
    assert!((0..5).any(|_| freed()), "the port stayed in use five times");
}
