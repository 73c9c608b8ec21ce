//! Answers of the shadow that are no acceptance: the connection stays, reports come later
//! and smaller, and desired state that is removed is honoured.

use std::time::{Duration, Instant};

use edge_common::Root;
use edge_common::mqtt::{CaBundle, Event, Options, Session};
use edge_sim::testbed::{Cloud, DeviceRoot};
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::{Heartbeat, until};

const THING: &str = "$aws/things/edge-ai-s1/shadow";

/// Shadow of a thing, answered by the test in place of the local cloud's responder.
struct Script {
    session: Session,
    desired: Value,
    /// Sizes of the reports so far.
    sizes: Vec<usize>,
    last: Value,
}

impl Script {
    fn new(cloud: &Cloud) -> Self {
        let root = Root::at(cloud.path());
        std::fs::create_dir_all(cloud.file("etc/edge-ai/ca")).unwrap();
        std::fs::copy(cloud.file("ca.pem"), cloud.file("etc/edge-ai/ca/ca.pem")).unwrap();
        let ca_bundle = CaBundle::load(&root).unwrap();
        let session = Session::connect(&Options {
            endpoint: "localhost",
            port: cloud.value("iot_port").parse().unwrap(),
            proxy: None,
            client_id: "script",
            certificate: cloud.file("responder.crt"),
            key: cloud.file("responder.key"),
            ca_bundle: &ca_bundle,
            timeout: Duration::from_secs(10),
            will: None,
        })
        .unwrap();
        let topics = ["get", "update"].map(|request| format!("{THING}/{request}"));
        let offline = "edge-ai/edge-ai-s1/offline".to_string();
        session
            .subscribe(&[&topics[0], &topics[1], &offline])
            .unwrap();
        Self {
            session,
            desired: Value::Null,
            sizes: Vec::new(),
            last: Value::Null,
        }
    }

    fn publish(&self, answer: &str, content: &Value) {
        let topic = format!("{THING}/{answer}");
        self.session.publish(&topic, content.to_string()).unwrap();
    }

    /// Answers one request if there is one; a report with `code`, or not for 0.
    fn answer(&mut self, code: u64) {
        let Event::Message(message) = self.session.receive(Duration::from_millis(50)) else {
            return;
        };
        assert!(
            !message.topic.ends_with("/offline"),
            "the device went offline"
        );
        let request: Value = serde_json::from_slice(&message.payload).unwrap();
        let token = &request["clientToken"];
        if message.topic.ends_with("/get") {
            let state = json!({ "desired": self.desired, "reported": {} });
            return self.publish(
                "get/accepted",
                &json!({ "state": state, "clientToken": token }),
            );
        }
        self.sizes.push(message.payload.len());
        self.last = request["state"]["reported"].clone();
        match code {
            0 => {}
            200 => {
                self.publish(
                    "update/accepted",
                    &json!({ "state": request["state"], "version": 1, "clientToken": token }),
                );
                // Somebody deletes the shadow, so that the next report is whole again.
                self.publish("delete/accepted", &json!({ "version": 2 }));
            }
            _ => self.publish(
                "update/rejected",
                &json!({ "code": code, "message": "no", "clientToken": token }),
            ),
        }
    }

    /// Answers until so many more reports have come.
    fn answer_reports(&mut self, code: u64, count: usize, heartbeat: &mut Heartbeat) {
        let (target, end) = (
            self.sizes.len() + count,
            Instant::now() + Duration::from_secs(60),
        );
        while self.sizes.len() < target {
            assert!(
                Instant::now() < end,
                "{code}: {} of {target} reports",
                self.sizes.len()
            );
            self.answer(code);
            heartbeat.watch();
        }
    }
}

/// Returns a device with many boot steps, and its cloud without a responder.
fn testbed(cloud: &Cloud) -> (DeviceRoot, Broker<'_>) {
    let device = DeviceRoot::allowed(cloud, "s1");
    device.provisioned(&[]);
    for step in 0..12 {
        let tool = format!("edge-step-{step}");
        let record = json!({ "tool": tool, "result": "failed", "code": 1, "time": "2026-01-01T00:00:00Z",
            "message": "m".repeat(150), "boot_id": "", "duration_ms": 1 });
        let path = device.path("data/log/boot");
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join(format!("{tool}.json")), record.to_string()).unwrap();
    }
    let mut broker = Broker::replace(cloud);
    // The responder is the second child.
    let mut responder = broker.children.remove(1);
    responder.kill().unwrap();
    responder.wait().unwrap();
    (device, broker)
}

#[test]
fn a_rejected_report_is_no_lost_connection() {
    let cloud = Cloud::up();
    let (device, _broker) = testbed(&cloud);
    let mut script = Script::new(&cloud);
    let mut heartbeat = Heartbeat::start(&device, 100);
    script.answer_reports(200, 2, &mut heartbeat);
    let full = *script.sizes.last().unwrap();
    for code in [413, 400, 401, 403, 404, 409, 415, 429, 500, 503] {
        script.answer_reports(code, 3, &mut heartbeat);
        let size = *script.sizes.last().unwrap();
        script.answer_reports(200, 1, &mut heartbeat);
        let rejected = &script.last["report_rejected"];
        assert_eq!(
            (&rejected["code"], &rejected["message"]),
            (&json!(code), &json!("no"))
        );
        let smaller = [413, 400].contains(&code);
        assert!(!smaller || size < full * 3 / 4, "{code}: {size} of {full}");
        // Larger reports again, an hour later on a device; of the same size if only the
        // rate or a right was the cause.
        let reports = if smaller { 50 } else { 1 };
        script.answer_reports(200, reports, &mut heartbeat);
        let size = *script.sizes.last().unwrap();
        assert!(size + 100 > full, "{code}: {size} of {full}");
    }
    // Two reports without an answer are no lost connection either.
    script.answer_reports(0, 2, &mut heartbeat);
    script.answer_reports(200, 2, &mut heartbeat);
}

#[test]
fn rejected_reports_become_rare() {
    let cloud = Cloud::up();
    let (device, _broker) = testbed(&cloud);
    let mut script = Script::new(&cloud);
    let mut heartbeat = Heartbeat::start(&device, 100);
    script.answer_reports(200, 1, &mut heartbeat);
    let end = Instant::now() + Duration::from_secs(12);
    while Instant::now() < end {
        script.answer(429);
        heartbeat.watch();
    }
    // 120 without a pause; the pauses of this pace are 0.1 s to 1.5 s.
    assert!(
        (5..60).contains(&script.sizes.len()),
        "{}",
        script.sizes.len()
    );
}

#[test]
fn removed_desired_state_is_honoured_at_once() {
    let cloud = Cloud::up();
    let (device, _broker) = testbed(&cloud);
    std::fs::create_dir_all(device.path("data/config/vpn")).unwrap();
    let saved = device.path("data/config/vpn/desired.json");
    let mut script = Script::new(&cloud);
    let vpn = json!({ "vpn": { "peers": [{ "public_key": "k" }] } });
    script.desired = vpn.clone();
    let mut heartbeat = Heartbeat::start(&device, 60_000);
    let removals = [
        ("update/accepted", json!({ "state": { "desired": null } })),
        (
            "update/accepted",
            json!({ "state": { "desired": { "vpn": null } } }),
        ),
        ("update/accepted", json!({ "state": null })),
        ("delete/accepted", json!({ "version": 9 })),
    ];
    for (number, (kind, mut change)) in removals.into_iter().enumerate() {
        let version = 100 + 2 * number;
        script.desired = vpn.clone();
        script.publish(
            "update/accepted",
            &json!({ "state": { "desired": vpn }, "version": version }),
        );
        until("the peers are saved", || {
            script.answer(200);
            heartbeat.watch();
            saved.exists()
        });
        script.desired = Value::Null;
        change["version"] = json!(version + 1);
        script.publish(kind, &change);
        until("the peers are removed", || {
            script.answer(200);
            heartbeat.watch();
            !saved.exists()
        });
    }
}
