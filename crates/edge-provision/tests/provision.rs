//! edge-provision against the local cloud.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use edge_sim::endpoint::Behaviour;
use edge_sim::testbed::{self, Cloud, DeviceRoot, StrictEndpoint};

const CLAIM: &str = "etc/edge-ai/claim/claim.crt";
const CERTIFICATE: &str = "data/config/aws-iot/device.crt";
const KEY: &str = "data/config/aws-iot/private.key";
const CONFIG: &str = "data/config/aws-iot/config.json";

#[test]
fn a_device_gets_an_identity_and_a_second_run_changes_nothing() {
    let cloud = Cloud::up();
    let device = DeviceRoot::allowed(&cloud, "s1");
    device.provisioned(&[]);
    let first = device.identity();
    let names: Vec<_> = first.iter().map(|f| (f.0.as_str(), f.3)).collect();
    assert_eq!(
        names,
        [
            ("config.json", 0o644),
            ("device.crt", 0o644),
            ("private.key", 0o600)
        ]
    );
    device.provisioned(&[]);
    assert_eq!(device.identity(), first);
    for _ in 0..2 {
        device.provisioned(&["mark"]);
    }
    let marker = fs::read_to_string(device.path("data/.provisioned")).unwrap();
    assert!(marker.ends_with("Z\n"), "{marker}");
    device.provisioned(&["status"]);
}

#[test]
fn nothing_is_marked_without_an_identity() {
    let cloud = Cloud::up();
    let device = DeviceRoot::of(&cloud, "s1");
    for command in ["mark", "status"] {
        let (code, output) = device.provision(&[command]);
        assert_eq!(code, 1, "{output}");
        assert!(output.contains("no identity is committed"), "{output}");
    }
    assert!(!device.path("data/.provisioned").exists());
}

#[test]
fn unusable_claim_files_are_named() {
    let cloud = Cloud::up();
    let huge = "x".repeat(70_000);
    let cases = [
        ("claim.crt", None),
        ("claim.key", None),
        ("config.json", None),
        ("claim.crt", Some("")),
        ("claim.key", Some("")),
        ("config.json", Some("")),
        ("claim.crt", Some(huge.as_str())),
        ("claim.key", Some("-----BEGIN PRIVATE KEY-----\nAAAA\n")),
        (
            "config.json",
            Some(r#"{"endpoint":"a b","template_name":"t"}"#),
        ),
        (
            "config.json",
            Some(r#"{"endpoint":"a","template_name":"../t"}"#),
        ),
        (
            "config.json",
            Some(r#"{"endpoint":"a","template_name":"t","port":99999}"#),
        ),
    ];
    for (name, content) in cases {
        let device = DeviceRoot::allowed(&cloud, "s1");
        let path = device.path("etc/edge-ai/claim").join(name);
        match content {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let (code, output) = device.provision(&["--budget", "2"]);
        assert_eq!(code, 3, "{name}: {output}");
        assert!(output.contains(name), "{output}");
        assert!(!device.path("data/config/aws-iot/private.key").exists());
    }
}

#[test]
fn the_key_of_another_claim_is_noticed() {
    let (cloud, other) = (Cloud::up(), Cloud::up());
    let device = DeviceRoot::allowed(&cloud, "s1");
    fs::copy(
        other.file("claim.key"),
        device.path("etc/edge-ai/claim/claim.key"),
    )
    .unwrap();
    let (code, output) = device.provision(&["--budget", "2"]);
    assert_eq!(
        (code, output.contains("not the key")),
        (3, true),
        "{output}"
    );
}

#[test]
fn a_claim_and_a_server_of_another_ca_are_not_trusted() {
    let (cloud, other) = (Cloud::up(), Cloud::up());
    let device = DeviceRoot::allowed(&cloud, "s1");
    fs::copy(other.file("claim.crt"), device.path(CLAIM)).unwrap();
    fs::copy(
        other.file("claim.key"),
        device.path("etc/edge-ai/claim/claim.key"),
    )
    .unwrap();
    let (code, output) = device.provision(&["--budget", "2"]);
    assert_eq!(
        (code, output.contains("does not trust our certificate")),
        (7, true),
        "{output}"
    );

    let device = DeviceRoot::allowed(&cloud, "s2");
    fs::copy(other.file("ca.pem"), device.path("etc/edge-ai/ca/root.pem")).unwrap();
    let (code, output) = device.provision(&["--budget", "2"]);
    assert_eq!(
        (code, output.contains("not trusted")),
        (7, true),
        "{output}"
    );
}

#[test]
fn an_endpoint_that_does_not_answer_is_a_network_failure() {
    let cloud = Cloud::up();
    let device = DeviceRoot::allowed(&cloud, "s1");
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    device.endpoint(free);
    let (code, output) = device.provision(&["--budget", "1"]);
    assert_eq!(code, 5, "{output}");
    assert!(output.contains(&free.to_string()), "{output}");
    // A server that accepts connections but does not use TLS.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    device.endpoint(silent.local_addr().unwrap().port());
    let (code, output) = device.provision(&["--budget", "1"]);
    assert!(code == 5 || code == 7, "{code}: {output}");
}

#[test]
fn a_serial_that_is_not_allowed_is_rejected_and_keeps_its_key() {
    let cloud = Cloud::up();
    let device = DeviceRoot::of(&cloud, "s1");
    let (code, output) = device.provision(&["--budget", "5"]);
    assert_eq!(
        (code, output.contains("AccessDenied")),
        (6, true),
        "{output}"
    );
    let key = fs::read(device.path(KEY)).unwrap();
    assert!(!device.path(CONFIG).exists());
    cloud.allow("s1");
    device.provisioned(&[]);
    assert_eq!(fs::read(device.path(KEY)).unwrap(), key);
}

#[test]
fn a_serial_with_an_identity_gets_no_other() {
    let cloud = Cloud::up();
    assert_eq!(DeviceRoot::allowed(&cloud, "s1").provision(&[]).0, 0);
    let (code, output) = DeviceRoot::of(&cloud, "s1").provision(&[]);
    assert_eq!(code, 6, "{output}");
}

#[test]
fn invalid_serial_numbers_are_errors() {
    let cloud = Cloud::up();
    for serial in ["", " ", "a b", "../x", "a\u{e9}", &"x".repeat(200)] {
        let (code, output) = DeviceRoot::of(&cloud, serial).provision(&["--budget", "2"]);
        assert_eq!(code, 1, "{serial:?}: {output}");
        assert!(output.contains("serial"), "{output}");
    }
    let device = DeviceRoot::of(&cloud, "s1");
    fs::remove_file(device.path("etc/machine-id")).unwrap();
    assert!(
        device
            .provision(&["--budget", "2"])
            .1
            .contains("no serial number")
    );
}

#[test]
fn a_damaged_configuration_is_repaired_with_the_same_key() {
    let cloud = Cloud::up();
    let device = DeviceRoot::allowed(&cloud, "s1");
    device.provisioned(&[]);
    let valid = fs::read_to_string(device.path(CONFIG)).unwrap();
    let key = fs::read(device.path(KEY)).unwrap();
    for damage in ["", "{", &valid[..20], &"x".repeat(70_000), "null"] {
        fs::write(device.path(CONFIG), damage).unwrap();
        assert_eq!(device.heartbeat().0, 3, "{damage:.20}");
        assert_eq!(device.provision(&[]).0, 0, "{damage:.20}");
        assert_eq!(fs::read_to_string(device.path(CONFIG)).unwrap(), valid);
        assert_eq!(fs::read(device.path(KEY)).unwrap(), key);
    }
}

#[test]
fn a_damaged_identity_is_repaired_from_its_valid_files() {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let truncate = |path: PathBuf| fs::write(&path, &fs::read(&path).unwrap()[..30]).unwrap();
    type Damage<'a> = &'a dyn Fn(&DeviceRoot);
    let damages: [(&str, Damage); 6] = [
        ("no config", &|d| fs::remove_file(d.path(CONFIG)).unwrap()),
        ("no certificate", &|d| {
            fs::remove_file(d.path(CERTIFICATE)).unwrap()
        }),
        ("half a certificate", &|d| truncate(d.path(CERTIFICATE))),
        ("another certificate", &|d| {
            fs::copy(d.path(CLAIM), d.path(CERTIFICATE)).unwrap();
        }),
        ("an open key", &|d| {
            fs::set_permissions(d.path(KEY), fs::Permissions::from_mode(0o644)).unwrap();
        }),
        ("the rest of an interrupted write", &|d| {
            fs::write(d.path("data/config/aws-iot/.new-x"), "x").unwrap();
        }),
    ];
    for (n, (name, damage)) in damages.iter().enumerate() {
        let device = DeviceRoot::strict(&cloud, &format!("r{n}"));
        assert_eq!(device.provision(&[]).0, 0, "{name}");
        let key = fs::read(device.path(KEY)).unwrap();
        damage(&device);
        assert_eq!(device.provision(&[]).0, 0, "{name}");
        assert_eq!(device.provision(&["status"]).0, 0, "{name}");
        assert_eq!(fs::read(device.path(KEY)).unwrap(), key, "{name}");
        assert_eq!(
            device.files(),
            "config.json device.crt private.key",
            "{name}"
        );
    }
    assert_eq!(cloud.endpoint.keys_seen(), damages.len());
}

#[test]
fn a_lost_key_needs_an_operator() {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let device = DeviceRoot::strict(&cloud, "s1");
    device.provisioned(&[]);
    fs::remove_file(device.path(KEY)).unwrap();
    let (code, output) = device.provision(&["--budget", "5"]);
    assert_eq!(
        (code, output.contains("AccessDenied")),
        (6, true),
        "{output}"
    );
    edge_sim::cloud::allow(&cloud.file(""), "s1", true).unwrap();
    device.provisioned(&["--budget", "5"]);
}

#[test]
fn a_renewal_replaces_key_and_certificate_and_leaves_nothing() {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let device = DeviceRoot::strict(&cloud, "s1");
    let (code, output) = device.provision(&["--renew"]);
    assert_eq!(
        (code, output.contains("no identity")),
        (1, true),
        "{output}"
    );
    device.provisioned(&[]);
    let old = device.identity();
    device.provisioned(&["--renew", "--within", "30"]);
    assert_eq!(device.identity(), old, "it was not due");
    // The hook denies a request without proof of possession.
    cloud.endpoint.play(&["register:silent*1".parse().unwrap()]);
    device.provisioned(&["--renew", "--within", "36500"]);
    assert_ne!(fs::read(device.path(KEY)).unwrap(), old[2].4);
    assert_eq!(device.files(), "config.json device.crt private.key");
    assert!(!device.path("data/config/aws-iot.next").exists());
    device.provisioned(&["status", "--json"]);
    cloud.endpoint.play(&["register:refused".parse().unwrap()]);
    let before = device.identity();
    let (code, output) = device.provision(&["--renew"]);
    assert_eq!(
        (code, output.contains("old certificate stays")),
        (6, true),
        "{output}"
    );
    assert_eq!(device.identity(), before);
    device.provisioned(&[]);
}

#[test]
fn the_proxy_looks_the_endpoint_up() {
    let cloud = Cloud::up();
    let device = DeviceRoot::allowed(&cloud, "s1");
    let port: u16 = cloud.value("iot_port").parse().unwrap();
    let claim = |proxy: &str| {
        device.claim(&serde_json::json!({
            "endpoint": "cloud.edge.test", "port": port, "template_name": "edge-ai-fleet", "proxy": proxy,
        }));
    };
    claim("http://127.0.0.1:1");
    let (code, output) = device.provision(&["--budget", "1"]);
    assert_eq!(
        (code, output.contains("through http://127.0.0.1:1")),
        (5, true),
        "{output}"
    );
    claim(&cloud.value("proxy"));
    let (code, output) = device.provision(&[]);
    assert_eq!(code, 0, "{output}");
    assert!(
        fs::read_to_string(device.path(CONFIG))
            .unwrap()
            .contains("\"proxy\"")
    );
    assert_eq!(device.heartbeat().0, 0);
}

/// In a network namespace, where the test may listen on a port below 1024.
#[test]
fn on_port_443_the_alpn_name_of_mqtt_is_sent() {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let device = DeviceRoot::strict(&cloud, "s1");
    device.endpoint(443);
    let script = format!(
        "ip link set lo up; sleep 30 | /usr/bin/openssl s_server -accept 443 \
         -cert {0}/server.crt -key {0}/server.key \
         -tlsextdebug -Verify 1 -CAfile {0}/clients.pem -alpn x-amzn-mqtt-ca >{0}/server.log 2>&1 & \
         while ! grep -q ACCEPT {0}/server.log 2>/dev/null; do sleep 0.05; done; \
         {1} {2} --budget 1; cat {0}/server.log",
        cloud.file("").display(),
        testbed::example("provision_at_root").display(),
        device.path("").display(),
    );
    let mut inside = std::process::Command::new("/usr/bin/unshare");
    inside.args([
        "--map-root-user",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
    ]);
    inside.args(["sh", "-c", &script]);
    let (_, output) = testbed::run(&mut inside);
    for line in [
        "ALPN protocols selected: x-amzn-mqtt-ca",
        "extension \"server name\"",
    ] {
        assert!(output.contains(line), "{output}");
    }
}

#[test]
fn a_second_process_does_not_touch_the_identity() {
    let faults = vec!["create:late=1500*1".parse().unwrap()];
    let cloud = StrictEndpoint::with(&Behaviour {
        faults,
        ..Behaviour::default()
    });
    let device = DeviceRoot::strict(&cloud, "s1");
    let mut first = device
        .command(&[])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !device.path(KEY).exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let (code, output) = device.provision(&[]);
    assert_eq!(
        (code, output.contains("another edge-provision")),
        (1, true),
        "{output}"
    );
    assert!(first.wait().unwrap().success());
    assert_eq!(cloud.endpoint.keys_seen(), 1);
}
