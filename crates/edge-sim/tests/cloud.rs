//! The local cloud with clients of other projects.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use edge_sim::testbed::{Cloud, DeviceRoot, edge_sim};
use serde_json::Value;

fn venv(program: &str) -> PathBuf {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap());
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or(home.join(".cache"), PathBuf::from);
    let path = cache.join("edge-ai/venv/bin").join(program);
    assert!(
        path.exists(),
        "{} is missing: run scripts/setup",
        path.display()
    );
    path
}

fn output_text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(both).unwrap()
}

/// Runs `mosquitto_pub` or `mosquitto_sub` with a certificate; returns its output.
fn mosquitto(
    cloud: &Cloud,
    program: &str,
    certificate: &Path,
    key: &Path,
    args: &[&str],
) -> String {
    let port = cloud.value("iot_port");
    let mut command = Command::new(Path::new("/usr/bin").join(program));
    command.args([
        "-h",
        "localhost",
        "-p",
        &port,
        "-V",
        "5",
        "-q",
        "1",
        "--cafile",
    ]);
    command.arg(cloud.file("ca.pem"));
    command
        .arg("--cert")
        .arg(certificate)
        .arg("--key")
        .arg(key)
        .args(args);
    output_text(
        &command
            .output()
            .expect("mosquitto-clients is missing: run scripts/setup"),
    )
}

/// Running `mosquitto_sub`, which ends with this value.
struct Subscriber {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Subscriber {
    /// Subscribes for `seconds`; returns once the broker has confirmed the subscription.
    fn open(cloud: &Cloud, certificate: &Path, key: &Path, filter: &str, seconds: &str) -> Self {
        let mut command = Command::new("/usr/bin/stdbuf");
        command.args([
            "-oL",
            "/usr/bin/mosquitto_sub",
            "-d",
            "-h",
            "localhost",
            "-p",
        ]);
        command
            .arg(cloud.value("iot_port"))
            .arg("--cafile")
            .arg(cloud.file("ca.pem"));
        command.arg("--cert").arg(certificate).arg("--key").arg(key);
        command.args(["-F", "got %t %p", "-t", filter, "-W", seconds]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut subscriber = Self { child, lines };
        assert!(subscriber.until(|line| line.contains("SUBACK")).is_some());
        subscriber
    }

    fn until(&mut self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        self.lines
            .by_ref()
            .map(Result::unwrap)
            .find(|line| wanted(line))
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_sdk_of_aws_provisions_and_uses_its_shadow() {
    let cloud = Cloud::up();
    cloud.allow("sdk1");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/awsiotsdk.py");
    let run = |serial: &str| {
        let mut python = Command::new(venv("python"));
        python
            .arg(script)
            .arg(cloud.path())
            .arg(serial)
            .output()
            .unwrap()
    };
    let good = run("sdk1");
    assert!(good.status.success(), "{}", output_text(&good));
    let value: Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!(value["thing"], "edge-ai-sdk1");
    assert_eq!(
        (&value["version"], &value["token"]),
        (&1.into(), &"t1".into())
    );
    assert_eq!(value["reported"]["from"], "awsiotsdk");
    assert_eq!(
        value["named"],
        serde_json::json!([2, { "apps": { "0": {}, "1": {} } }])
    );
    assert!(output_text(&run("stranger")).contains("AccessDenied"));
}

#[test]
fn a_claim_can_do_nothing_but_provision() {
    let cloud = Cloud::up();
    let (certificate, key) = (cloud.file("claim.crt"), cloud.file("claim.key"));
    for topic in [
        "$aws/things/edge-ai-x/shadow/update",
        "$aws/provisioning-templates/other/provision/json",
        "$aws/certificates/create/json",
        "plain",
    ] {
        let args = ["-t", topic, "-m", "{}"];
        let output = mosquitto(&cloud, "mosquitto_pub", &certificate, &key, &args);
        assert!(output.contains("Not authorized"), "{topic}: {output}");
    }
    // The broker accepts any subscription, and delivers what the access list permits.
    let device = DeviceRoot::allowed(&cloud, "s1");
    let mut subscriber = Subscriber::open(&cloud, &certificate, &key, "$aws/#", "4");
    device.provisioned(&[]);
    assert_eq!(device.heartbeat().0, 0);
    let received = subscriber.until(|line| line.starts_with("got ") && line.contains("/shadow/"));
    assert_eq!(received, None, "a claim overhears a device");
}

#[test]
fn a_device_reaches_its_own_thing_alone() {
    let cloud = Cloud::up();
    let device = DeviceRoot::allowed(&cloud, "s1");
    device.provisioned(&[]);
    let directory = device.path("data/config/aws-iot");
    let (certificate, key) = (directory.join("device.crt"), directory.join("private.key"));
    let publish = |topic: &str| {
        let args = ["-t", topic, "-m", r#"{"state":{"reported":{}}}"#];
        mosquitto(&cloud, "mosquitto_pub", &certificate, &key, &args)
    };
    assert_eq!(publish("$aws/things/edge-ai-s1/shadow/update"), "");
    for topic in [
        "$aws/things/edge-ai-s2/shadow/update",
        "$aws/things/edge-ai-s1x/shadow/update",
        "$aws/certificates/create-from-csr/json",
    ] {
        assert!(publish(topic).contains("Not authorized"), "{topic}");
    }
}

#[test]
fn nobody_comes_in_without_a_certificate_of_ours() {
    let (cloud, other) = (Cloud::up(), Cloud::up());
    let args = ["-t", "x", "-m", "x"];
    let (certificate, key) = (other.file("claim.crt"), other.file("claim.key"));
    let output = mosquitto(&cloud, "mosquitto_pub", &certificate, &key, &args);
    assert!(output.contains("Error"), "{output}");
}

#[test]
fn shadows_count_versions_and_reject_what_is_wrong() {
    let cloud = Cloud::up();
    let device = DeviceRoot::allowed(&cloud, "s1");
    device.provisioned(&[]);
    let directory = device.path("data/config/aws-iot");
    let (certificate, key) = (directory.join("device.crt"), directory.join("private.key"));
    let topic = "$aws/things/edge-ai-s1/shadow/update";
    let update = |message: &str| {
        let mut subscriber =
            Subscriber::open(&cloud, &certificate, &key, &format!("{topic}/+"), "10");
        let args = ["-t", topic, "-m", message];
        mosquitto(&cloud, "mosquitto_pub", &certificate, &key, &args);
        let answer = |line: &str| line.starts_with("got ") && !line.contains("/documents ");
        subscriber.until(answer).unwrap_or_default()
    };
    for (message, wanted) in [
        (r#"{"state":{"reported":{"a":1}}}"#, "/accepted"),
        (
            r#"{"state":{"reported":{"a":null,"b":2}}}"#,
            r#""version":2"#,
        ),
        ("{", "/rejected"),
        (r#"{"state":{"reported":{}},"version":1}"#, "409"),
    ] {
        let output = update(message);
        assert!(output.contains(wanted), "{message}: {output}");
    }
    let big = format!(
        r#"{{"state":{{"reported":{{"a":"{}"}}}}}}"#,
        "x".repeat(9000)
    );
    assert!(update(&big).contains("413"), "{}", update(&big));
    assert_eq!(
        cloud.shadow("edge-ai-s1")["state"]["reported"],
        serde_json::json!({ "b": 2 })
    );
}

#[test]
fn the_registry_wants_its_password_over_tls() {
    let cloud = Cloud::up();
    let registry = cloud
        .value("registry_host")
        .replace("cloud.edge.test", "localhost");
    let password = fs::read_to_string(cloud.file("registry.password")).unwrap();
    let status = |user: Option<&str>| {
        let mut curl = Command::new("/usr/bin/curl");
        curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"]);
        curl.arg(cloud.file("ca.pem"))
            .args(user.map(|u| format!("-u{u}")));
        output_text(
            &curl
                .arg(format!("https://{registry}/v2/"))
                .output()
                .unwrap(),
        )
    };
    assert_eq!(status(None), "401");
    assert_eq!(status(Some("AWS:wrong")), "401");
    assert_eq!(status(Some(&format!("AWS:{}", password.trim()))), "200");
}

#[test]
fn the_aws_api_holds_what_terraform_will_create() {
    let cloud = Cloud::with(&[]);
    let script = "
import boto3, sys, base64
url = sys.argv[1]
make = lambda name: boto3.client(name, endpoint_url=url, region_name='eu-central-1',
                                 aws_access_key_id='test', aws_secret_access_key='test')
ssm, kms, ecr = make('ssm'), make('kms'), make('ecr')
for name in ['fleet-provisioning/claim-cert', 'fleet-provisioning/claim-key',
             'fleet-provisioning/config', 'pki/container-signing-public-key',
             'pki/engineer-signing-public-key', 'pki/set-signing-public-key', 'fleet/config',
             'ecr/repository-url', 'nordvpn-token']:
    p = ssm.get_parameter(Name='/edge-ai/' + name, WithDecryption=True)['Parameter']
    print(name, p['Type'])
for alias in ['alias/edge-container-signing', 'alias/edge-engineer-signing', 'alias/edge-set-signing']:
    key = kms.describe_key(KeyId=alias)['KeyMetadata']
    print(key['KeySpec'], key['KeyUsage'])
print(ecr.describe_repositories()['repositories'][0]['imageTagMutability'])
";
    let mut python = Command::new(venv("python"));
    let output = python
        .args(["-c", script, &cloud.value("aws_endpoint")])
        .output()
        .unwrap();
    assert_eq!(
        output_text(&output),
        "fleet-provisioning/claim-cert String\nfleet-provisioning/claim-key SecureString\n\
         fleet-provisioning/config String\npki/container-signing-public-key String\n\
         pki/engineer-signing-public-key String\n\
         pki/set-signing-public-key String\nfleet/config String\n\
         ecr/repository-url String\nnordvpn-token SecureString\n\
         ECC_NIST_P256 SIGN_VERIFY\nECC_NIST_P256 SIGN_VERIFY\nECC_NIST_P256 SIGN_VERIFY\nIMMUTABLE\n"
    );
}

/// Returns the number of processes whose command lines contain `directory`.
fn processes(directory: &Path) -> usize {
    let wanted = directory.display().to_string();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|e| fs::read_to_string(e.path().join("cmdline")).ok())
        .filter(|line| line.contains(&wanted))
        .count()
}

#[test]
fn up_twice_is_up_once_and_down_leaves_nothing() {
    let cloud = Cloud::up();
    let ports = cloud.value("iot_port");
    let count = processes(cloud.path());
    assert!(count >= 3, "{count} processes");
    let again = edge_sim(&["cloud", "up", "--no-aws"], cloud.path());
    assert!(
        output_text(&again).contains("already up"),
        "{}",
        output_text(&again)
    );
    assert_eq!(
        (cloud.value("iot_port"), processes(cloud.path())),
        (ports, count)
    );
    assert!(
        output_text(&edge_sim(&["cloud", "status"], cloud.path()))
            .contains("state                   up")
    );
    for _ in 0..2 {
        assert!(edge_sim(&["cloud", "down"], cloud.path()).status.success());
        assert_eq!(processes(cloud.path()), 0);
    }
    assert!(
        edge_sim(&["cloud", "down", "--purge"], cloud.path())
            .status
            .success()
    );
    assert!(!cloud.path().exists());
}
