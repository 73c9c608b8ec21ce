//! Verdict about a new slot: it stays if the device is as healthy as it was before the
//! update. What was sick before, or was not known, does not count against it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Age of the last report to the cloud up to which the new slot has to connect, too.
const REPORTED_WITHIN: Duration = Duration::from_secs(24 * 3600);
/// Shortest time until the verdict.
const SHORTEST_DEADLINE: Duration = Duration::from_secs(5 * 60);
/// Time that apps get beyond their own health checks.
const MARGIN: Duration = Duration::from_secs(2 * 60);
/// Longest time until the verdict, whatever an app states.
const LONGEST_DEADLINE: Duration = Duration::from_secs(60 * 60);

/// App before an update.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppBefore {
    /// Whether it ran and passed its health check.
    pub healthy: bool,
    /// Whether its signed run specification does not say `critical: false`.
    pub critical: bool,
    /// Time in which its signed health check gives up, in seconds.
    #[serde(default)]
    pub gives_up_after: u64,
}

/// Health of the device before an update.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Apps by name.
    #[serde(default)]
    pub apps: BTreeMap<String, AppBefore>,
    /// Age of the last report to the cloud, in seconds; absent if there was none.
    #[serde(default)]
    pub reported_ago: Option<u64>,
}

/// State of an app on the new slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum App {
    /// It runs, and passes its health check if it has one.
    Healthy,
    /// It has just been started, or waits for something.
    Starting,
    /// It does not run, or fails its health check; the text says which.
    Unhealthy(String),
}

/// Answer of a check that is not about an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// Passed.
    Good,
    /// Not yet known.
    Pending(String),
    /// Failed, and waiting does not help.
    Bad(String),
}

/// Health of the new slot at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Now {
    /// Root file system, firmware's slot and kernel belong together.
    pub image: Check,
    /// `/data` is mounted and writable.
    pub data: Check,
    /// The container engine answers, through its authorization plugin.
    pub engine: Check,
    /// A container without a signature is refused.
    pub policy: Check,
    /// The device's identity connects to the cloud.
    pub cloud: Check,
    /// Apps by name.
    pub apps: BTreeMap<String, App>,
}

/// Verdict about a new slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The slot stays. The checks that were left out are named.
    Passed {
        /// Names of checks that were left out, with the reason.
        not_checked: Vec<String>,
    },
    /// Something is not known yet: the deadline decides.
    Waiting {
        /// Name of the check.
        check: String,
        /// Event that is awaited.
        detail: String,
    },
    /// The slot does not stay.
    Failed {
        /// Name of the check.
        check: String,
        /// Finding of the check.
        detail: String,
    },
}

/// Compares the health of the new slot with that before the update.
pub fn verdict(before: &Before, now: &Now) -> Verdict {
    let mut not_checked = Vec::new();
    let mut checks = vec![
        ("image".to_string(), now.image.clone()),
        ("data".to_string(), now.data.clone()),
        ("engine".to_string(), now.engine.clone()),
        ("policy".to_string(), now.policy.clone()),
    ];
    match before.reported_ago {
        Some(ago) if ago <= REPORTED_WITHIN.as_secs() => {
            checks.push(("cloud".into(), now.cloud.clone()));
        }
        Some(_) => not_checked.push("cloud: no report within 24 h before the update".into()),
        None => not_checked.push("cloud: never reported before the update".into()),
    }
    for (name, app) in &before.apps {
        match (app.healthy, app.critical) {
            (true, true) => checks.push((format!("app {name}"), of_app(now.apps.get(name)))),
            (false, _) => not_checked.push(format!("app {name}: not healthy before the update")),
            (true, false) => not_checked.push(format!("app {name}: not critical")),
        }
    }
    let bad = checks.iter().find_map(|(name, check)| match check {
        Check::Bad(detail) => Some((name.clone(), detail.clone())),
        _ => None,
    });
    if let Some((check, detail)) = bad {
        return Verdict::Failed { check, detail };
    }
    let pending = checks.into_iter().find_map(|(name, check)| match check {
        Check::Pending(detail) => Some((name, detail)),
        _ => None,
    });
    match pending {
        Some((check, detail)) => Verdict::Waiting { check, detail },
        None => Verdict::Passed { not_checked },
    }
}

/// Returns the answer of an app. An unhealthy one may recover until the deadline, as it
/// may after every restart of the device.
fn of_app(app: Option<&App>) -> Check {
    match app {
        Some(App::Healthy) => Check::Good,
        Some(App::Starting) => Check::Pending("is starting".into()),
        Some(App::Unhealthy(detail)) => Check::Pending(detail.clone()),
        None => Check::Pending("has no container".into()),
    }
}

/// Returns the time after the start at which a slot without verdict does not stay: as
/// long as the slowest health check of an app that counts may take.
pub fn deadline(before: &Before) -> Duration {
    let counted = before.apps.values().filter(|a| a.healthy && a.critical);
    let slowest = counted.map(|a| a.gives_up_after).max().unwrap_or(0);
    let slowest = Duration::from_secs(slowest.min(LONGEST_DEADLINE.as_secs()));
    (slowest + MARGIN).clamp(SHORTEST_DEADLINE, LONGEST_DEADLINE)
}
