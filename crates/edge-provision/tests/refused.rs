//! Identity that was valid and is refused, endpoints of a new image, and a slow clock.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::process::Command;

use edge_common::known_time;
use edge_sim::cloud;
use edge_sim::endpoint::Behaviour;
use edge_sim::testbed::{self, DeviceRoot, StrictEndpoint, example};
use serde_json::{Value, json};

const CONFIG: &str = "data/config/aws-iot/config.json";
const KEY: &str = "data/config/aws-iot/private.key";
const CONNECTION: &str = "run/edge-ai/heartbeat/connection.json";
const REFUSED: &str = "data/config/aws-iot-refused.json";
const HOUR: u64 = 3600;

fn device(cloud: &StrictEndpoint) -> DeviceRoot {
    let device = DeviceRoot::strict(cloud, "s1");
    device.provisioned(&[]);
    fs::create_dir_all(device.path("run/edge-ai/heartbeat")).unwrap();
    device
}

/// Notes what edge-heartbeat notes after this many hours of refusals.
fn refused_for(device: &DeviceRoot, hours: u64) {
    let since = known_time::clock() - hours * HOUR;
    let text = json!({ "refused_since": since }).to_string();
    fs::write(device.path(CONNECTION), text).unwrap();
}

/// Makes the last request on `/data` older by this many hours.
fn age(device: &DeviceRoot, hours: u64) {
    let path = device.path(REFUSED);
    let mut refused: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for name in ["since", "asked"] {
        if let Some(time) = refused[name].as_u64() {
            refused[name] = json!(time - hours * HOUR);
        }
    }
    fs::write(&path, refused.to_string()).unwrap();
}

fn requests(cloud: &StrictEndpoint) -> usize {
    cloud.endpoint.events().len()
}

fn ask(device: &DeviceRoot) -> (i32, String) {
    device.provision(&["--renew", "--refused", "--budget", "1"])
}

#[test]
fn a_deactivated_certificate_comes_back_by_a_window_and_by_nothing_else() {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let device = device(&cloud);
    cloud::deactivate(cloud.path(), "s1").unwrap();
    let key = fs::read(device.path(KEY)).unwrap();
    let before = requests(&cloud);
    refused_for(&device, 23);
    assert_eq!(ask(&device).0, 0);
    assert_eq!(requests(&cloud), before, "asked before a day had passed");
    // The device was off in between, so edge-heartbeat notes a shorter time.
    age(&device, 2);
    refused_for(&device, 0);
    for day in 0..3 {
        let (code, output) = ask(&device);
        assert_eq!(
            (code, output.contains("AccessDenied")),
            (6, true),
            "{day}: {output}"
        );
        let after = requests(&cloud);
        assert_eq!(ask(&device).0, 0, "{day}");
        assert_eq!(requests(&cloud), after, "{day}: asked twice a day");
        assert_eq!(fs::read(device.path(KEY)).unwrap(), key);
        age(&device, 25);
    }
    cloud::allow(cloud.path(), "s1", true).unwrap();
    let (code, output) = ask(&device);
    assert_eq!(code, 0, "{output}");
    assert_ne!(fs::read(device.path(KEY)).unwrap(), key);
    assert!(!device.path(REFUSED).exists());
    device.provisioned(&["status"]);
}

#[test]
fn an_active_certificate_comes_back_by_proof() {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let device = device(&cloud);
    let key = fs::read(device.path(KEY)).unwrap();
    refused_for(&device, 25);
    let (code, output) = ask(&device);
    assert_eq!(code, 0, "{output}");
    assert_ne!(fs::read(device.path(KEY)).unwrap(), key);
    assert!(!device.path(REFUSED).exists());
}

#[test]
fn a_connection_ends_the_day() {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let device = device(&cloud);
    refused_for(&device, 20);
    assert_eq!(ask(&device).0, 0);
    assert!(device.path(REFUSED).exists());
    fs::write(device.path(CONNECTION), r#"{"refused_since":null}"#).unwrap();
    assert_eq!(ask(&device).0, 0);
    assert!(!device.path(REFUSED).exists());
}

#[test]
fn damaged_notes_are_no_refusal_and_unknown_fields_are_kept() {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let device = device(&cloud);
    let before = requests(&cloud);
    for text in ["", "{", "null", &"x".repeat(9000)] {
        fs::write(device.path(CONNECTION), text).unwrap();
        assert_eq!(ask(&device).0, 0, "{text:.9}");
    }
    refused_for(&device, 2);
    for text in ["", "{", "null", &"x".repeat(9000)] {
        fs::write(device.path(REFUSED), text).unwrap();
        assert_eq!(ask(&device).0, 0, "{text:.9}");
    }
    assert_eq!(requests(&cloud), before);
    let future = json!({ "v": 1, "since": u64::MAX, "asked": null, "later": 7 });
    fs::write(device.path(REFUSED), future.to_string()).unwrap();
    assert_eq!(ask(&device).0, 0);
    let kept: Value = serde_json::from_slice(&fs::read(device.path(REFUSED)).unwrap()).unwrap();
    assert_eq!(
        (&kept["later"], kept["since"].as_u64() < Some(u64::MAX)),
        (&json!(7), true)
    );
}

#[test]
fn the_endpoint_of_the_image_is_taken_at_each_boot() {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let device = device(&cloud);
    let before = requests(&cloud);
    device.claim(&json!({
        "endpoint": "new.example.com", "port": 443, "template_name": "t",
        "proxy": "http://proxy:3128",
    }));
    device.provisioned(&[]);
    let config: Value = serde_json::from_slice(&fs::read(device.path(CONFIG)).unwrap()).unwrap();
    assert_eq!(
        (&config["endpoint"], &config["port"], &config["proxy"]),
        (
            &json!("new.example.com"),
            &json!(443),
            &json!("http://proxy:3128")
        )
    );
    let identity = device.identity();
    device.provisioned(&["--scheduled"]);
    assert_eq!(
        device.identity(),
        identity,
        "the second run changed something"
    );
    // A claim that cannot be used changes nothing.
    fs::write(device.path("etc/edge-ai/claim/config.json"), "{").unwrap();
    device.provisioned(&[]);
    assert_eq!(device.identity(), identity);
    assert_eq!(requests(&cloud), before, "the check needs no network");
}

#[test]
fn a_slow_clock_takes_the_first_certificate() {
    for minutes in [5, 20] {
        let cloud = StrictEndpoint::with(&Behaviour::default());
        let device = DeviceRoot::strict(&cloud, "s1");
        cloud
            .endpoint
            .play(&["register:dropped*1".parse().unwrap()]);
        let run = |budget: &str| {
            let mut run = Command::new("/usr/bin/faketime");
            run.args(["-f", &format!("-{minutes}m")])
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("DONT_FAKE_MONOTONIC", "1");
            run.arg(example("provision_at_root")).arg(device.path(""));
            testbed::run(run.args(["--budget", budget]))
        };
        let (_, first) = run("1");
        assert!(first.contains("the clock is slow"), "{first}");
        let (code, output) = run("20");
        assert_eq!(code, 0, "{minutes}: {output}");
        let creates = cloud.endpoint.events();
        let creates = creates.iter().filter(|e| e.kind == "create").count();
        assert_eq!(creates, 1, "{minutes} min: {output}");
        device.provisioned(&["status"]);
    }
}
