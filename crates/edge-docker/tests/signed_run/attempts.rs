//! Attempts on a production device to make a running app that holds grants do something
//! else, one a line of `attempts.txt`: options, entry points, other images, names,
//! commands.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::device::{Device, REPOSITORY};

const ATTEMPTS: &str = include_str!("attempts.txt");

/// Asserts that every attempt that `is_tried` selects is refused and changes nothing.
/// `image` is another name of the app's image. Returns the number of attempts.
pub fn assert_refused(
    device: &Device,
    image: &str,
    when: &str,
    is_tried: fn(&str) -> bool,
) -> usize {
    let before = state(device);
    let lines = ATTEMPTS.lines();
    let attempts = lines.filter(|l| !l.is_empty() && !l.starts_with('#') && is_tried(l));
    let mut count = 0;
    for line in attempts {
        let line = line.replace("REPO", REPOSITORY).replace("IMAGE", image);
        let args: Vec<_> = ["edge-docker"].into_iter().chain(line.split(' ')).collect();
        let (code, text) = device.bad(&args);
        // 124: a version that this device has never had, without a registry.
        assert!([124, 125].contains(&code), "{when}: {line}: {code} {text}");
        let after = state(device);
        assert!(after == before, "{when}: {line}: {text}\n{before}\n{after}");
        count += 1;
    }
    count
}

/// Returns containers and images of the engine, with what would differ after an attempt
/// that succeeded.
pub fn state(device: &Device) -> String {
    let ids = device.good(&["docker", "ps", "-aq", "--no-trunc"]);
    let ids: Vec<_> = ids.lines().collect();
    let found = device.good(&[&["docker", "inspect"], &ids[..]].concat());
    let found: Vec<Value> = serde_json::from_str(&found).unwrap();
    let parts = ["Id", "Name", "State", "HostConfig", "Config", "ExecIDs"];
    let each = |container: &Value| parts.map(|part| container[part].to_string()).join("\n");
    let state: String = found.iter().map(each).collect();
    let images = device.good(&["docker", "images", "-a", "--no-trunc"]);
    // Images of the same time have no order.
    let images: BTreeSet<_> = images.lines().collect();
    format!("{state}{images:#?}")
}
