//! Requests of devices: limits, order, quotas; and the stored state.

use edge_sim::cloud::jobs::Engine;
use serde_json::{Value, json};

use super::cloud::Cloud;

#[test]
fn wrong_updates_are_refused() {
    let mut cloud = Cloud::new();
    cloud.create("j", json!({}));
    for (body, wanted) in [
        (json!({}), "InvalidRequest"),
        (json!([]), "InvalidRequest"),
        (json!(7), "InvalidRequest"),
        (json!({ "status": 5 }), "InvalidRequest"),
        (json!({ "status": "FAILURE" }), "InvalidRequest"),
        (json!({ "status": "in_progress" }), "InvalidRequest"),
        (json!({ "status": "QUEUED" }), "InvalidStateTransition"),
        (json!({ "status": "TIMED_OUT" }), "InvalidStateTransition"),
        (json!({ "status": "REMOVED" }), "InvalidStateTransition"),
        (
            json!({ "status": "FAILED", "clientToken": 5 }),
            "InvalidRequest",
        ),
        (
            json!({ "status": "FAILED", "expectedVersion": "one" }),
            "InvalidRequest",
        ),
        (
            json!({ "status": "FAILED", "expectedVersion": -1 }),
            "InvalidRequest",
        ),
        (
            json!({ "status": "FAILED", "expectedVersion": 2 }),
            "VersionMismatch",
        ),
        (
            json!({ "status": "FAILED", "executionNumber": 2 }),
            "ResourceNotFound",
        ),
        (
            json!({ "status": "FAILED", "includeJobDocument": "yes" }),
            "InvalidRequest",
        ),
    ] {
        assert_eq!(cloud.set("a", "j", &body), wanted, "{body}");
    }
    assert_eq!(
        cloud.set("stranger", "j", &json!({ "status": "FAILED" })),
        "ResourceNotFound"
    );
    let (_, answer) = cloud.ask("a", "j/get", &json!({}));
    assert_eq!(answer["execution"]["versionNumber"], 1);
}

#[test]
fn wrong_status_details_are_refused() {
    let mut cloud = Cloud::new();
    cloud.create("j", json!({}));
    let details = |value: Value| json!({ "status": "IN_PROGRESS", "statusDetails": value });
    let pairs: Value = (0..11)
        .map(|n| (n.to_string(), json!("x")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    for (body, wanted) in [
        (details(json!("x")), "InvalidRequest"),
        (details(pairs), "InvalidRequest"),
        (details(json!({ "a": 5 })), "InvalidRequest"),
        (details(json!({ "a": "" })), "InvalidRequest"),
        (details(json!({ "a": "x\ty" })), "InvalidRequest"),
        (details(json!({ "a.b": "x" })), "InvalidRequest"),
        (details(json!({ "": "x" })), "InvalidRequest"),
        (details(json!({ "a": "ü".repeat(1025) })), "InvalidRequest"),
    ] {
        assert_eq!(cloud.set("a", "j", &body), wanted, "{body}");
    }
    let most = json!({ "a:b_-0": "ü".repeat(1024) });
    assert_eq!(cloud.set("a", "j", &details(most.clone())), "accepted");
    let (_, answer) = cloud.ask("a", "j/get", &json!({}));
    assert_eq!(answer["execution"]["statusDetails"], most);
    // Nothing that was refused has changed the execution.
    assert_eq!(answer["execution"]["versionNumber"], 2);
}

#[test]
fn what_is_no_request_is_not_answered() {
    let mut cloud = Cloud::new();
    cloud.create("get", json!({}));
    cloud.create("j", json!({}));
    for topic in [
        "$aws/things/a/jobs",
        "$aws/things/a/jobs/",
        "$aws/things/a/jobs/notify",
        "$aws/things/a/jobs/get/accepted",
        "$aws/things/a/jobs/get/get",
        "$aws/things/a/jobs/start-next/update",
        "$aws/things/a/jobs/$next/update",
        "$aws/things/a/jobs/j/update/accepted",
        "$aws/things/a/jobs/j.1/get",
        "$aws/things/a/shadow/get",
    ] {
        let effects = cloud.engine.receive(cloud.now, topic, b"{}");
        assert_eq!(effects.answer, None, "{topic}");
    }
    // Every length and every broken text has an answer, and none a panic.
    let good = r#"{"status":"IN_PROGRESS","statusDetails":{"a":"ü"},"expectedVersion":1}"#;
    for end in 0..good.len() {
        let effects = cloud.engine.receive(
            cloud.now,
            "$aws/things/a/jobs/j/update",
            &good.as_bytes()[..end],
        );
        assert!(
            effects.answer.unwrap().topic.ends_with("/rejected"),
            "{end}"
        );
        cloud.pass(1);
    }
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    let effects = cloud
        .engine
        .receive(cloud.now, "$aws/things/a/jobs/get", deep.as_bytes());
    assert_eq!(effects.answer.unwrap().payload["code"], "InvalidJson");
}

#[test]
fn lists_have_ten_executions_at_most() {
    let mut cloud = Cloud::new();
    for n in 0..12 {
        cloud.now += 1;
        cloud.create(&format!("j{n:02}"), json!({}));
    }
    cloud.say("a", "j11", "IN_PROGRESS");
    let (_, list) = cloud.ask("a", "get", &json!({}));
    assert_eq!(list["inProgressJobs"][0]["jobId"], "j11");
    let queued = list["queuedJobs"].as_array().unwrap();
    assert_eq!((queued.len(), &queued[8]["jobId"]), (9, &json!("j08")));
    let (_, next) = cloud.ask("a", "$next/get", &json!({}));
    assert_eq!(next["execution"]["jobId"], "j11");
    assert_eq!(next["execution"]["jobDocument"], json!({ "set": "x" }));
    // Who is not listed exists all the same.
    let (_, hidden) = cloud.ask("a", "j10/get", &json!({}));
    assert_eq!(hidden["execution"]["status"], "QUEUED");
}

#[test]
fn the_front_is_announced_only_when_it_changes() {
    let mut cloud = Cloud::with(&["a"]);
    cloud.heard();
    for id in ["j1", "j2"] {
        cloud.now += 1;
        cloud.create(id, json!({}));
    }
    assert_eq!(cloud.heard(), ["a notify", "a notify-next", "a notify"]);
    cloud.say("a", "j1", "IN_PROGRESS");
    cloud.say("a", "j1", "IN_PROGRESS");
    assert_eq!(cloud.heard(), Vec::<String>::new());
    cloud.say("a", "j2", "FAILED");
    assert_eq!(cloud.heard(), ["a notify"]);
    cloud.create("j3", json!({}));
    cloud.heard();
    cloud.ok("DELETE", "/jobs/j1?force=true", &Value::Null);
    assert_eq!(cloud.heard(), ["a notify", "a notify-next"]);
}

#[test]
fn requests_above_the_quotas_are_throttled() {
    let mut cloud = Cloud::new();
    cloud.create("j", json!({}));
    cloud.now += 1;
    let mut refused = |request: &str, body: Value| {
        let all = (0..250).map(|_| cloud.ask("a", request, &body).1["code"] == "RequestThrottled");
        all.filter(|throttled| *throttled).count()
    };
    // Reads and writes are counted apart, invalid ones too.
    assert_eq!(refused("get", json!({})), 50);
    assert_eq!(refused("j/update", json!({ "status": "QUEUED" })), 50);
    assert_eq!(refused("j/get", json!({})), 250);
    cloud.now += 1;
    assert_eq!(cloud.ask("a", "j/get", &json!({})).0, "accepted");
    let verdicts: Vec<_> = (0..12)
        .map(|_| cloud.verdict("GET", "/jobs", &Value::Null))
        .collect();
    assert_eq!((verdicts[9], verdicts[10]), ("ok", "ThrottlingException"));
    assert_eq!(cloud.verdict("GET", "/thing-groups", &Value::Null), "ok");
}

#[test]
fn the_state_survives_and_the_clock_stands_still() {
    let mut cloud = Cloud::new();
    cloud.create(
        "j",
        json!({ "timeoutConfig": { "inProgressTimeoutInMinutes": 10 } }),
    );
    cloud.say("a", "j", "IN_PROGRESS");
    let state = cloud.engine.state().unwrap();
    let due = cloud.engine.due();
    cloud.engine = Engine::load(&state).unwrap();
    assert_eq!(
        (cloud.engine.due(), cloud.engine.state().unwrap()),
        (due, state.clone())
    );
    cloud.heard();
    let effects = cloud.engine.receive(5, "$aws/things/a/jobs/get", b"");
    assert_eq!(effects.answer.unwrap().payload["timestamp"], cloud.now);
    assert_eq!(
        effects.notifications,
        [],
        "an unchanged list is not announced again"
    );
    for end in [0, 1, state.len() / 2, state.len() - 1] {
        assert!(Engine::load(&state[..end]).is_err(), "{end}");
    }
}
