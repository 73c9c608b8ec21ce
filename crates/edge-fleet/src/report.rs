//! Report of the state of release sets, which edge-heartbeat puts into the shadow `fleet` as it
//! is.

use anyhow::{Context, Result};
use edge_common::Root;
use edge_common::contract::limit::FLEET_REPORT_BYTES;
use edge_common::contract::path::FLEET_REPORT;
use edge_common::file;
use serde_json::{Value, json};

use crate::converge::{Disk, Rest, Status, World, drift};

/// Maximum number of apps in each list; a count tells how many there are.
const MAX_LISTED: usize = 16;
/// Size limit of a text that people wrote, in characters.
const MAX_TEXT_CHARS: usize = 120;

/// Returns the report, within the size limit of the shadow. `rest` is the reason for which the
/// run ended.
pub fn report(disk: &Disk, world: &World, rest: Option<&Rest>) -> Value {
    let mut most = MAX_LISTED;
    loop {
        let report = with_lists(disk, world, rest, most);
        if most == 0 || report.to_string().len() as u64 <= FLEET_REPORT_BYTES {
            return report;
        }
        most /= 2;
    }
}

fn with_lists(disk: &Disk, world: &World, rest: Option<&Rest>, most: usize) -> Value {
    let mut report = json!({ "v": 1, "phase": "none", "reason": reason(rest) });
    if let Some(standing) = &disk.standing {
        report["phase"] = "standing".into();
        report["set"] = json!({ "name": cut(&standing.name), "number": standing.number });
        let plan = world.sets.get(&standing.set);
        report["proved"] = plan.is_some().into();
        let others = world
            .apps
            .keys()
            .filter(|app| plan.is_some_and(|plan| !plan.names(app)));
        list(
            &mut report,
            "unmanaged",
            others.map(|app| json!(cut(app))).collect(),
            most,
        );
    }
    if let Some(candidate) = &disk.candidate {
        report["phase"] = candidate.phase.name().into();
        report["candidate"] = json!({ "name": cut(&candidate.name), "number": candidate.number });
    }
    let held = disk.holds.holds.iter().map(|(app, hold)| {
        json!({
            "app": cut(app), "door": cut(&hold.door), "who": cut(&hold.who),
            "until": hold.until, "reason": cut(&hold.reason),
        })
    });
    list(&mut report, "held", held.collect(), most);
    let apps = drift(disk, world).into_iter().map(|app| {
        let failures = disk.repairs.apps.get(&app);
        json!({
            "app": cut(&app),
            "failures": failures.map_or(0, |failures| failures.count),
            "message": failures.map_or(String::new(), |failures| cut(&failures.message)),
        })
    });
    list(&mut report, "drift", apps.collect(), most);
    if let Some(last) = disk
        .results
        .last
        .as_ref()
        .filter(|l| l.status != Status::Succeeded)
    {
        let detail = |key: &str| cut(last.details.get(key).map_or("", String::as_str));
        report["refused"] = json!({
            "name": cut(&last.name), "number": last.number, "status": last.status,
            "reason": detail("reason"), "app": detail("app"), "message": detail("message"),
        });
    }
    report
}

/// Adds a list with at most `most` elements, and the number of all if some are left out.
fn list(report: &mut Value, name: &str, mut elements: Vec<Value>, most: usize) {
    let count = elements.len();
    elements.truncate(most);
    if elements.len() < count {
        report[format!("{name}_count")] = count.into();
    }
    report[name] = elements.into();
}

/// Returns the reason for which a run ended, for programs.
fn reason(rest: Option<&Rest>) -> Option<&'static str> {
    Some(match rest? {
        Rest::Idle => "idle",
        Rest::Offline => "offline",
        Rest::Held(_) => "held",
        Rest::Window => "window",
        Rest::Drift(_) => "drift",
    })
}

fn cut(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(MAX_TEXT_CHARS).map(visible).collect()
}

/// Writes the report, if it changed.
///
/// # Errors
/// The file cannot be written; it keeps its old content.
pub fn write(root: &Root, report: &Value) -> Result<bool> {
    let path = root.path(FLEET_REPORT);
    let directory = path.parent().context("a path without a directory")?;
    file::create_directory(directory, 0o700)?;
    file::ensure(&path, report.to_string().as_bytes(), 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::converge::{App, Condition, Deployed, Hold, Plan, Planned, Standing};

    fn deployed() -> Deployed {
        Deployed {
            digest: format!("sha256:{}", "a".repeat(64)),
            version: "v1".into(),
        }
    }

    fn state(apps: usize, text: &str) -> (Disk, World) {
        let (mut disk, mut world) = (Disk::default(), World::default());
        let name = |n: usize| format!("{}-{n}", "a".repeat(50));
        disk.standing = Some(Standing {
            set: "sha256:1".into(),
            name: "barn".into(),
            number: 7,
            fields: Default::default(),
        });
        let planned = |n| Planned {
            app: name(n),
            deployed: deployed(),
        };
        world.sets.insert(
            "sha256:1".into(),
            Plan {
                name: "barn".into(),
                number: 7,
                apps: (0..apps).map(planned).collect(),
                remove: Vec::new(),
                window: None,
                settle: 0,
            },
        );
        for n in apps..3 * apps {
            let app = App {
                deployed: deployed(),
                condition: Condition::Healthy,
            };
            world.apps.insert(name(n), app);
            let hold = Hold {
                door: "stop".into(),
                who: text.into(),
                until: Some(5),
                reason: text.into(),
            };
            disk.holds.holds.insert(name(n), hold);
        }
        (disk, world)
    }

    #[test]
    fn a_report_names_set_holds_and_drift() {
        let (disk, world) = state(1, "a\nb");
        let report = report(&disk, &world, Some(&Rest::Offline));
        assert_eq!(report["set"], json!({ "name": "barn", "number": 7 }));
        assert_eq!(
            (&report["phase"], &report["reason"]),
            (&json!("standing"), &json!("offline"))
        );
        assert_eq!(report["held"].as_array().unwrap().len(), 2);
        assert_eq!(report["held"][0]["reason"], "a b");
        assert_eq!(report["drift"][0]["failures"], 0);
        assert_eq!(report["unmanaged"].as_array().unwrap().len(), 2);
        let empty = super::report(&Disk::default(), &World::default(), None);
        assert_eq!(empty["phase"], "none");
    }

    #[test]
    fn a_large_state_fits_and_is_counted() {
        let text = "\"é\\".repeat(400);
        let (disk, world) = state(64, &text);
        let report = report(&disk, &world, None);
        assert!(report.to_string().len() as u64 <= FLEET_REPORT_BYTES);
        assert_eq!(report["held_count"], 128);
        assert_eq!(report["drift_count"], 64);
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        assert!(write(&root, &report).unwrap() && !write(&root, &report).unwrap());
        let text = file::read(&root.path(FLEET_REPORT), FLEET_REPORT_BYTES).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), report);
    }
}
