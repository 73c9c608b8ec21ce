//! Samples: kept while the device is offline, sent in order, one message after another.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use edge_sim::testbed::{Cloud, DeviceRoot};
use serde_json::Value;

use crate::broker::Broker;
use crate::cable::Cable;
use crate::{Heartbeat, client, until};

#[test]
fn samples_of_an_offline_time_arrive_in_order() {
    let cloud = Cloud::up();
    let cable = Cable::to(cloud.value("iot_port").parse().unwrap());
    cloud.allow("s1");
    let device = DeviceRoot::of(&cloud, "s1");
    device.endpoint(cable.port);
    device.provisioned(&[]);
    fs::create_dir_all(device.path("data/log/edge-heartbeat")).unwrap();
    fs::create_dir_all(device.path("proc")).unwrap();
    fs::write(device.path("proc/loadavg"), "0.1 0.2 0.3 1/2 3\n").unwrap();
    let mut broker = Broker::replace(&cloud);
    let mut subscribe = client(&cloud, "mosquitto_sub");
    subscribe.args(["-t", "edge-ai/edge-ai-s1/samples", "-i", "log"]);
    let mut listener = subscribe.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(listener.stdout.take().unwrap()).lines();
    let (sender, messages) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let _ = sender.send(serde_json::from_str::<Value>(&line).unwrap());
        }
    });
    let mut heartbeat = Heartbeat::start(&device, 100);
    let next = |heartbeat: &mut Heartbeat| {
        let mut message = None;
        until("a message with samples", || {
            heartbeat.watch();
            message = messages.try_recv().ok();
            message.is_some()
        });
        message.unwrap().as_array().cloned().unwrap()
    };
    let mut all = next(&mut heartbeat);
    cable.unplug(true);
    heartbeat.watch_for(Duration::from_secs(6));
    cable.unplug(false);
    // Samples of six seconds at a tenth of a second.
    while all.len() < 60 {
        all.extend(next(&mut heartbeat));
    }
    let times: Vec<_> = all
        .iter()
        .map(|entry| entry["timestamp"].as_u64().unwrap())
        .collect();
    assert!(
        times.is_sorted() && times[0] > 1_700_000_000_000,
        "{times:?}"
    );
    let message: Value = serde_json::from_str(all[0]["message"].as_str().unwrap()).unwrap();
    assert_eq!(message["load"], serde_json::json!([0.1, 0.2, 0.3]));
    let ring = fs::metadata(device.path("data/log/edge-heartbeat/samples")).unwrap();
    assert!(ring.len() <= 200_000);
    listener.kill().unwrap();
    listener.wait().unwrap();
    broker.stop();
}
