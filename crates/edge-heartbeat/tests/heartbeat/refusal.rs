//! Identity that the cloud refuses: noted, replaced by edge-provision, and taken up.

use std::fs;

use edge_sim::cloud;
use edge_sim::endpoint::Behaviour;
use edge_sim::testbed::{DeviceRoot, StrictEndpoint};
use serde_json::{Value, json};

use super::{Heartbeat, until};

const CONNECTION: &str = "run/edge-ai/heartbeat/connection.json";

fn refused_since(device: &DeviceRoot) -> Option<Value> {
    let text = fs::read(device.path(CONNECTION)).ok()?;
    let mut value: Value = serde_json::from_slice(&text).ok()?;
    Some(value["refused_since"].take())
}

#[test]
fn a_refused_device_comes_back_by_a_window_without_anybody_at_it() {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let device = DeviceRoot::strict(&cloud, "s1");
    device.provisioned(&[]);
    cloud::deactivate(cloud.path(), "s1").unwrap();
    let _heartbeat = Heartbeat::start(&device, 100);
    until("the refusal is noted", || {
        refused_since(&device).is_some_and(|since| since.is_u64())
    });
    // Two days later an operator has opened a window.
    let since = refused_since(&device).unwrap().as_u64().unwrap() - 2 * 86_400;
    let text = json!({ "refused_since": since }).to_string();
    fs::write(device.path(CONNECTION), text).unwrap();
    cloud::allow(cloud.path(), "s1", true).unwrap();
    device.provisioned(&["--renew", "--refused"]);
    until("the new identity is connected", || {
        refused_since(&device).is_some_and(|since| since.is_null())
    });
}

#[test]
fn a_cloud_that_is_not_reached_is_no_refusal() {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let device = DeviceRoot::strict(&cloud, "s1");
    device.provisioned(&[]);
    drop(cloud);
    let mut heartbeat = Heartbeat::start(&device, 100);
    heartbeat.watch_for(std::time::Duration::from_secs(3));
    assert_eq!(refused_since(&device), None);
}

/// An identity that only root may read is not absent.
#[test]
fn an_unprivileged_user_is_told_to_be_root() {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_edge-heartbeat"));
    let prepare = "mkdir -p data/config; chmod 0700 data/config";
    edge_sim::testbed::check_needs_root(program, prepare, "--once");
}
