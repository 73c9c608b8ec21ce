use serde_json::json;

use super::sources::{Quarantined, Seen, Sources};
use super::*;
use crate::engine::containers::State;
use crate::journal::{Journal, Phase};
use crate::ledger::events::Event;

fn state(more: &serde_json::Value) -> State {
    let mut all = json!({ "Running": false, "Restarting": false, "ExitCode": 0,
        "OOMKilled": false, "StartedAt": "2026-11-26T10:00:00Z", "Error": "" });
    for (key, value) in more.as_object().unwrap() {
        all[key] = value.clone();
    }
    serde_json::from_value(all).unwrap()
}

fn with(more: &serde_json::Value) -> Sources {
    let seen = Seen {
        name: "hello".into(),
        app: "hello".into(),
        version: "1.2".into(),
        state: state(more),
        damage: None,
    };
    Sources {
        containers: vec![seen],
        ..Sources::default()
    }
}

fn event(verb: &str, args: &[&str], verdict: &str, rule: &str) -> Event {
    Event {
        time: "2026-11-26T11:00:00Z".into(),
        who: "edge".into(),
        verb: verb.into(),
        args: args.iter().map(ToString::to_string).collect(),
        is_allowed: verdict == "allowed",
        is_denied: verdict == "denied",
        rule: rule.into(),
        ..Event::default()
    }
}

/// Checks that the explanation of `hello` contains each of the texts.
fn says(sources: &Sources, texts: &[&str]) {
    let all = one("hello", sources).unwrap().join("\n");
    for text in texts {
        assert!(all.contains(text), "{text}: {all}");
    }
}

#[test]
fn states_of_a_container() {
    let health = |status: &str| {
        json!({ "Running": true, "Health": { "Status": status,
        "Log": [{ "Output": "old" }, { "Output": "port 80\nis closed\n" }] } })
    };
    for (more, texts) in [
        (health("healthy"), &["hello: 1.2 runs, healthy"][..]),
        (health("starting"), &["no result yet"]),
        (
            health("unhealthy"),
            &[
                "its health check fails: port 80 | is closed",
                "next: edge-docker logs",
            ],
        ),
        (json!({ "Running": true }), &["without a health check"]),
        (
            json!({ "Running": true, "Paused": true }),
            &["next: edge-docker unpause hello"],
        ),
        (
            json!({ "Running": true, "Restarting": true, "ExitCode": 7 }),
            &["exit code 7"],
        ),
        (
            json!({ "ExitCode": 3 }),
            &["does not run", "exit code 3", "logs --tail 50 hello"],
        ),
        (
            json!({ "ExitCode": 137, "OOMKilled": true }),
            &["exceeded its memory limit"],
        ),
        (
            json!({ "StartedAt": "0001-01-01T00:00:00Z" }),
            &["never started", "start hello"],
        ),
        (
            json!({ "Error": "no such device" }),
            &["could not start it: no such device"],
        ),
    ] {
        says(&with(&more), texts);
    }
}

#[test]
fn a_healthy_app_has_no_reason_and_a_damaged_one_has() {
    let mut sources = with(&json!({ "Running": true }));
    assert_eq!(one("hello", &sources).unwrap().len(), 1);
    sources.containers[0].damage = Some("usr/bin/app differs".into());
    says(
        &sources,
        &[
            "are damaged: usr/bin/app differs",
            "edge-docker pull hello-1.2",
        ],
    );
}

#[test]
fn who_stopped_or_removed_it() {
    let mut sources = with(&json!({ "ExitCode": 143 }));
    sources.events = vec![event("stop", &["stop", "hello"], "allowed", "on the list")];
    says(
        &sources,
        &[
            "was stopped at 2026-11-26T11:00:00Z by edge",
            "edge-docker start hello",
        ],
    );
    sources.containers.clear();
    sources.events = vec![event(
        "rm",
        &["rm", "-f", "hello"],
        "allowed",
        "on the list",
    )];
    says(&sources, &["was removed at", "by edge"]);
}

#[test]
fn refusals_of_the_audit() {
    let mut sources = Sources {
        quarantined: vec![Quarantined {
            name: "hello".into(),
            time: "T".into(),
            rule: "the version was revoked".into(),
        }],
        ..Sources::default()
    };
    says(
        &sources,
        &["quarantined its container at T: the version was revoked"],
    );
    sources.withheld = vec!["hello".into()];
    let mut audited = event(
        "audit-stored",
        &["audit-stored"],
        "failed",
        "reading: I/O error",
    );
    audited.container = "hello".into();
    sources.events = vec![audited];
    says(
        &sources,
        &["withholds its container", "I/O error", "restart the device"],
    );
    // A container that runs: the quarantine is the past.
    sources.containers = with(&json!({ "Running": true })).containers;
    assert_eq!(one("hello", &sources).unwrap().len(), 1);
}

#[test]
fn the_last_refusal_until_something_was_brought_into_service() {
    let mut sources = with(&json!({ "Running": true }));
    let args = ["replace", "hello", "hello-v3"];
    let refused = event("replace", &args, "denied", "no signature by a trusted key");
    let allowed = event(
        "replace",
        &["replace", "hello", "hello-v2"],
        "allowed",
        "signed",
    );
    sources.events = vec![refused.clone(), allowed.clone()];
    says(
        &sources,
        &[
            "`replace hello hello-v3` refused at",
            "no signature by a trusted key",
            "edge-docker ledger --since 2026-11-26T11:00:00Z",
        ],
    );
    sources.events = vec![allowed, refused.clone()];
    assert_eq!(one("hello", &sources).unwrap().len(), 1);
    // Of another app whose name begins in the same way.
    sources.events = vec![event(
        "run",
        &["run", "-d", "hello-world-1"],
        "denied",
        "no",
    )];
    assert_eq!(one("hello", &sources).unwrap().len(), 1);
    // An app that was never here.
    sources.containers.clear();
    sources.events = vec![event(
        "run",
        &["run", "-d", "hello-1.0"],
        "denied",
        "level look",
    )];
    says(
        &sources,
        &[
            "has no container",
            "`run -d hello-1.0` refused",
            "level look",
        ],
    );
}

#[test]
fn deployments_and_units() {
    let mut journal = Journal::new("hello", "hello", "hello-v3");
    journal.phase = Phase::RolledBack;
    journal.reason = "exit code 7".into();
    let mut sources = with(&json!({ "Running": true }));
    sources.journals = vec![journal];
    sources.events = vec![event(
        "replace",
        &["replace", "hello"],
        "failed",
        "exit code 7",
    )];
    let lines = one("hello", &sources).unwrap();
    assert_eq!(lines.len(), 3, "{lines:?}");
    says(
        &sources,
        &[
            "the version before runs again: exit code 7",
            "replace --status hello",
        ],
    );
    sources.journals[0].phase = Phase::Down;
    says(&sources, &["there is no older version"]);
    sources.units = vec!["hello.service: line 2: User= is refused".into()];
    says(
        &sources,
        &["/data/services/hello.service: line 2: User= is refused"],
    );
    sources.units = vec!["other.timer: line 9: x".into()];
    assert!(
        all(&sources)
            .join("\n")
            .contains("a unit is not used: /data/services/other.timer: line 9")
    );
}

#[test]
fn an_engine_that_is_down_and_unknown_apps() {
    let sources = Sources {
        engine_error: Some("the container engine does not answer".into()),
        ..Sources::default()
    };
    says(
        &sources,
        &[
            "no app runs: the container engine does not answer",
            "next: restart",
        ],
    );
    let error = one("hullo", &with(&json!({}))).unwrap_err().to_string();
    assert!(
        error.contains("no app hullo") && error.contains("has hello"),
        "{error}"
    );
    assert_eq!(
        all(&Sources::default()),
        ["no app, and nothing was refused"]
    );
}
