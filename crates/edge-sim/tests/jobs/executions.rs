//! Executions: timers, retries, cancellation, thing groups, schedules.

use serde_json::{Value, json};

use super::cloud::{Cloud, START, group, rule};

#[test]
fn timers_end_executions() {
    let minutes = |n: u64| json!({ "timeoutConfig": { "inProgressTimeoutInMinutes": n } });
    let step = |n: i64| json!({ "status": "IN_PROGRESS", "stepTimeoutInMinutes": n });
    // (updates with the seconds between them, seconds to the end of the first timer)
    let start = json!({ "status": "IN_PROGRESS" });
    for (config, updates, wanted) in [
        (minutes(10), vec![start.clone()], Some(600)),
        (json!({}), vec![start.clone()], None),
        (json!({}), vec![step(5)], Some(300)),
        (minutes(10), vec![step(20)], Some(600)),
        (minutes(10), vec![step(2)], Some(120)),
        (minutes(10), vec![step(2), step(4)], Some(240)),
        (minutes(10), vec![step(2), start.clone()], Some(60)),
        (minutes(10), vec![step(2), step(-1)], Some(540)),
        (
            minutes(10),
            vec![
                step(2),
                json!({ "status": "IN_PROGRESS", "stepTimeoutInMinutes": "3" }),
            ],
            Some(180),
        ),
    ] {
        let mut cloud = Cloud::new();
        cloud.create("j", config.clone());
        // A queued execution has no timer.
        cloud.pass(8 * 86_400);
        for (place, update) in updates.iter().enumerate() {
            cloud.pass(if place == 0 { 0 } else { 60 });
            assert_eq!(cloud.set("a", "j", update), "accepted", "{update}");
        }
        assert_eq!(
            cloud.engine.due().map(|due| due - cloud.now),
            wanted,
            "{config} {updates:?}"
        );
        let Some(seconds) = wanted else { continue };
        let (_, answer) = cloud.ask("a", "j/get", &json!({}));
        assert_eq!(
            answer["execution"]["approximateSecondsBeforeTimedOut"],
            seconds
        );
        cloud.heard();
        cloud.pass(seconds - 1);
        assert_eq!(cloud.heard(), Vec::<String>::new());
        cloud.pass(1);
        assert_eq!(cloud.heard(), ["a notify", "a notify-next"]);
        assert_eq!(cloud.set("a", "j", &start), "InvalidStateTransition");
        assert_eq!(cloud.executions("j")[0], "a/1:TIMED_OUT");
    }
    let mut cloud = Cloud::new();
    cloud.create("j", json!({}));
    for wrong in [0, -2, 10_081] {
        assert_eq!(
            cloud.set("a", "j", &step(wrong)),
            "InvalidRequest",
            "{wrong}"
        );
    }
}

/// Configuration of a job that repeats failures and ends a run after a minute.
fn retry(rules: Value) -> Value {
    json!({
        "jobExecutionsRetryConfig": { "criteriaList": rules },
        "timeoutConfig": { "inProgressTimeoutInMinutes": 1 },
    })
}

fn of(failure: &str, times: u64) -> Value {
    json!({ "failureType": failure, "numberOfRetries": times })
}

#[test]
fn failures_are_repeated_by_number() {
    for (rules, said, wanted) in [
        (
            json!([of("FAILED", 2)]),
            vec!["FAILED", "FAILED", "FAILED"],
            "a/3:FAILED",
        ),
        (json!([of("FAILED", 1)]), vec!["FAILED"], "a/2:QUEUED"),
        (json!([of("FAILED", 1)]), vec!["REJECTED"], "a/1:REJECTED"),
        (json!([of("FAILED", 1)]), vec!["TIMED_OUT"], "a/1:TIMED_OUT"),
        (
            json!([of("ALL", 2)]),
            vec!["TIMED_OUT", "FAILED", "FAILED"],
            "a/3:FAILED",
        ),
        (
            json!([of("FAILED", 1), of("TIMED_OUT", 1)]),
            vec!["TIMED_OUT", "FAILED"],
            "a/3:QUEUED",
        ),
        (
            json!([of("FAILED", 1), of("TIMED_OUT", 1)]),
            vec!["FAILED", "TIMED_OUT", "FAILED"],
            "a/3:FAILED",
        ),
        (json!([of("FAILED", 0)]), vec!["FAILED"], "a/1:FAILED"),
    ] {
        let mut cloud = Cloud::with(&["a"]);
        cloud.create("j", retry(rules.clone()));
        for status in &said {
            cloud.say("a", "j", "IN_PROGRESS");
            match *status {
                "TIMED_OUT" => cloud.pass(60),
                status => cloud.say("a", "j", status),
            }
        }
        assert_eq!(cloud.executions("j")[0], wanted, "{rules} {said:?}");
        let done = if wanted.ends_with("QUEUED") {
            "IN_PROGRESS"
        } else {
            "COMPLETED"
        };
        assert_eq!(cloud.job("j")["status"], done, "{rules} {said:?}");
    }
}

#[test]
fn retries_count_again_and_an_aborted_job_repeats_nothing() {
    let mut cloud = Cloud::new();
    let mut config = retry(json!([of("FAILED", 5)]));
    config["abortConfig"] = json!({ "criteriaList": [rule("FAILED", 100.0, 2)] });
    cloud.create("j", config);
    cloud.say("a", "j", "FAILED");
    cloud.say("a", "j", "FAILED");
    let job = cloud.job("j");
    assert_eq!(job["status"], "CANCELED");
    assert_eq!(job["jobProcessDetails"]["numberOfFailedThings"], 2);
    assert_eq!(
        cloud.executions("j"),
        ["a/2:FAILED", "a/1:FAILED", "b/1:CANCELED", "c/1:CANCELED"]
    );
}

#[test]
fn jobs_are_canceled() {
    // (request, status of a queued and of a started execution, of the job)
    for (method, path, wanted) in [
        (
            "PUT",
            "/jobs/j/cancel",
            ["a/1:IN_PROGRESS", "b/1:CANCELED", "c/1:CANCELED"],
        ),
        (
            "PUT",
            "/jobs/j/cancel?force=true",
            ["a/1:CANCELED", "b/1:CANCELED", "c/1:CANCELED"],
        ),
    ] {
        let mut cloud = Cloud::new();
        cloud.create("j", json!({}));
        cloud.say("a", "j", "IN_PROGRESS");
        cloud.heard();
        cloud.ok(
            method,
            path,
            &json!({ "reasonCode": "BAD_SET", "comment": "x" }),
        );
        assert_eq!(cloud.executions("j"), wanted);
        assert_eq!(cloud.job("j")["reasonCode"], "BAD_SET");
        let force = path.ends_with("true");
        let heard = cloud.heard();
        assert_eq!(heard.contains(&"a notify".into()), force, "{heard:?}");
        assert!(heard.contains(&"b notify-next".into()));
        let late = cloud.set("a", "j", &json!({ "status": "SUCCEEDED" }));
        assert_eq!(
            late,
            if force {
                "InvalidStateTransition"
            } else {
                "accepted"
            }
        );
        assert_eq!(
            cloud.verdict("PUT", "/jobs/j/cancel", &json!({})),
            "InvalidRequestException"
        );
    }
}

#[test]
fn executions_are_canceled_and_deleted() {
    let mut cloud = Cloud::new();
    cloud.create("j", json!({}));
    assert_eq!(
        cloud.verdict("DELETE", "/jobs/j", &Value::Null),
        "InvalidStateTransitionException"
    );
    cloud.say("a", "j", "IN_PROGRESS");
    let one = "/things/a/jobs/j/cancel";
    assert_eq!(
        cloud.verdict("PUT", one, &json!({})),
        "InvalidStateTransitionException"
    );
    assert_eq!(
        cloud.verdict(
            "PUT",
            &format!("{one}?force=true"),
            &json!({ "expectedVersion": 1 })
        ),
        "VersionConflictException"
    );
    cloud.ok(
        "PUT",
        &format!("{one}?force=true"),
        &json!({ "expectedVersion": 2 }),
    );
    let late = cloud.ask(
        "a",
        "j/update",
        &json!({ "status": "SUCCEEDED", "expectedVersion": 2 }),
    );
    assert_eq!(late.1["code"], "VersionMismatch");
    assert_eq!(
        late.1["executionState"],
        json!({ "status": "CANCELED", "versionNumber": 3 })
    );
}

#[test]
fn a_deleted_number_is_used_again() {
    let mut cloud = Cloud::new();
    cloud.create("j", json!({}));
    cloud.say("a", "j", "REJECTED");
    let queued = "/things/b/jobs/j/executionNumber/1";
    assert_eq!(
        cloud.verdict("DELETE", queued, &Value::Null),
        "InvalidStateTransitionException"
    );
    cloud.ok("DELETE", &format!("{queued}?force=true"), &Value::Null);
    assert_eq!(
        cloud.set("b", "j", &json!({ "status": "FAILED" })),
        "ResourceNotFound"
    );
    cloud.say("c", "j", "SUCCEEDED");
    assert_eq!(cloud.job("j")["status"], "COMPLETED");
    cloud.ok("DELETE", "/jobs/j", &Value::Null);
    assert_eq!(
        cloud.verdict("GET", "/jobs/j", &Value::Null),
        "ResourceNotFoundException"
    );
    cloud.create("j", json!({}));
    assert_eq!(cloud.executions("j").len(), 3);
}

#[test]
fn continuous_jobs_follow_their_groups() {
    let mut cloud = Cloud::with(&[]);
    for thing in ["a", "b"] {
        cloud.engine.register(thing);
    }
    cloud.ok("POST", "/thing-groups/more", &json!({}));
    let targets = json!([group("all"), group("more")]);
    cloud.create(
        "j",
        json!({ "targetSelection": "CONTINUOUS", "targets": targets }),
    );
    cloud.create("once", json!({}));
    assert_eq!(cloud.job("once")["status"], "COMPLETED");
    assert_eq!(cloud.job("j")["status"], "IN_PROGRESS");
    cloud.member("all", "a", true);
    assert_eq!(cloud.heard(), ["a notify", "a notify-next"]);
    cloud.member("all", "a", false);
    cloud.member("all", "a", true);
    assert_eq!(cloud.executions("j"), ["a/2:QUEUED", "a/1:REMOVED"]);
    // What is in progress stays, and only a final execution gets a successor.
    cloud.say("a", "j", "IN_PROGRESS");
    cloud.member("more", "a", true);
    cloud.member("all", "a", false);
    cloud.member("more", "a", false);
    cloud.member("all", "a", true);
    assert_eq!(cloud.executions("j"), ["a/2:IN_PROGRESS", "a/1:REMOVED"]);
    cloud.say("a", "j", "SUCCEEDED");
    cloud.member("more", "a", true);
    assert_eq!(cloud.executions("j")[0], "a/3:QUEUED");
    // It stays a target through the other group.
    cloud.member("more", "a", false);
    assert_eq!(cloud.executions("j")[0], "a/3:QUEUED");
    cloud.ok("DELETE", "/thing-groups/all", &Value::Null);
    assert_eq!(cloud.executions("j")[0], "a/3:REMOVED");
    let (_, removed) = cloud.ask("a", "j/update", &json!({ "status": "FAILED" }));
    assert_eq!(removed["executionState"]["versionNumber"], 1);
    cloud.ok("PUT", "/jobs/j/cancel", &json!({}));
    cloud.member("more", "b", true);
    assert_eq!(cloud.executions("j").len(), 3);
}

#[test]
fn schedules_begin_and_end_a_roll_out() {
    for (behavior, queued, started, status) in [
        ("STOP_ROLLOUT", "QUEUED", "IN_PROGRESS", "IN_PROGRESS"),
        ("CANCEL", "CANCELED", "IN_PROGRESS", "CANCELED"),
        ("FORCE_CANCEL", "CANCELED", "CANCELED", "CANCELED"),
    ] {
        let mut cloud = Cloud::new();
        let config = json!({
            "startTime": "2026-11-25T02:00", "endTime": "2026-11-25T02:31", "endBehavior": behavior,
        });
        cloud.create(
            "j",
            json!({
                "schedulingConfig": config, "jobExecutionsRolloutConfig": { "maximumPerMinute": 1 },
            }),
        );
        assert_eq!(cloud.job("j")["status"], "SCHEDULED");
        cloud.now = START + 7199;
        cloud.pass(0);
        assert_eq!(cloud.heard(), Vec::<String>::new());
        cloud.pass(61);
        assert_eq!(cloud.executions("j"), ["a/1:QUEUED", "b/1:QUEUED"]);
        cloud.say("b", "j", "IN_PROGRESS");
        cloud.pass(1860);
        let all = [format!("a/1:{queued}"), format!("b/1:{started}")];
        assert_eq!(cloud.executions("j")[..2], all, "{behavior}");
        assert_eq!(cloud.job("j")["status"], status, "{behavior}");
    }
}
