//! Exchanges in `wire.txt`, message by message.

use serde_json::{Value, json};

use super::cloud::{Cloud, PREFIX, group, rule};

/// Replaces times by 0.
fn without_times(value: &mut Value) {
    match value {
        Value::Number(number) if number.as_u64() > Some(1_000_000_000) => *value = 0.into(),
        Value::Object(members) => members.values_mut().for_each(without_times),
        Value::Array(elements) => elements.iter_mut().for_each(without_times),
        _ => {}
    }
}

fn operator(cloud: &mut Cloud, change: &str) {
    let document = r#"{"edge":1,"none":null,"set":"sha256:00","serial":5}"#;
    let create = |cloud: &mut Cloud, id: &str, mut more: Value| {
        more["document"] = document.into();
        if more["targets"].is_null() {
            more["targets"] = json!([format!("{PREFIX}:thing/a")]);
        }
        cloud.ok("PUT", &format!("/jobs/{id}"), &more);
    };
    match change {
        "create j1" | "create j2" | "create j3" | "create j4" => {
            create(cloud, &change[7..], json!({}));
        }
        "cancel j1 no force" => {
            cloud.ok("PUT", "/jobs/j1/cancel", &json!({}));
        }
        "force cancel exec" => {
            cloud.ok("PUT", "/things/a/jobs/j3/cancel?force=true", &json!({}));
        }
        "force delete" => {
            cloud.ok("DELETE", "/jobs/j4?force=true", &Value::Null);
        }
        "continuous on empty group" => {
            let targets = json!([group("g")]);
            create(
                cloud,
                "j5",
                json!({ "targets": targets, "targetSelection": "CONTINUOUS" }),
            );
        }
        "a joins" => cloud.member("g", "a", true),
        "a leaves" => cloud.member("g", "a", false),
        "rate 2/min + abort" => create(
            cloud,
            "j6",
            json!({
                "targets": [group("all")],
                "jobExecutionsRolloutConfig": { "maximumPerMinute": 2 },
                "abortConfig": { "criteriaList": [rule("FAILED", 50.0, 1)] },
            }),
        ),
        other => panic!("{other}"),
    }
}

#[test]
fn the_wire_is_that_of_the_published_api() {
    let mut cloud = Cloud::new();
    cloud.ok("POST", "/thing-groups/g", &json!({}));
    cloud.heard();
    let mut messages: Vec<(String, Value)> = Vec::new();
    let mut compared = 0;
    for line in include_str!("wire.txt").lines() {
        let Some((kind, rest)) = line.split_once(' ').filter(|(kind, _)| *kind != "#") else {
            continue;
        };
        if kind == "<" {
            let (topic, wanted) = rest.split_once(' ').unwrap();
            let wanted: Value = serde_json::from_str(wanted).unwrap();
            assert!(!messages.is_empty(), "nothing came: {line}");
            let (got_topic, mut got) = messages.remove(0);
            without_times(&mut got);
            if wanted["code"] == "InvalidRequest" && wanted["message"].is_null() {
                got.as_object_mut().unwrap().remove("message");
            }
            assert_eq!((got_topic.as_str(), got), (topic, wanted), "{line}");
            compared += 1;
            continue;
        }
        assert_eq!(messages, [], "before {line}");
        cloud.pass(1);
        if kind == "=" {
            operator(&mut cloud, rest);
        } else {
            let (request, payload) = rest.split_once(' ').unwrap();
            let topic = format!("$aws/things/a/jobs/{request}");
            let effects = cloud.engine.receive(cloud.now, &topic, payload.as_bytes());
            cloud.published.extend(effects.answer);
            cloud.published.extend(effects.notifications);
        }
        let mine = cloud.published.drain(..);
        messages.extend(mine.filter_map(|message| {
            let end = message.topic.strip_prefix("$aws/things/a/jobs/")?;
            Some((end.to_string(), message.payload))
        }));
    }
    assert_eq!(messages, []);
    assert_eq!(compared, 54);
}
