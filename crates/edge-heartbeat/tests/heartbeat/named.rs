//! Named shadows: what is reported to which, and that one does not stop the others.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};

use edge_sim::testbed::{Cloud, DeviceRoot};
use serde_json::{Value, json};

use crate::{Heartbeat, client, set_desired, until};

/// Socket that answers every request with a list of containers.
fn engine(device: &DeviceRoot) -> Arc<Mutex<Vec<Value>>> {
    let containers = Arc::<Mutex<Vec<Value>>>::default();
    let listener = UnixListener::bind(device.path("run/docker.sock")).unwrap();
    let list = Arc::clone(&containers);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let body = json!(*list.lock().unwrap()).to_string();
            let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\n{body}");
        }
    });
    containers
}

fn app(number: usize, state: &str) -> Value {
    let repository = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/edge-ai";
    json!({ "State": state, "Status": "Up 5 minutes (healthy)", "Names": [format!("/app-{number}")],
        "Labels": { "edge.app": format!("app-{number}"), "edge.version": format!("v{number}"),
            "edge.signer": "container-signing.pub",
            "edge.image": format!("{repository}@sha256:{}", "5a".repeat(32)) } })
}

fn report(device: &DeviceRoot, report: &Value) {
    let directory = device.path("data/config/edge-fleet");
    fs::create_dir_all(&directory).unwrap();
    let new = directory.join("new");
    fs::write(&new, report.to_string()).unwrap();
    fs::rename(new, directory.join("report.json")).unwrap();
}

#[test]
fn sixty_apps_and_the_fleet_have_shadows_of_their_own() {
    let cloud = Cloud::up();
    let device = DeviceRoot::allowed(&cloud, "s1");
    device.provisioned(&[]);
    // As an earlier version reported them.
    let old =
        json!({ "state": { "reported": { "apps": [{ "name": "old" }], "apps_omitted": 7 } } });
    let mut publish = client(&cloud, "mosquitto_pub");
    publish.args([
        "-t",
        "$aws/things/edge-ai-s1/shadow/update",
        "-m",
        &old.to_string(),
    ]);
    assert!(publish.status().unwrap().success());
    let stored = cloud.file("shadows/edge-ai-s1.json");
    until("the old report is stored", || stored.exists());
    *engine(&device).lock().unwrap() = (0..60).map(|n| app(n, "running")).collect();
    let fleet =
        json!({ "v": 1, "phase": "window", "set": { "name": "barn", "number": 7 }, "held": [] });
    report(&device, &fleet);
    let (code, output) = device.heartbeat();
    assert_eq!(code, 0, "{output}");
    let classic = cloud.shadow("edge-ai-s1")["state"]["reported"].clone();
    assert!(classic["apps"].is_null() && classic["apps_omitted"].is_null());
    assert!(classic["containers"]["running"] == 60, "{classic}");
    let apps = cloud.named_shadow("edge-ai-s1", "apps")["state"]["reported"].clone();
    assert_eq!(apps["apps"].as_object().unwrap().len(), 60);
    assert_eq!(
        apps["apps"]["app-59"],
        json!({ "state": "running", "health": "healthy", "version": "v59",
            "signer": "container-signing.pub" })
    );
    assert_eq!(
        (&apps["total"], &apps["left_out"]),
        (&json!(60), &json!(["image"]))
    );
    let reported = cloud.named_shadow("edge-ai-s1", "fleet")["state"]["reported"].clone();
    assert_eq!(reported, fleet);
}

#[test]
fn changes_alone_are_reported_and_what_others_remove_comes_back() {
    let cloud = Cloud::up();
    let device = DeviceRoot::allowed(&cloud, "s1");
    device.provisioned(&[]);
    let containers = engine(&device);
    *containers.lock().unwrap() = (0..3).map(|n| app(n, "running")).collect();
    let mut heartbeat = Heartbeat::start(&device, 100);
    let apps = || cloud.named_shadow("edge-ai-s1", "apps");
    until("three apps are reported", || {
        heartbeat.watch();
        apps()["state"]["reported"]["total"] == 3
    });
    // Nothing changes, so nothing more is reported.
    let version = apps()["version"].clone();
    heartbeat.wait_for_reports(heartbeat.reports + 5);
    assert_eq!(apps()["version"], version);
    *containers.lock().unwrap() = vec![app(0, "exited"), app(2, "running")];
    until("the change is reported", || {
        heartbeat.watch();
        let reported = &apps()["state"]["reported"];
        let left = reported["apps"].as_object().unwrap();
        reported["apps"]["app-0"]["state"] == "exited" && left.len() == 2
    });
    let topic = "$aws/things/edge-ai-s1/shadow/name/apps/update";
    let removal = json!({ "state": { "reported": { "apps": null } } }).to_string();
    let mut publish = client(&cloud, "mosquitto_pub");
    assert!(
        publish
            .args(["-t", topic, "-m", &removal])
            .status()
            .unwrap()
            .success()
    );
    until("removed apps are reported again", || {
        heartbeat.watch();
        apps()["state"]["reported"]["apps"]["app-2"]["state"] == "running"
    });
    let mut publish = client(&cloud, "mosquitto_pub");
    let delete = topic.replace("/update", "/delete");
    assert!(
        publish
            .args(["-t", &delete, "-n"])
            .status()
            .unwrap()
            .success()
    );
    until("a deleted shadow is reported again", || {
        heartbeat.watch();
        apps()["state"]["reported"]["total"] == 2
    });
}

#[test]
fn a_named_shadow_that_rejects_does_not_stop_the_others() {
    let cloud = Cloud::up();
    let device = DeviceRoot::allowed(&cloud, "s1");
    device.provisioned(&[]);
    *engine(&device).lock().unwrap() = vec![app(0, "running")];
    // AWS takes no null in a list.
    report(&device, &json!({ "v": 1, "held": [null] }));
    let mut heartbeat = Heartbeat::start(&device, 100);
    heartbeat.wait_for_reports(1);
    until("the rejection is reported", || {
        heartbeat.watch();
        let reported = &cloud.shadow("edge-ai-s1")["state"]["reported"];
        let rejected = &reported["report_rejected"];
        rejected["shadow"] == "fleet" && rejected["code"] == 400
    });
    until("the apps are reported", || {
        heartbeat.watch();
        cloud.named_shadow("edge-ai-s1", "apps")["state"]["reported"]["total"] == 1
    });
    // A long desired state leaves less to the report.
    set_desired(&cloud, &json!({ "note": "x".repeat(2000) }));
    report(
        &device,
        &json!({ "v": 1, "held": ["hello"], "phase": "held" }),
    );
    until("the corrected report is stored", || {
        heartbeat.watch();
        cloud.named_shadow("edge-ai-s1", "fleet")["state"]["reported"]["phase"] == "held"
    });
    // A report that cannot be read leaves the last one.
    fs::write(device.path("data/config/edge-fleet/report.json"), "{").unwrap();
    heartbeat.wait_for_reports(heartbeat.reports + 3);
    let reported = cloud.named_shadow("edge-ai-s1", "fleet")["state"]["reported"].clone();
    assert_eq!(
        reported,
        json!({ "v": 1, "held": ["hello"], "phase": "held" })
    );
}
