//! Faults of AWS IoT Jobs at the strict endpoint, each seen by a device.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use edge_common::mqtt::{CaBundle, Event, Message, Options, Session};
use edge_sim::cloud::jobs::Call;
use edge_sim::endpoint::Behaviour;
use edge_sim::testbed::{DeviceRoot, StrictEndpoint};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);
const P: &str = "$aws/things/edge-ai-s1/jobs";

struct Device {
    cloud: StrictEndpoint,
    device: DeviceRoot,
}

impl Device {
    /// Creates a registered device, with the jobs `j1` and `j2` for it.
    fn new() -> Self {
        let cloud = StrictEndpoint::with(&Behaviour::default());
        let device = DeviceRoot::strict(&cloud, "s1");
        device.provisioned(&[]);
        let all = Self { cloud, device };
        all.create("j1");
        all.create("j2");
        all
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let response = self.cloud.endpoint.call(&Call {
            method: method.into(),
            path: path.into(),
            body: body.to_string().into_bytes(),
            ..Call::default()
        });
        assert_eq!(response.status, 200, "{}", response.body);
        response.body
    }

    fn create(&self, id: &str) {
        let body = json!({
            "targets": ["arn:aws:iot:eu-central-1:123456789012:thing/edge-ai-s1"],
            "document": r#"{"set":"x"}"#,
            "timeoutConfig": { "inProgressTimeoutInMinutes": 60 },
        });
        self.call("PUT", &format!("/jobs/{id}"), &body);
    }

    fn play(&self, fault: &str) {
        self.cloud.endpoint.play(&[fault.parse().unwrap()]);
    }

    fn connect(&self) -> Session {
        let identity = self.device.path("data/config/aws-iot");
        let session = Session::connect(&Options {
            endpoint: "localhost",
            port: self.cloud.endpoint.port(),
            proxy: None,
            client_id: "edge-ai-s1",
            certificate: identity.join("device.crt"),
            key: identity.join("private.key"),
            ca_bundle: &CaBundle::load(&self.device.root).unwrap(),
            timeout: LIMIT,
            will: None,
        })
        .unwrap();
        let filters = ["notify", "get/+", "+/get/+", "+/update/+"].map(|end| format!("{P}/{end}"));
        session
            .subscribe(&filters.each_ref().map(String::as_str))
            .unwrap();
        session
    }

    /// Returns status and version of an execution, as the control plane shows it.
    fn execution(&self, id: &str) -> String {
        let path = format!("/things/edge-ai-s1/jobs/{id}");
        let value = self.call("GET", &path, &json!({}));
        let execution = &value["execution"];
        format!(
            "{} {}",
            execution["status"].as_str().unwrap(),
            execution["versionNumber"]
        )
    }
}

fn send(session: &Session, request: &str, token: &str) {
    let mut body = json!({ "clientToken": token });
    if request.ends_with("/update") {
        body["status"] = "IN_PROGRESS".into();
    }
    session
        .publish(&format!("{P}/{request}"), body.to_string())
        .unwrap();
}

fn receive(session: &Session) -> Option<(String, Vec<u8>)> {
    match session.receive(LIMIT) {
        Event::Message(Message { topic, payload }) => {
            Some((topic.strip_prefix(P).unwrap()[1..].to_string(), payload))
        }
        Event::Disconnected => None,
        Event::Timeout => panic!("nothing came"),
    }
}

/// Returns the end of the topic and the payload of the next message, which must be JSON.
fn json(session: &Session) -> (String, Value) {
    let (topic, payload) = receive(session).unwrap();
    (topic, serde_json::from_slice(&payload).unwrap())
}

#[test]
fn rejections_have_their_codes_and_change_nothing() {
    let device = Device::new();
    let session = device.connect();
    for (fault, request, code) in [
        ("jobs-list:throttled*1", "get", "RequestThrottled"),
        ("jobs-describe:broken*1", "j1/get", "InternalError"),
        ("jobs-describe:gone*1", "j1/get", "ResourceNotFound"),
        ("jobs-update:gone*1", "j1/update", "ResourceNotFound"),
        (
            "jobs-update:code=VersionMismatch*1",
            "j1/update",
            "VersionMismatch",
        ),
        (
            "jobs-update:code=TerminalStateReached*1",
            "j1/update",
            "TerminalStateReached",
        ),
    ] {
        device.play(fault);
        send(&session, request, fault);
        let (topic, answer) = json(&session);
        assert_eq!(topic, format!("{request}/rejected"), "{fault}");
        assert_eq!(
            (&answer["code"], &answer["clientToken"]),
            (&json!(code), &json!(fault))
        );
        assert_eq!(device.execution("j1"), "QUEUED 1", "{fault}");
    }
    send(&session, "j1/update", "after");
    assert_eq!(json(&session).0, "j1/update/accepted");
}

#[test]
fn answers_are_lost_late_doubled_and_cut() {
    let device = Device::new();
    let session = device.connect();
    // Silent: the next answer is that of the second request.
    device.play("jobs-update:silent*1");
    send(&session, "j1/update", "one");
    send(&session, "j1/update", "two");
    assert_eq!(json(&session).1["clientToken"], "two");
    assert_eq!(device.execution("j1"), "IN_PROGRESS 2");
    device.play("jobs-update:twice*1");
    send(&session, "j1/update", "t");
    assert_eq!(json(&session), json(&session));
    device.play("jobs-list:late=300*1");
    let start = Instant::now();
    send(&session, "get", "t");
    assert_eq!(json(&session).0, "get/accepted");
    assert!(start.elapsed() >= Duration::from_millis(300));
    for (fault, message, wanted) in [
        (
            "jobs-update:cut*1",
            Some("j1/update/accepted"),
            "IN_PROGRESS 4",
        ),
        ("jobs-update:lost*1", None, "IN_PROGRESS 5"),
        ("jobs-update:dropped*1", None, "IN_PROGRESS 5"),
    ] {
        let session = device.connect();
        device.play(fault);
        send(&session, "j1/update", "t");
        if let Some(message) = message {
            assert_eq!(receive(&session).unwrap().0, message, "{fault}");
        }
        assert_eq!(receive(&session), None, "{fault}");
        assert_eq!(device.execution("j1"), wanted, "{fault}");
    }
}

#[test]
fn contents_are_stale_broken_and_hostile() {
    let device = Device::new();
    let session = device.connect();
    let ask = |fault: &str, request: &str| {
        device.play(fault);
        send(&session, request, "t");
        let (topic, payload) = receive(&session).unwrap();
        assert_eq!(topic, format!("{request}/accepted"), "{fault}");
        payload
    };
    let parse = |payload: Vec<u8>| serde_json::from_slice::<Value>(&payload);
    let jobs = |value: &Value| value["queuedJobs"].as_array().unwrap().len();
    assert_eq!(jobs(&parse(ask("jobs-list:stale*1", "get")).unwrap()), 1);
    assert_eq!(jobs(&parse(ask("jobs-list:stale*0", "get")).unwrap()), 2);
    assert!(parse(ask("jobs-list:malformed*1", "get")).is_err());
    // Messages of more than 128 kB are skipped: the next answer is that of another request.
    device.play("jobs-list:oversized*1");
    send(&session, "get", "one");
    send(&session, "get", "two");
    assert_eq!(json(&session).1["clientToken"], "two");
    let incomplete = parse(ask("jobs-describe:incomplete*1", "j1/get")).unwrap();
    assert_eq!(incomplete["execution"], Value::Null);
    let list = parse(ask("jobs-list:hostile*1", "get")).unwrap();
    assert_eq!(list["queuedJobs"][1], 7);
    let deep = ask("jobs-describe:hostile*1", "j1/get");
    let levels = deep.iter().filter(|byte| **byte == b'{').count();
    assert!(levels > 1000, "{levels}");
}

#[test]
fn notifications_come_fail_and_are_not_for_others() {
    let device = Device::new();
    let session = device.connect();
    device.create("j3");
    let (topic, told) = json(&session);
    let count = |value: &Value| value["jobs"]["QUEUED"].as_array().unwrap().len();
    assert_eq!((topic.as_str(), count(&told)), ("notify", 3));
    // Unsaid: the next notification names both.
    device.play("jobs-notify:silent*1");
    device.create("j4");
    device.create("j5");
    assert_eq!(count(&json(&session).1), 5);
    device.play("jobs-notify:twice*1");
    device.create("j6");
    assert_eq!(json(&session), json(&session));
    device.play("jobs-notify:hostile*1");
    device.create("j7");
    assert!(json(&session).1["jobs"].is_array());
    // Another device hears nothing: its first message is the answer to its own request.
    let other = DeviceRoot::strict(&device.cloud, "s2");
    other.provisioned(&[]);
    let identity = other.path("data/config/aws-iot");
    let stranger = Session::connect(&Options {
        endpoint: "localhost",
        port: device.cloud.endpoint.port(),
        proxy: None,
        client_id: "edge-ai-s2",
        certificate: identity.join("device.crt"),
        key: identity.join("private.key"),
        ca_bundle: &CaBundle::load(&other.root).unwrap(),
        timeout: LIMIT,
        will: None,
    })
    .unwrap();
    let own = "$aws/things/edge-ai-s2/jobs";
    stranger.subscribe(&[&format!("{own}/#")]).unwrap();
    device.create("j8");
    stranger.publish(&format!("{own}/get"), "{}").unwrap();
    let Event::Message(first) = stranger.receive(LIMIT) else {
        panic!("nothing came");
    };
    assert_eq!(first.topic, format!("{own}/get/accepted"));
}

#[test]
fn the_clock_of_jobs_is_turned() {
    let device = Device::new();
    let session = device.connect();
    send(&session, "j1/update", "t");
    assert_eq!(json(&session).0, "j1/update/accepted");
    device.cloud.endpoint.pass(3600);
    let (topic, told) = json(&session);
    assert_eq!(topic, "notify");
    assert_eq!(told["jobs"]["QUEUED"][0]["jobId"], "j2");
    assert_eq!(told["jobs"]["IN_PROGRESS"], Value::Null);
    assert_eq!(device.execution("j1"), "TIMED_OUT 3");
}

#[test]
fn operators_see_faults_too() {
    let device = Device::new();
    let request = || {
        let mut stream =
            TcpStream::connect(("127.0.0.1", device.cloud.endpoint.control_port())).unwrap();
        stream
            .write_all(b"GET /jobs HTTP/1.1\r\nhost: x\r\n\r\n")
            .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    };
    for (fault, wanted) in [
        ("control:throttled*1", "ThrottlingException"),
        ("control:broken*1", "ServiceUnavailableException"),
        ("control:late=1*1", "MissingAuthenticationTokenException"),
    ] {
        device.play(fault);
        assert!(request().contains(wanted), "{fault}");
    }
    for fault in ["control:dropped*1", "control:lost*1"] {
        device.play(fault);
        assert_eq!(request(), "", "{fault}");
    }
    assert!(request().starts_with("HTTP/1.1 403 "));
}
