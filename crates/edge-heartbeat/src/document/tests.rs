//! Reports of every size, against the limit of AWS and what a shadow already has.

use super::classic::{budget_of, update};
use super::*;

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn apps(count: usize) -> Value {
    let app = |n: usize| {
        let app = json!({ "state": "running", "health": "healthy", "version": format!("v{n}"),
            "image": format!("123456789012.dkr.ecr.eu-central-1.amazonaws.com/edge-ai@sha256:{}", "5a".repeat(32)),
            "signer": "container-signing.pub" });
        (format!("app-{n}"), app)
    };
    (0..count).map(app).collect::<Map<_, _>>().into()
}

/// Bytes of the document after `update`, as AWS counts them.
fn document_bytes(shadow: &Document, update: &Map<String, Value>) -> usize {
    let mut after = shadow.clone();
    after.merge(update);
    json!({ "desired": after.desired, "reported": after.reported })
        .to_string()
        .len()
}

/// A report with every part at its worst.
fn worst() -> Map<String, Value> {
    let step = |n: usize| {
        let value = json!({ "ok": n == 0, "code": n, "message": "\u{1}é".repeat(100), "time": "2026-01-01T00:00:00Z" });
        (format!("edge-step-{n}"), value)
    };
    let sensor = |n: usize| (format!("sensor-{n}-{}", "x".repeat(20)), json!(47.125));
    let mut state = object(json!({
        "uptime_seconds": u64::MAX, "heartbeat_seconds": 300, "load": [0.1, 0.2, 0.3],
        "software": { "image": "i".repeat(64_000), "version": "v".repeat(64_000), "edge": "1" },
        "disk": { "total_mb": 1, "warning": "w".repeat(900) }, "address": "192.0.2.1",
        "throttling": vec!["t".repeat(32); 16], "vpn_hostname": "h".repeat(253),
        "vpn": { "public_key": "k".repeat(44), "address": "10.0.0.1", "peers": vec!["p".repeat(90); 21] },
        "unknown": "u".repeat(5000), "containers": { "running": 1000 },
    }));
    let number = |n: usize| (format!("app-{n}-{}", "x".repeat(50)), json!(u64::MAX));
    state.insert("release_numbers".into(), (0..512).map(number).collect());
    state.insert("boot".into(), (0..32).map(step).collect());
    state.insert("temperature_celsius".into(), (0..256).map(sensor).collect());
    state
}

#[test]
fn sixty_apps_fit_and_more_are_omitted_and_counted() {
    for (count, left_out) in [
        (0, json!(null)),
        (10, json!(null)),
        (60, json!(["image"])),
        (90, json!(["image", "signer"])),
        (1000, json!(["image", "signer", "version", "app"])),
    ] {
        for foreign in [0, 300] {
            let mut shadow = Document::of(&json!({
                "desired": { "x": "d".repeat(foreign) },
                "reported": { "of another program": "f".repeat(foreign),
                    "apps": { "old": { "state": "exited" } } },
            }));
            let update = super::apps::update(&shadow, &apps(count), MAX_DOCUMENT_BYTES);
            assert!(document_bytes(&shadow, &update) <= MAX_DOCUMENT_BYTES);
            assert!(payload(&update, "ffff-ffff").len() <= MAX_DOCUMENT_BYTES);
            let omitted = update["omitted"].as_u64().unwrap_or(0);
            assert_eq!(update["total"], count);
            assert!(foreign > 0 || update["left_out"] == left_out, "{update:?}");
            shadow.merge(&update);
            let kept = shadow.reported["apps"].as_object().unwrap().len();
            assert_eq!(kept as u64 + omitted, count as u64, "{count} {foreign}");
            assert!(kept >= count.min(60), "{kept} of {count}");
        }
    }
}

#[test]
fn apps_that_do_not_work_are_kept_longest() {
    let mut all = apps(500);
    all["app-499"]["state"] = json!("exited");
    all["app-498"]["health"] = json!("unhealthy");
    let update = super::apps::update(&Document::default(), &all, 2048);
    assert!(size(&update) <= 2048);
    let kept = &update["apps"];
    assert_eq!(kept["app-499"]["state"], "exited", "{kept}");
    assert_eq!(kept["app-498"]["health"], "unhealthy");
    // An engine that does not answer says nothing about apps.
    let mut shadow = Document::default();
    shadow.merge(&update);
    shadow.merge(&super::apps::update(&shadow, &Value::Null, 2048));
    assert!(shadow.reported.is_empty(), "{shadow:?}");
}

#[test]
fn only_what_changed_is_sent() {
    let mut shadow = Document::default();
    let mut all = apps(3);
    let report = |shadow: &Document, all: &Value| {
        shadow.changed(super::apps::update(shadow, all, MAX_DOCUMENT_BYTES))
    };
    let first = report(&shadow, &all);
    assert_eq!(first["apps"], all);
    shadow.merge(&first);
    assert!(report(&shadow, &all).is_empty());
    all["app-1"]["state"] = json!("exited");
    all.as_object_mut().unwrap().remove("app-2");
    let expected = object(json!({ "total": 2,
        "apps": { "app-1": { "state": "exited" }, "app-2": null } }));
    let second = report(&shadow, &all);
    assert_eq!(second, expected);
    shadow.merge(&second);
    assert_eq!(shadow.reported["apps"], all);
    let replaced = shadow.replace(object(
        json!({ "phase": "idle", "set": { "name": "barn" } }),
    ));
    shadow.merge(&shadow.changed(replaced));
    let expected = json!({ "phase": "idle", "set": { "name": "barn" } });
    assert_eq!(Value::Object(shadow.reported), expected);
}

#[test]
fn apps_of_earlier_versions_are_removed_from_the_classic_shadow() {
    let mut shadow = Document::of(&json!({ "reported": { "apps": [{ "name": "a" }],
        "apps_omitted": 3, "load": [0.1] } }));
    let update = update(
        &shadow,
        object(json!({ "load": [0.2] })),
        MAX_DOCUMENT_BYTES,
    );
    shadow.merge(&shadow.changed(update));
    assert_eq!(Value::Object(shadow.reported), json!({ "load": [0.2] }));
}

#[test]
fn desired_and_reported_state_fit_together_whatever_is_reported() {
    for desired in [0, 100, 2000, 2300, 4000, 6000] {
        for foreign in [0, 1000] {
            let mut shadow = Document::of(&json!({
                "desired": { "x": "d".repeat(desired) },
                "reported": { "of another program": "f".repeat(foreign), "boot": { "old": { "ok": true } } },
            }));
            for budget in [0, 600, 2048, MAX_DOCUMENT_BYTES] {
                let update = update(&shadow, worst(), budget);
                let size = document_bytes(&shadow, &update);
                assert!(
                    size <= MAX_DOCUMENT_BYTES,
                    "{desired} {foreign} {budget}: {size}"
                );
                let text = payload(&update, "ffff-ffff");
                assert!(text.len() <= MAX_DOCUMENT_BYTES, "{}", text.len());
                assert!(budget != 600 || size < 1000 + desired + foreign, "{size}");
                assert_eq!(update["heartbeat_seconds"], 300, "{desired} {budget}");
                shadow.merge(&update);
                let boot = shadow.reported.get("boot");
                assert!(boot.is_none_or(|boot| boot.get("old").is_none()));
            }
        }
    }
}

#[test]
fn each_part_has_its_budget_and_is_named_if_shortened() {
    let shadow = Document::default();
    let update = update(&shadow, worst(), MAX_DOCUMENT_BYTES);
    for (part, value) in &update {
        let size = value.to_string().len();
        assert!(size <= budget_of(part), "{part}: {size}");
    }
    for part in ["boot", "software", "temperature_celsius"] {
        let shortened = update["shortened"].as_array().unwrap();
        assert!(shortened.contains(&json!(part)), "{shortened:?}");
        assert!(!update[part].is_null(), "{part}");
    }
    // A report within all budgets says nothing about omissions.
    let update = super::classic::update(
        &shadow,
        object(json!({ "uptime_seconds": 1 })),
        MAX_DOCUMENT_BYTES,
    );
    assert!(update["shortened"].is_null());
}

#[test]
fn keys_of_earlier_reports_are_removed_and_those_of_others_stay() {
    let mut shadow = Document::of(&json!({ "reported": {
        "note": "of an operator",
        "boot": { "edge-old": { "ok": true }, "edge-vpn": { "ok": false, "message": "x" } },
        "temperature_celsius": { "gone": 1.5 }, "throttling": ["a"] } }));
    let state = json!({ "boot": { "edge-vpn": { "ok": true } },
        "temperature_celsius": null, "throttling": [] });
    let update = update(&shadow, object(state), MAX_DOCUMENT_BYTES);
    shadow.merge(&update);
    let expected = json!({ "note": "of an operator", "boot": { "edge-vpn": { "ok": true } }, "throttling": [] });
    assert_eq!(Value::Object(shadow.reported), expected);
}

#[test]
fn a_shadow_full_of_old_keys_is_cleaned_within_the_payload() {
    let old: Map<_, _> = (0..500).map(|n| (format!("s{n}"), json!(1))).collect();
    let mut shadow = Document::of(&json!({ "reported": { "temperature_celsius": old } }));
    for _ in 0..2 {
        let update = update(&shadow, worst(), MAX_DOCUMENT_BYTES);
        assert!(payload(&update, "t").len() <= MAX_DOCUMENT_BYTES);
        shadow.merge(&update);
    }
    let left = shadow.reported["temperature_celsius"].as_object().unwrap();
    assert!(!left.is_empty() && !left.contains_key("s1"), "{left:?}");
}

#[test]
fn a_release_number_without_room_has_not_fallen() {
    let numbers = |count: usize| {
        let number = |n: usize| (format!("app-{n:03}"), json!(1));
        let numbers: Map<_, _> = (0..count).map(number).collect();
        object(json!({ "release_numbers": numbers }))
    };
    let mut shadow = Document::default();
    let mut report = |count| {
        let update = update(&shadow, numbers(count), MAX_DOCUMENT_BYTES);
        shadow.merge(&update);
        (update, shadow.reported.clone())
    };
    let (_, reported) = report(10);
    assert_eq!(reported["release_numbers"].as_object().unwrap().len(), 10);
    let (update, reported) = report(300);
    assert_eq!(update["shortened"], json!(["release_numbers"]));
    let kept = reported["release_numbers"].as_object().unwrap().len();
    assert!((20..300).contains(&kept), "{kept}");
    assert_eq!(reported.get("release_numbers_fell"), None);
    // Then they are removed from the disk; the note stays with later reports.
    for _ in 0..2 {
        let (_, reported) = report(0);
        let fallen = reported["release_numbers_fell"].as_object().unwrap();
        assert!(!fallen.is_empty() && fallen.values().all(|n| *n == 1));
        assert_eq!(reported["release_numbers"], json!({}));
    }
}
