//! Creation of jobs, roll-out and abort.

use serde_json::{Value, json};

use super::cloud::{Cloud, PREFIX, group, growth, job, rule};

#[test]
fn wrong_jobs_are_refused() {
    let many = vec![group("all"); 101];
    let invalid = [
        json!({ "document": "{" }),
        json!({ "document": "[]" }),
        json!({ "document": {} }),
        json!({ "document": format!(r#"{{"a":"{}"}}"#, "x".repeat(32_768)) }),
        json!({ "targets": [] }),
        json!({ "targets": ["edge-ai-1"] }),
        json!({ "targets": many }),
        json!({ "targetSelection": "BOTH" }),
        json!({ "description": "a\nb" }),
        json!({ "description": "x".repeat(2029) }),
        json!({ "timeoutConfig": { "inProgressTimeoutInMinutes": 0 } }),
        json!({ "timeoutConfig": { "inProgressTimeoutInMinutes": 10_081 } }),
        json!({ "timeoutConfig": { "minutes": 5 } }),
        json!({ "presignedUrlConfig": { "expiresInSec": 59 } }),
        json!({ "documentSource": "https://example.org" }),
        json!({ "documentParameters": {} }),
        json!({ "tags": [{ "Key": "aws:x" }] }),
    ];
    refused(&invalid);
}

/// Asserts that CreateJob refuses each of these fields.
fn refused(invalid: &[Value]) {
    let mut cloud = Cloud::new();
    for wrong in invalid {
        cloud.now += 1;
        let verdict = cloud.verdict("PUT", "/jobs/j", &job(wrong.clone()));
        assert_eq!(verdict, "InvalidRequestException", "{wrong}");
    }
}

#[test]
fn wrong_limits_are_refused() {
    let retry = |rules: Value| json!({ "jobExecutionsRetryConfig": { "criteriaList": rules } });
    let abort = |rules: Value| json!({ "abortConfig": { "criteriaList": rules } });
    let rollout = |value: Value| json!({ "jobExecutionsRolloutConfig": value });
    let schedule = |value: Value| json!({ "schedulingConfig": value });
    let both = json!({ "numberOfNotifiedThings": 1, "numberOfSucceededThings": 1 });
    let invalid = [
        rollout(json!({ "maximumPerMinute": 0 })),
        rollout(json!({ "maximumPerMinute": 1001 })),
        rollout(growth(1001, 2.0, json!({ "numberOfNotifiedThings": 1 }))),
        rollout(growth(50, 1.0, json!({ "numberOfNotifiedThings": 1 }))),
        rollout(growth(50, 5.1, json!({ "numberOfNotifiedThings": 1 }))),
        rollout(growth(50, 1.25, json!({ "numberOfNotifiedThings": 1 }))),
        rollout(growth(50, 2.0, json!({}))),
        rollout(growth(50, 2.0, both)),
        rollout(json!({ "exponentialRate": growth(5, 2.0, json!({}))["exponentialRate"] })),
        abort(json!([])),
        abort(json!([rule("FAILED", 0.0, 1)])),
        abort(json!([rule("FAILED", 100.5, 1)])),
        abort(json!([rule("FAILED", 1.005, 1)])),
        abort(json!([rule("FAILED", 10.0, 0)])),
        abort(json!([rule("CANCELED", 10.0, 1)])),
        abort(json!([rule("FAILED", 10.0, 1), rule("FAILED", 20.0, 1)])),
        retry(json!([{ "failureType": "REJECTED", "numberOfRetries": 1 }])),
        retry(json!([{ "failureType": "FAILED", "numberOfRetries": 11 }])),
        retry(json!([
            { "failureType": "FAILED", "numberOfRetries": 6 },
            { "failureType": "TIMED_OUT", "numberOfRetries": 5 },
        ])),
        retry(json!([
            { "failureType": "ALL", "numberOfRetries": 1 },
            { "failureType": "FAILED", "numberOfRetries": 1 },
        ])),
        schedule(json!({ "startTime": "2026-11-25T00:20" })),
        schedule(json!({ "startTime": "2027-11-27T00:00" })),
        schedule(json!({ "startTime": "2026-11-25T02:00:00Z" })),
        schedule(json!({ "startTime": "2026-11-25T02:00", "endTime": "2026-11-25T02:29" })),
        schedule(json!({ "endBehavior": "CANCEL" })),
        schedule(json!({ "maintenanceWindows": [] })),
        json!({ "jobExecutionRolloutConfig": {} }),
    ];
    refused(&invalid);
}

#[test]
fn names_and_targets_of_jobs_are_checked() {
    let mut cloud = Cloud::new();
    for (id, body, wanted) in [
        ("j.1", job(json!({})), "InvalidRequestException"),
        (&"x".repeat(65), job(json!({})), "InvalidRequestException"),
        ("j", json!([]), "InvalidRequestException"),
        (
            "j",
            job(json!({ "targets": [group("none")] })),
            "ResourceNotFoundException",
        ),
        (
            "j",
            job(json!({ "targets": [format!("{PREFIX}:thing/x")] })),
            "ResourceNotFoundException",
        ),
        ("j", job(json!({})), "ok"),
        ("j", job(json!({})), "ResourceAlreadyExistsException"),
    ] {
        cloud.now += 1;
        let verdict = cloud.verdict("PUT", &format!("/jobs/{id}"), &body);
        assert_eq!(verdict, wanted, "{id} {body}");
    }
}

#[test]
fn what_the_limits_permit_is_accepted_and_shown() {
    let mut cloud = Cloud::new();
    let wanted = json!({
        "description": "x".repeat(2028),
        "document": format!(r#"{{"a":"{}"}}"#, "ü".repeat(32_760)),
        "jobExecutionsRolloutConfig": growth(50, 1.5, json!({ "numberOfSucceededThings": 10 })),
        "abortConfig": { "criteriaList": [rule("ALL", 0.01, 1), rule("FAILED", 12.25, 3)] },
        "timeoutConfig": { "inProgressTimeoutInMinutes": 10_080 },
        "jobExecutionsRetryConfig": { "criteriaList": [
            { "failureType": "FAILED", "numberOfRetries": 4 },
            { "failureType": "TIMED_OUT", "numberOfRetries": 6 },
        ] },
        "tags": [{ "Key": "stage", "Value": "canary" }],
    });
    cloud.create("full", wanted.clone());
    let shown = cloud.job("full");
    for name in [
        "description",
        "jobExecutionsRolloutConfig",
        "abortConfig",
        "timeoutConfig",
        "jobExecutionsRetryConfig",
    ] {
        assert_eq!(shown[name], wanted[name], "{name}");
    }
    assert_eq!(shown["jobProcessDetails"]["numberOfQueuedThings"], 3);
    let document = cloud.ok("GET", "/jobs/full/job-document", &Value::Null);
    assert_eq!(document["document"], wanted["document"]);
    let tags = cloud.ok(
        "GET",
        &format!("/tags?resourceArn={PREFIX}:job/full"),
        &Value::Null,
    );
    assert_eq!(tags["tags"], wanted["tags"]);
}

#[test]
fn a_roll_out_goes_by_the_minute() {
    let names: Vec<_> = (0..40).map(|n| format!("t{n:02}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let rollout = |value: Value| json!({ "jobExecutionsRolloutConfig": value });
    let notified = |step: u64| json!({ "numberOfNotifiedThings": step });
    for (config, wanted) in [
        (json!({}), vec![40, 40]),
        (
            rollout(json!({ "maximumPerMinute": 15 })),
            vec![15, 30, 40, 40],
        ),
        (rollout(growth(5, 2.0, notified(10))), vec![5, 10, 20, 40]),
        (rollout(growth(10, 1.1, notified(10))), vec![10, 21, 33, 40]),
        (
            rollout(growth(5, 2.0, json!({ "numberOfSucceededThings": 1 }))),
            vec![5, 10, 15, 20],
        ),
    ] {
        let mut cloud = Cloud::with(&names);
        cloud.create("j", config.clone());
        assert_eq!(cloud.minutes("j", wanted.len()), wanted, "{config}");
    }
    // The clock jumps: each batch has its own time.
    let mut cloud = Cloud::with(&names);
    cloud.create("j", rollout(json!({ "maximumPerMinute": 15 })));
    let created = cloud.now;
    cloud.pass(3600);
    let (_, t16) = cloud.ask("t16", "$next/get", &json!({}));
    assert_eq!(t16["execution"]["queuedAt"], created + 60);
    assert_eq!(cloud.engine.due(), None);
}

#[test]
fn a_job_is_aborted_by_its_failures() {
    for (rules, said, wanted) in [
        (json!([rule("FAILED", 50.0, 1)]), vec!["FAILED"], "CANCELED"),
        (
            json!([rule("FAILED", 50.0, 2)]),
            vec!["FAILED"],
            "IN_PROGRESS",
        ),
        (
            json!([rule("FAILED", 50.01, 2)]),
            vec!["SUCCEEDED", "FAILED"],
            "IN_PROGRESS",
        ),
        (
            json!([rule("FAILED", 50.0, 2)]),
            vec!["SUCCEEDED", "FAILED"],
            "CANCELED",
        ),
        (
            json!([rule("FAILED", 1.0, 1)]),
            vec!["REJECTED", "SUCCEEDED"],
            "IN_PROGRESS",
        ),
        (
            json!([rule("ALL", 100.0, 2)]),
            vec!["REJECTED", "FAILED"],
            "CANCELED",
        ),
        (
            json!([rule("TIMED_OUT", 1.0, 1), rule("REJECTED", 1.0, 1)]),
            vec!["REJECTED"],
            "CANCELED",
        ),
    ] {
        let mut cloud = Cloud::new();
        cloud.create("j", json!({ "abortConfig": { "criteriaList": rules } }));
        cloud.say("c", "j", "IN_PROGRESS");
        for (thing, status) in ["a", "b"].iter().zip(&said) {
            cloud.say(thing, "j", status);
        }
        let job = cloud.job("j");
        assert_eq!(job["status"], wanted, "{rules} {said:?}");
        if wanted == "CANCELED" {
            assert_eq!(job["reasonCode"], "ABORT_CANCEL");
            // What is in progress stays, and may be finished.
            cloud.say("c", "j", "SUCCEEDED");
            assert_eq!(cloud.job("j")["status"], "CANCELED");
        }
    }
    let mut cloud = Cloud::new();
    cloud.create(
        "j",
        json!({ "abortConfig": { "criteriaList": [rule("FAILED", 50.0, 1)] } }),
    );
    cloud.say("a", "j", "FAILED");
    assert_eq!(
        cloud.job("j")["comment"],
        "Abort criteria for failure type FAILED with threshold 50.00% met. \
         Total completed executions: 1, total FAILED executions: 1"
    );
}
