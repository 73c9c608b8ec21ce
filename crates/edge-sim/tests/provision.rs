//! edge-provision and edge-heartbeat against the stand-in cloud.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod bench;

use std::fs;
use std::net::TcpListener;

use bench::{Cloud, Device};

const CLAIM: &str = "etc/edge-ai/claim/claim.crt";
const KEY: &str = "data/config/aws-iot/private.key";
const CONFIG: &str = "data/config/aws-iot/config.json";

#[test]
fn a_device_gets_an_identity_and_a_second_run_changes_nothing() {
    let cloud = Cloud::up();
    let device = Device::allowed(&cloud, "s1");
    assert_eq!(device.provision(&[]), (0, String::new()));
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
    assert_eq!(device.provision(&[]).0, 0);
    assert_eq!(device.identity(), first);
    for _ in 0..2 {
        assert_eq!(device.provision(&["mark"]).0, 0);
    }
    let marker = fs::read_to_string(device.path("data/.provisioned")).unwrap();
    assert!(marker.ends_with("Z\n"), "{marker}");
    assert_eq!(device.provision(&["status"]).0, 0);
}

#[test]
fn nothing_is_marked_without_an_identity() {
    let cloud = Cloud::up();
    let device = Device::of(&cloud, "s1");
    for verb in ["mark", "status"] {
        let (code, said) = device.provision(&[verb]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("no identity is committed"), "{said}");
    }
    assert!(!device.path("data/.provisioned").exists());
}

#[test]
fn claim_files_that_cannot_be_used() {
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
        let device = Device::allowed(&cloud, "s1");
        let path = device.path("etc/edge-ai/claim").join(name);
        match content {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let (code, said) = device.provision(&["--budget", "2"]);
        assert_eq!(code, 3, "{name}: {said}");
        assert!(said.contains(name), "{said}");
        assert!(!device.path("data/config/aws-iot/private.key").exists());
    }
}

#[test]
fn the_key_of_another_claim() {
    let (cloud, other) = (Cloud::up(), Cloud::up());
    let device = Device::allowed(&cloud, "s1");
    fs::copy(
        other.file("claim.key"),
        device.path("etc/edge-ai/claim/claim.key"),
    )
    .unwrap();
    let (code, said) = device.provision(&["--budget", "2"]);
    assert_eq!((code, said.contains("not the key")), (3, true), "{said}");
}

#[test]
fn a_claim_or_a_server_of_another_authority() {
    let (cloud, other) = (Cloud::up(), Cloud::up());
    let device = Device::allowed(&cloud, "s1");
    fs::copy(other.file("claim.crt"), device.path(CLAIM)).unwrap();
    fs::copy(
        other.file("claim.key"),
        device.path("etc/edge-ai/claim/claim.key"),
    )
    .unwrap();
    let (code, said) = device.provision(&["--budget", "2"]);
    assert_eq!(
        (code, said.contains("does not trust our certificate")),
        (7, true),
        "{said}"
    );

    let device = Device::allowed(&cloud, "s2");
    fs::copy(other.file("ca.pem"), device.path("etc/edge-ai/ca/root.pem")).unwrap();
    let (code, said) = device.provision(&["--budget", "2"]);
    assert_eq!((code, said.contains("not trusted")), (7, true), "{said}");
}

#[test]
fn no_network() {
    let cloud = Cloud::up();
    let device = Device::allowed(&cloud, "s1");
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    device.endpoint(free);
    let (code, said) = device.provision(&["--budget", "1"]);
    assert_eq!(code, 5, "{said}");
    assert!(said.contains(&free.to_string()), "{said}");
    // Somebody listens there but does not speak TLS.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    device.endpoint(silent.local_addr().unwrap().port());
    let (code, said) = device.provision(&["--budget", "1"]);
    assert!(code == 5 || code == 7, "{code}: {said}");
}

#[test]
fn a_serial_that_is_not_on_the_list_is_refused_and_goes_on_with_its_key_later() {
    let cloud = Cloud::up();
    let device = Device::of(&cloud, "s1");
    let (code, said) = device.provision(&["--budget", "5"]);
    assert_eq!((code, said.contains("AccessDenied")), (6, true), "{said}");
    let key = fs::read(device.path(KEY)).unwrap();
    assert!(!device.path(CONFIG).exists());
    cloud.allow("s1");
    assert_eq!(device.provision(&[]), (0, String::new()));
    assert_eq!(fs::read(device.path(KEY)).unwrap(), key);
}

#[test]
fn a_serial_that_has_an_identity_is_refused_another() {
    let cloud = Cloud::up();
    assert_eq!(Device::allowed(&cloud, "s1").provision(&[]).0, 0);
    let (code, said) = Device::of(&cloud, "s1").provision(&[]);
    assert_eq!(code, 6, "{said}");
}

#[test]
fn serial_numbers_that_are_none() {
    let cloud = Cloud::up();
    for serial in ["", " ", "a b", "../x", "a\u{e9}", &"x".repeat(200)] {
        let (code, said) = Device::of(&cloud, serial).provision(&["--budget", "2"]);
        assert_eq!(code, 1, "{serial:?}: {said}");
        assert!(said.contains("serial"), "{said}");
    }
    let device = Device::of(&cloud, "s1");
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
    let device = Device::allowed(&cloud, "s1");
    assert_eq!(device.provision(&[]).0, 0);
    let good = fs::read_to_string(device.path(CONFIG)).unwrap();
    let key = fs::read(device.path(KEY)).unwrap();
    for damage in ["", "{", &good[..20], &"x".repeat(70_000), "null"] {
        fs::write(device.path(CONFIG), damage).unwrap();
        assert_eq!(device.heartbeat().0, 3, "{damage:.20}");
        assert_eq!(device.provision(&[]), (0, String::new()), "{damage:.20}");
        assert_eq!(fs::read_to_string(device.path(CONFIG)).unwrap(), good);
        assert_eq!(fs::read(device.path(KEY)).unwrap(), key);
    }
}

#[test]
fn a_heartbeat_reports_to_the_shadow_of_its_own_thing() {
    let cloud = Cloud::up();
    let device = Device::allowed(&cloud, "s1");
    assert_eq!(device.heartbeat().0, 3);
    assert_eq!(device.provision(&[]).0, 0);
    for version in 1..=2 {
        assert_eq!(device.heartbeat(), (0, String::new()));
        let shadow = cloud.shadow("edge-ai-s1");
        assert_eq!(shadow["version"], version);
        assert!(shadow["state"]["reported"].is_object(), "{shadow}");
    }
    drop(cloud);
    let (code, said) = device.heartbeat();
    assert_eq!(code, 1, "{said}");
}
