//! Credentials provider and API of ECR of the local cloud, judged by curl and by AWS's own client.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use edge_sim::cloud::services::{ServiceFault, Services};
use edge_sim::testbed::{Cloud, DeviceRoot, edge_sim};
use serde_json::{Value, json};

const ALIAS: &str = "edge-ai-pull";

/// Devices `s1` and `s2`, registered at a local cloud.
struct Fleet {
    cloud: Cloud,
    devices: Vec<DeviceRoot>,
}

impl Fleet {
    fn new() -> Self {
        let cloud = Cloud::up();
        let devices = ["s1", "s2"].map(|serial| {
            let device = DeviceRoot::allowed(&cloud, serial);
            device.provisioned(&[]);
            device
        });
        Self {
            cloud,
            devices: devices.into(),
        }
    }

    fn ports(&self) -> [u16; 2] {
        ["credentials_endpoint", "ecr_endpoint"].map(|key| {
            let endpoint = self.cloud.value(key);
            endpoint.rsplit(':').next().unwrap().parse().unwrap()
        })
    }

    fn identity(&self, device: usize) -> [PathBuf; 2] {
        let directory = self.devices[device].path("data/config/aws-iot");
        [directory.join("device.crt"), directory.join("private.key")]
    }

    /// Requests credentials by curl; returns its exit code, and status and body of the answer.
    fn curl(&self, port: u16, identity: &[PathBuf], more: &[&str]) -> (i32, u16, String) {
        let mut curl = curl(&self.cloud.file("ca.pem"));
        for (option, path) in ["--cert", "--key"].iter().zip(identity) {
            curl.arg(option).arg(path);
        }
        let url = format!("https://localhost:{port}/role-aliases/{ALIAS}/credentials");
        let given = more.iter().any(|arg| arg.starts_with("https://"));
        answered(curl.args(more).args((!given).then_some(url)))
    }

    /// Returns the answer to device `s1` by a service on `port`.
    fn credentials(&self, port: u16) -> Value {
        let (code, status, body) = self.curl(port, &self.identity(0), &[]);
        assert_eq!((code, status), (0, 200), "{body}");
        serde_json::from_str(&body).unwrap()
    }
}

fn curl(ca: &Path) -> Command {
    let mut curl = Command::new("/usr/bin/curl");
    curl.args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
        .arg(ca)
        .args(["--write-out", "\n%{http_code}"]);
    curl
}

fn answered(curl: &mut Command) -> (i32, u16, String) {
    let output = curl.output().expect("curl is missing: run scripts/setup");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
    let code = output.status.code().unwrap();
    (code, status.parse().unwrap_or(0), body.into())
}

/// Runs AWS's own client with credentials; returns what it saw.
fn botocore(ca: &Path, ecr: u16, answer: &Value, action: &str) -> Value {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap());
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or(home.join(".cache"), PathBuf::from);
    let mut child = Command::new(cache.join("edge-ai/venv/bin/python"))
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/services_referee.py"
        ))
        .arg(format!("https://localhost:{ecr}"))
        .args([ca.as_os_str(), action.as_ref()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python is missing: run scripts/setup");
    serde_json::to_writer(child.stdin.take().unwrap(), answer).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{action}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn message(text: &str) -> String {
    let body: Value = serde_json::from_str(text).unwrap();
    body["message"].as_str().unwrap().into()
}

#[test]
fn a_device_certificate_becomes_the_password_of_the_registry() {
    let fleet = Fleet::new();
    let [credentials, ecr] = fleet.ports();
    let answer = fleet.credentials(credentials);
    let keys = answer["credentials"].as_object().unwrap();
    let names: Vec<_> = keys.keys().map(String::as_str).collect();
    let wanted = [
        "accessKeyId",
        "expiration",
        "secretAccessKey",
        "sessionToken",
    ];
    assert_eq!(names, wanted);

    let ca = fleet.cloud.file("ca.pem");
    let token = botocore(&ca, ecr, &answer, "token");
    let registry = fleet.cloud.value("registry_host");
    assert_eq!(token["proxyEndpoint"], format!("https://{registry}"));
    assert_eq!(token["user"], "AWS");
    let user = format!("AWS:{}", token["password"].as_str().unwrap());
    let local = registry.replace("cloud.edge.test", "localhost");
    let catalog = format!("https://{local}/v2/_catalog");
    let opened = |user: &str| answered(curl(&ca).args(["--user", user, &catalog])).1;
    assert_eq!(opened(&user), 200);
    assert_eq!(opened(&format!("{user}x")), 401);

    for (action, wanted) in [
        ("no-token", "UnrecognizedClientException"),
        ("other-token", "UnrecognizedClientException"),
        ("other-secret", "InvalidSignatureException"),
        ("other-key", "UnrecognizedClientException"),
        ("other-region", "InvalidSignatureException"),
        ("other-service", "InvalidSignatureException"),
        ("other-operation", "AccessDeniedException"),
        ("unknown-fields", "SerializationException"),
    ] {
        let seen = botocore(&ca, ecr, &answer, action);
        assert_eq!(seen["code"], wanted, "{action}");
    }
    // Without a signature nothing else is told.
    let url = format!("https://localhost:{ecr}/");
    let target = "x-amz-target: AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
    let kind = "content-type: application/x-amz-json-1.1";
    let unsigned = answered(curl(&ca).args(["-H", kind, "-H", target, "-d", "{}", &url]));
    assert_eq!(message(&unsigned.2), "Missing Authentication Token");
}

fn thing(name: &str) -> String {
    format!("x-amzn-iot-thingname: {name}")
}

impl Fleet {
    /// Returns status and body of the answer to a request for credentials.
    fn judged(&self, identity: &[PathBuf], more: &[&str]) -> (u16, String) {
        let (code, status, body) = self.curl(self.ports()[0], identity, more);
        assert_eq!(code, 0, "{body}");
        (status, body)
    }
}

#[test]
fn credentials_are_only_for_the_thing_of_the_certificate() {
    let fleet = Fleet::new();
    let [own, other] = [0, 1].map(|device| fleet.identity(device));
    let at = |path: &str| format!("https://localhost:{}{path}", fleet.ports()[0]);
    assert_eq!(fleet.judged(&own, &["-H", &thing("edge-ai-s1")]).0, 200);
    assert_eq!(fleet.judged(&other, &["-H", &thing("edge-ai-s2")]).0, 200);
    for name in ["edge-ai-s2", "edge-ai-s1x", "edge-ai-*", "s1"] {
        let (status, body) = fleet.judged(&own, &["-H", &thing(name)]);
        let wanted = "Invalid thing name passed";
        assert_eq!((status, message(&body).as_str()), (403, wanted), "{name}");
    }
    for (path, status, wanted) in [
        ("/role-aliases/admin/credentials", 403, "Access Denied"),
        (
            "/role-aliases/edge-ai-pull%2f/credentials",
            403,
            "Access Denied",
        ),
        ("/role-aliases/credentials", 400, "Invalid request"),
        (
            "/role-aliases/a/edge-ai-pull/credentials",
            400,
            "Invalid request",
        ),
    ] {
        let (seen, body) = fleet.judged(&own, &[&at(path)]);
        assert_eq!((seen, message(&body).as_str()), (status, wanted), "{path}");
    }
    assert_eq!(fleet.judged(&own, &["-X", "POST"]).0, 400);
}

#[test]
fn credentials_are_only_for_active_device_certificates() {
    let fleet = Fleet::new();
    let port = fleet.ports()[0];
    let pair = |name: &str| ["crt", "key"].map(|end| fleet.cloud.file(&format!("{name}.{end}")));
    let invalid = "Certificate is invalid on this endpoint";
    for (name, wanted) in [("claim", "Access Denied"), ("responder", invalid)] {
        let (status, body) = fleet.judged(&pair(name), &[]);
        assert_eq!((status, message(&body).as_str()), (403, wanted), "{name}");
    }
    assert_ne!(fleet.curl(port, &[], &[]).0, 0, "no certificate");
    // The handshake of an address names no host.
    let address = format!("https://127.0.0.1:{port}/role-aliases/{ALIAS}/credentials");
    assert_eq!(fleet.judged(&fleet.identity(0), &[&address]).0, 400);

    edge_sim::cloud::deactivate(fleet.cloud.path(), "s1").unwrap();
    let (status, body) = fleet.judged(&fleet.identity(0), &[]);
    assert_eq!((status, message(&body).as_str()), (403, invalid));
    assert_eq!(fleet.judged(&fleet.identity(1), &[]).0, 200);
}

fn play(services: &Services, faults: &[&str]) {
    let faults = faults.iter().map(|fault| fault.parse().unwrap());
    services.play(&faults.collect::<Vec<ServiceFault>>());
}

#[test]
fn faults_of_the_credentials_provider_are_played_once() {
    let fleet = Fleet::new();
    let services = Services::start(fleet.cloud.path(), &[]).unwrap();
    let (port, own) = (services.credentials_port(), fleet.identity(0));
    for (fault, more, code, status) in [
        ("error=429/ThrottlingException", vec![], 0, 429),
        ("error=500", vec![], 0, 500),
        ("silent", vec!["--max-time", "1"], 28, 0),
        ("dropped", vec![], 52, 0),
        ("truncated", vec![], 18, 200),
        ("late=300", vec![], 0, 200),
        ("redirect", vec![], 0, 302),
        ("slow=1", vec![], 0, 200),
        ("oversized", vec!["--max-filesize", "16000"], 63, 200),
    ] {
        play(&services, &[&format!("credentials:{fault}*1")]);
        let (seen, answered, body) = fleet.curl(port, &own, &more);
        assert_eq!((seen, answered), (code, status), "{fault} {body:.200}");
        assert_eq!(fleet.curl(port, &own, &[]).1, 200, "after {fault}");
    }
    play(&services, &["credentials:endless*1"]);
    assert_ne!(fleet.curl(port, &own, &[]).0, 0);
    for fault in ["credentials:malformed*1", "credentials:incomplete*1"] {
        play(&services, &[fault]);
        let body = fleet.curl(port, &own, &[]).2;
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        assert_eq!(body["credentials"]["accessKeyId"], Value::Null, "{fault}");
    }
}

#[test]
fn faults_of_the_registry_api_are_seen_by_its_client() {
    let fleet = Fleet::new();
    let services = Services::start(fleet.cloud.path(), &[]).unwrap();
    let (port, ecr) = (services.credentials_port(), services.ecr_port());
    let ca = fleet.cloud.file("ca.pem");
    play(&services, &["credentials:life=0*1", "ecr:ahead=600*1"]);
    let (expired, valid) = (fleet.credentials(port), fleet.credentials(port));
    let seen = [&valid, &expired, &valid].map(|answer| botocore(&ca, ecr, answer, "token"));
    assert_eq!(seen[0]["code"], "InvalidSignatureException");
    assert_eq!(seen[1]["code"], "ExpiredTokenException");
    assert_eq!(seen[2]["user"], "AWS");
    for (status, code) in [
        (400, "RequestExpired"),
        (403, "AccessDeniedException"),
        (429, "ThrottlingException"),
    ] {
        play(&services, &[&format!("ecr:error={status}/{code}*1")]);
        let seen = botocore(&ca, ecr, &valid, "token");
        assert_eq!(seen, json!({ "code": code, "status": status }));
    }
    let statuses: Vec<_> = (services.requests().iter())
        .filter(|request| request.service == "ecr")
        .map(|request| request.status)
        .collect();
    assert_eq!(statuses, [400, 400, 200, 400, 403, 429]);
}

#[test]
fn faults_reach_a_running_cloud() {
    let fleet = Fleet::new();
    let [port, _] = fleet.ports();
    let own = fleet.identity(0);
    let script = |faults: &[&str]| {
        let output = edge_sim(&[&["cloud", "fault"], faults].concat(), fleet.cloud.path());
        output.status.success()
    };
    assert!(!script(&["credentials:unknown"]));
    for _ in 0..2 {
        assert!(script(&[
            "credentials:error=503/ServiceUnavailableException*1"
        ]));
        let seen = [(); 2].map(|()| fleet.curl(port, &own, &[]).1);
        assert_eq!(seen, [503, 200]);
    }
    assert!(script(&["credentials:error=500"]) && script(&[]));
    assert_eq!(fleet.curl(port, &own, &[]).1, 200);
}
