//! `edge-fleet status` and `hold`.

use anyhow::Result;
use edge_common::contract::path::FLEET_REPORT;
use edge_common::exit::{self, Failure};
use edge_common::{Root, file, holds, log, time};
use serde_json::{Value, json};

use crate::converge::{Disk, Status, World};
use crate::exit_code::{DAMAGED, PENDING, REFUSED};
use crate::{clock, report, state};

/// Prints set, phase, holds and results.
///
/// # Errors
/// As the exit codes of `--help` say.
pub(crate) fn print(root: &Root, is_json: bool) -> Result<()> {
    require_access(root)?;
    let loaded = state::load(root, clock::now(root));
    let faults = loaded.faults();
    let mut report = report::report(&loaded.disk, &World::default(), None);
    take_from_last(root, &mut report);
    report["damaged"] = json!(faults);
    match is_json {
        true => println!("{report}"),
        false => print_text(&report),
    }
    judge(&loaded.disk, &report, &faults)
}

/// Fails with the exit code of a user who may not read the state.
fn require_access(root: &Root) -> Result<()> {
    let path = root.path(FLEET_REPORT);
    path.parent().map_or(Ok(()), exit::denied_access)
}

/// Takes up what the last run knew of the apps.
fn take_from_last(root: &Root, report: &mut Value) {
    let limit = edge_common::contract::limit::FLEET_REPORT_BYTES;
    let text = file::read(&root.path(FLEET_REPORT), limit).unwrap_or_default();
    let last: Value = serde_json::from_slice(&text).unwrap_or_default();
    for key in [
        "drift",
        "drift_count",
        "unmanaged",
        "unmanaged_count",
        "proved",
        "reason",
    ] {
        if let Some(value) = last.get(key) {
            report[key] = value.clone();
        }
    }
}

fn judge(disk: &Disk, report: &Value, faults: &[String]) -> Result<()> {
    if !faults.is_empty() {
        return Err(Failure::error(DAMAGED, faults.join("; ")));
    }
    if let Some(candidate) = &disk.candidate {
        return Err(Failure::error(
            PENDING,
            format_args!(
                "set {} {}: {}",
                candidate.name,
                candidate.number,
                candidate.phase.name()
            ),
        ));
    }
    let drift = report["drift"].as_array().map_or(0, Vec::len);
    if drift > 0 {
        let message = format_args!("{drift} apps do not run as the set says");
        return Err(Failure::error(PENDING, message));
    }
    let last = disk.results.last.as_ref();
    match last.filter(|last| last.status != Status::Succeeded) {
        Some(last) => Err(Failure::error(
            REFUSED,
            format_args!("set {} {} was not carried out", last.name, last.number),
        )),
        None => Ok(()),
    }
}

fn print_text(report: &Value) {
    let set = |value: &Value| match value["name"].as_str() {
        Some(name) => format!("{name} {}", value["number"]),
        None => "none".into(),
    };
    let text = |value: &Value| log::printable(value.as_str().unwrap_or_default());
    println!("set       {}", set(&report["set"]));
    println!("phase     {}", text(&report["phase"]));
    if !report["candidate"].is_null() {
        println!("candidate {}", set(&report["candidate"]));
    }
    let list = |key: &str| report[key].as_array().cloned().unwrap_or_default();
    for hold in list("held") {
        println!("held      {}", hold_line(&hold));
    }
    for drift in list("drift") {
        let (app, message) = (text(&drift["app"]), text(&drift["message"]));
        println!("drift     {app}: {} failures  {message}", drift["failures"]);
    }
    let refused = &report["refused"];
    if !refused.is_null() {
        let parts = ["status", "reason", "app", "message"].map(|key| text(&refused[key]));
        println!("refused   {}: {}", set(refused), parts.join(" ").trim());
    }
    for fault in list("damaged") {
        println!("damaged   {}", text(&fault));
    }
    if let Some(reason) = report["reason"].as_str() {
        println!("last run  {}", log::printable(reason));
    }
}

fn hold_line(hold: &Value) -> String {
    let text = |key: &str| log::printable(hold[key].as_str().unwrap_or_default());
    let until = match hold["until"].as_u64() {
        Some(until) => format!("until {}", time::rfc3339(until)),
        None => "until it is ended".into(),
    };
    let line = [
        text("app"),
        text("door"),
        text("who"),
        until,
        text("reason"),
    ];
    let parts: Vec<_> = line.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("  ")
}

/// Prints the holds in effect.
///
/// # Errors
/// The file is damaged.
pub(crate) fn print_holds(root: &Root) -> Result<()> {
    require_access(root)?;
    let holds = holds::read(root).map_err(|error| Failure::wrap(DAMAGED, error))?;
    for (app, hold) in holds.in_effect(clock::now(root)).holds {
        let mut value = serde_json::to_value(hold)?;
        value["app"] = app.into();
        println!("{}", hold_line(&value));
    }
    Ok(())
}

/// Ends the hold of an app, or all.
///
/// # Errors
/// The file is damaged and an app is named, or it cannot be written.
pub(crate) fn end_holds(root: &Root, app: Option<&str>) -> Result<()> {
    require_access(root)?;
    let ended = holds::end(root, app)?;
    for app in &ended {
        println!("{app} is held no more");
    }
    if let (true, Some(app)) = (ended.is_empty(), app) {
        println!("{} was not held", log::printable(app));
    }
    Ok(())
}
