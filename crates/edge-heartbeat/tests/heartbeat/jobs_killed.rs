//! edge-heartbeat killed at its system calls while it exchanges jobs: the list is always an
//! old or a new one, and the next run has the new one.

use std::ffi::OsString;
use std::fs;
use std::ops::Deref;
use std::sync::Mutex;

use anyhow::{Result, ensure};
use edge_sim::endpoint::Behaviour;
use edge_sim::kill_points::{Reach, kill_at_points};
use edge_sim::testbed::{DeviceRoot, StrictEndpoint, example};
use serde_json::{Value, json};

use crate::jobs::{create, list};

const DIRECTORY: &str = "data/config/edge-fleet/in";

/// Device that returns to its pool: one thing is connected once.
struct Borrowed<'a> {
    device: Option<DeviceRoot>,
    pool: &'a Mutex<Vec<DeviceRoot>>,
}

impl Deref for Borrowed<'_> {
    type Target = DeviceRoot;

    fn deref(&self) -> &DeviceRoot {
        self.device.as_ref().unwrap()
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        self.pool.lock().unwrap().extend(self.device.take());
    }
}

/// Lists of an earlier run, which a device may have.
fn earlier() -> [Option<Value>; 2] {
    let old = json!({ "v": 1, "time": 7, "complete": true, "later": [1], "jobs": [
        { "id": "gone", "number": 1, "queued": 5, "status": "QUEUED", "version": 1, "document": "{}" }] });
    [None, Some(old)]
}

/// Distance between two points: 1 in the campaign, `cargo xtask campaign kill`.
fn every() -> usize {
    let text = std::env::var("EDGE_EVERY").unwrap_or_default();
    text.parse().unwrap_or(5)
}

#[test]
fn the_list_survives_a_kill_at_every_point() {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let devices = ["s1", "s2", "s3"].map(|serial| {
        let device = DeviceRoot::strict(&cloud, serial);
        device.provisioned(&[]);
        create(
            &cloud,
            &format!("edge-ai-{serial}"),
            &format!("edge-barn-{serial}"),
            r#"{"edge":1}"#,
        );
        device
    });
    let pool = Mutex::new(Vec::from(devices));
    for old in earlier() {
        let prepare = || {
            let device = pool.lock().unwrap().pop().unwrap();
            let _ = fs::remove_dir_all(device.path(DIRECTORY));
            fs::create_dir_all(device.path(DIRECTORY)).unwrap();
            if let Some(old) = &old {
                fs::write(device.path(DIRECTORY).join("jobs.json"), old.to_string()).unwrap();
            }
            Borrowed {
                device: Some(device),
                pool: &pool,
            }
        };
        let command = |device: &Borrowed| {
            let program = example("heartbeat_at_root").into_os_string();
            [program, device.path("").into(), "--once".into()]
                .map(OsString::from)
                .to_vec()
        };
        let is_new = |list: &Value| {
            let jobs = list["jobs"].as_array();
            let document = jobs.and_then(|jobs| Some(jobs.first()?["document"].clone()));
            document == Some(json!(r#"{"edge":1}"#)) && list["complete"] == true
        };
        let tally = kill_at_points(Reach::First, every(), prepare, command, |device, _| {
            let left = list(device);
            let is_old = left == old.clone().unwrap_or_default();
            ensure!(is_old || is_new(&left), "neither old nor new: {left}");
            check_again(device, &is_new)?;
            let later = if old.is_some() {
                json!([1])
            } else {
                Value::Null
            };
            ensure!(list(device)["later"] == later, "a field of a later version");
            Ok(())
        });
        let tally = tally.unwrap();
        println!("{tally}");
        assert!(tally.killed > 50, "{tally}");
    }
}

/// Runs the program again and checks that nothing is left of the killed run.
fn check_again(device: &DeviceRoot, is_new: &dyn Fn(&Value) -> bool) -> Result<()> {
    // The broker may see the killed connection later than the next one, and end that one.
    let mut runs = (0..3).map(|_| device.heartbeat());
    let result = runs.find(|(code, _)| *code == 0);
    ensure!(result.is_some(), "the next runs failed");
    ensure!(is_new(&list(device)), "not the new list: {}", list(device));
    let names: Vec<_> = fs::read_dir(device.path(DIRECTORY))?
        .flatten()
        .map(|e| e.file_name())
        .collect();
    ensure!(names == ["jobs.json"], "left behind: {names:?}");
    Ok(())
}
