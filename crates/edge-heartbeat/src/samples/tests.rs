//! Ring and messages: damage, full disk, wrong clocks, long times offline.

#![expect(clippy::disallowed_methods, reason = "for tests")]

use std::fs;
use std::os::unix::fs::FileExt;

use super::*;
use crate::files::root_with;

const NOW: u64 = 1_800_000_000;

fn root(uptime: u64) -> (tempfile::TempDir, Root) {
    root_with(&[
        ("/proc/sys/kernel/random/boot_id", "0000b007-1111\n"),
        ("/proc/uptime", &format!("{uptime}.25 1.0\n")),
        ("/etc/timestamp", "20260101000000\n"),
        ("/data/log/edge-heartbeat/x", ""),
    ])
}

fn samples(root: &Root) -> Samples {
    Samples::new(root, &Sampling::default())
}

fn state(uptime: u64) -> Map<String, Value> {
    let state = json!({ "uptime_seconds": uptime, "load": [0.5, 0.4, 0.3],
        "temperature_celsius": { "cpu": 41.5 }, "memory": { "available_kb": 1 },
        "disk": { "available_mb": 2 } });
    state.as_object().cloned().unwrap()
}

fn sample(time: u64, uptime: u64, boot: u32) -> Sample {
    Sample::of(&state(uptime), time, boot)
}

fn entries(message: &str) -> Vec<(u64, Value)> {
    let entries: Vec<Value> = serde_json::from_str(message).unwrap();
    let entry = |entry: &Value| {
        let text = entry["message"].as_str().unwrap();
        (
            entry["timestamp"].as_u64().unwrap() / 1000,
            serde_json::from_str(text).unwrap(),
        )
    };
    entries.iter().map(entry).collect()
}

#[test]
fn a_week_is_kept_and_sent_in_order_by_the_day() {
    let (_directory, root) = root(SLOTS_SECONDS);
    let mut all = samples(&root);
    for n in 0..ring::SLOTS + 500 {
        all.take(&state((n * 300).saturating_sub(500 * 300)));
    }
    let path = root.path(SAMPLES);
    assert_eq!(fs::metadata(&path).unwrap().len(), ring::FILE_BYTES);
    assert!(fs::metadata(&path).unwrap().len() <= 200_000);
    // Another process goes on where this one ended.
    drop(all);
    let mut all = samples(&root);
    all.take(&state(SLOTS_SECONDS));
    let (mut times, mut messages) = (Vec::new(), 0);
    while let Some((message, end)) = all.message(NOW) {
        assert!(message.len() <= 128 * 1024, "{}", message.len());
        let sent = entries(&message);
        let (first, last) = (sent[0].0, sent[sent.len() - 1].0);
        assert!(last - first <= 24 * 3600);
        times.extend(sent.iter().map(|(time, _)| *time));
        messages += 1;
        all.sent(end);
    }
    assert_eq!((times.len() as u64, messages), (ring::SLOTS, 8));
    assert!(times.is_sorted() && *times.last().unwrap() == NOW);
}

const SLOTS_SECONDS: u64 = ring::SLOTS * 300;

#[test]
fn wrong_clocks_do_not_misdate_samples() {
    let (_directory, root) = root(10_000);
    let mut all = samples(&root);
    all.store().unwrap();
    let ring = all.ring.as_mut().unwrap();
    // A boot whose clock was never right, one whose clock was set, one that was set back.
    for (time, uptime, boot) in [
        (300, 300, 1),
        (600, 600, 1),
        (10, 300, 2),
        (NOW - 50_000, 600, 2),
        (NOW - 30_000, 300, 0xb007),
        (NOW - 900_000, 9_700, 0xb007),
    ] {
        ring.push(&sample(time, uptime, boot)).unwrap();
    }
    let mut found = Vec::new();
    while let Some((message, end)) = all.message(NOW) {
        let sent = entries(&message);
        assert!(sent.iter().map(|(time, _)| time).is_sorted());
        found.extend(
            sent.iter()
                .map(|(time, message)| (*time, message["undated"] == true)),
        );
        all.sent(end);
    }
    let expected = [
        (NOW, true),
        (NOW, true),
        (NOW - 50_300, false),
        (NOW - 50_000, false),
        (NOW - 9_700, false),
        (NOW - 300, false),
    ];
    assert_eq!(found, expected);
}

#[test]
fn damaged_records_cost_themselves_alone() {
    let (_directory, root) = root(100_000);
    let mut all = samples(&root);
    for n in 0..20 {
        all.take(&state(n * 300));
    }
    let (_, end) = all.message(NOW).unwrap();
    all.sent(end - 10);
    let path = root.path(SAMPLES);
    let file = fs::File::options().write(true).open(&path).unwrap();
    // The 13th and 16th sample, one torn and one with an unlikely number.
    file.write_all_at(&[0xff; 20], 12 * 64 + 30).unwrap();
    file.write_all_at(&u64::MAX.to_le_bytes(), 15 * 64 + 4)
        .unwrap();
    let mut all = samples(&root);
    all.store().unwrap();
    let (message, end) = all.message(NOW).unwrap();
    assert_eq!((entries(&message).len(), end), (8, 20));
    // Both copies of the mark: everything is sent again, and nothing is lost.
    file.write_all_at(&[0xff; 128], ring::SLOTS * 64).unwrap();
    let mut all = samples(&root);
    all.store().unwrap();
    assert_eq!(entries(&all.message(NOW).unwrap().0).len(), 18);
    for content in [vec![], vec![7; 100], vec![0xff; 300_000]] {
        fs::write(&path, content).unwrap();
        let mut all = samples(&root);
        all.take(&state(300));
        assert_eq!(entries(&all.message(NOW).unwrap().0).len(), 1);
        assert_eq!(fs::metadata(&path).unwrap().len(), ring::FILE_BYTES);
    }
    fs::write(
        &path,
        vec![0xff; usize::try_from(ring::FILE_BYTES).unwrap()],
    )
    .unwrap();
    let mut all = samples(&root);
    all.take(&state(300));
    assert_eq!(entries(&all.message(NOW).unwrap().0).len(), 1);
}

#[test]
fn without_a_ring_samples_wait_in_memory() {
    let (_directory, root) = root(1_000_000);
    let path = root.path(SAMPLES);
    fs::create_dir(&path).unwrap();
    let mut all = samples(&root);
    for n in 0..400 {
        all.take(&state(n * 300));
    }
    let (message, end) = all.message(NOW).unwrap();
    assert!(entries(&message).len() > 250);
    all.sent(end);
    let left = all.waiting.len();
    assert!(left < 20, "{left}");
    fs::remove_dir(&path).unwrap();
    all.take(&state(400 * 300));
    assert_eq!(all.waiting.len(), 0);
    assert_eq!(entries(&all.message(NOW).unwrap().0).len(), left + 1);
}
