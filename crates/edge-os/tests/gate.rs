//! Verdicts of the gate: the new slot has to be as healthy as the old one was.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::time::Duration;

use edge_os::gate::{App, AppBefore, Before, Check, Now, Verdict, deadline, verdict};

const HOUR: u64 = 3600;

fn good() -> Now {
    Now {
        image: Check::Good,
        data: Check::Good,
        engine: Check::Good,
        policy: Check::Good,
        cloud: Check::Good,
        apps: BTreeMap::new(),
    }
}

fn before(apps: &[(&str, bool, bool)], reported_ago: Option<u64>) -> Before {
    let app = |&(name, healthy, critical): &(&str, bool, bool)| {
        let app = AppBefore {
            healthy,
            critical,
            gives_up_after: 0,
        };
        (name.to_string(), app)
    };
    Before {
        apps: apps.iter().map(app).collect(),
        reported_ago,
    }
}

#[test]
fn each_check_of_the_device_counts() {
    type Field = fn(&mut Now) -> &mut Check;
    let fields: [(&str, Field); 5] = [
        ("image", |n| &mut n.image),
        ("data", |n| &mut n.data),
        ("engine", |n| &mut n.engine),
        ("policy", |n| &mut n.policy),
        ("cloud", |n| &mut n.cloud),
    ];
    let before = before(&[], Some(60));
    assert!(
        matches!(verdict(&before, &good()), Verdict::Passed { not_checked } if not_checked.is_empty())
    );
    for (name, field) in fields {
        let mut now = good();
        *field(&mut now) = Check::Bad("x".into());
        assert!(matches!(verdict(&before, &now), Verdict::Failed { check, .. } if check == name));
        *field(&mut now) = Check::Pending("x".into());
        assert!(matches!(verdict(&before, &now), Verdict::Waiting { check, .. } if check == name));
    }
}

#[test]
fn a_device_without_uplink_updates_too() {
    let mut now = good();
    now.cloud = Check::Bad("no network".into());
    for (ago, counts) in [
        (Some(0), true),
        (Some(24 * HOUR), true),
        (Some(24 * HOUR + 1), false),
        (None, false),
    ] {
        match verdict(&before(&[], ago), &now) {
            Verdict::Failed { check, .. } => assert!(counts && check == "cloud"),
            Verdict::Passed { not_checked } => {
                assert!(!counts && not_checked[0].starts_with("cloud: "));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn only_apps_that_were_healthy_count() {
    let apps = [
        ("sick", false, true),
        ("toy", true, false),
        ("camera", true, true),
    ];
    let before = before(&apps, None);
    let mut now = good();
    let states = [
        (None, false),
        (Some(App::Starting), false),
        (Some(App::Unhealthy("exited (1)".into())), false),
        (Some(App::Healthy), true),
    ];
    for (state, passes) in states {
        now.apps = state
            .into_iter()
            .map(|s| ("camera".to_string(), s))
            .collect();
        match verdict(&before, &now) {
            Verdict::Passed { not_checked } => {
                assert!(passes);
                for name in ["sick", "toy"] {
                    assert!(
                        not_checked
                            .iter()
                            .any(|n| n.starts_with(&format!("app {name}: ")))
                    );
                }
            }
            Verdict::Waiting { check, .. } => assert!(!passes && check == "app camera"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn apps_get_the_time_of_their_health_checks() {
    let mut before = before(&[("a", true, true), ("sick", false, true)], None);
    let minutes = |m: u64| Duration::from_secs(m * 60);
    for (seconds, expected) in [
        (0, minutes(5)),
        (180, minutes(5)),
        (600, minutes(12)),
        (u64::MAX, minutes(60)),
    ] {
        before.apps.get_mut("a").unwrap().gives_up_after = seconds;
        assert_eq!(deadline(&before), expected);
    }
    before.apps.get_mut("a").unwrap().gives_up_after = 0;
    before.apps.get_mut("sick").unwrap().gives_up_after = 9999;
    assert_eq!(deadline(&before), minutes(5));
}
