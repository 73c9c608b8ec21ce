//! Progress of a rollout: stages, counters, devices that did not take the set.

use std::time::Duration;

use anyhow::Result;
use edge_common::exit::Failure;
use edge_common::log;
use serde_json::{Value, json};

use crate::exit_code::PARTIAL;
use crate::output::table;

use super::fleet::Fleet;
use super::stage::{COUNTERS, Stage};

/// Columns of a table of stages.
pub(super) const HEAD: [&str; 8] = [
    "STAGE", "STATUS", "QUEUED", "RUNNING", "DONE", "FAILED", "REJECTED", "SET",
];
/// Time between two looks at a rollout.
const PAUSE: Duration = Duration::from_secs(5);
/// Width of the bar, in characters.
const BAR: u64 = 24;

/// Returns a stage as a row of a table.
pub(super) fn row(stage: &Stage) -> Vec<String> {
    let count = |name: &str| stage.count(name).to_string();
    let status = match stage.reason() {
        "" => stage.status().to_string(),
        reason => format!("{} ({reason})", stage.status()),
    };
    let failed = stage.count("numberOfFailedThings") + stage.count("numberOfTimedOutThings");
    vec![
        stage.id.stage.clone(),
        status,
        count("numberOfQueuedThings"),
        count("numberOfInProgressThings"),
        count("numberOfSucceededThings"),
        failed.to_string(),
        count("numberOfRejectedThings"),
        stage.id.number.to_string(),
    ]
}

/// Prints the newest rollout once, or until it has ended.
pub(super) async fn status(fleet: &Fleet, json: bool, watch: bool) -> Result<()> {
    let stages = match watch {
        true => wait(fleet).await?,
        false => fleet.newest().await?,
    };
    print(fleet, &stages, json).await
}

/// Waits until no stage of the newest rollout runs; returns its stages.
pub(super) async fn wait(fleet: &Fleet) -> Result<Vec<Stage>> {
    let mut last = String::new();
    loop {
        let stages = fleet.newest().await?;
        // Only what changed: the log of a CI job is no terminal.
        let line = stages.last().map_or(String::new(), bar);
        if line != last {
            log::info(&line);
            last = line;
        }
        if !stages.iter().any(Stage::is_open) {
            return Ok(stages);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Returns the progress of a stage on one line.
fn bar(stage: &Stage) -> String {
    let counts = COUNTERS.map(|(name, counter)| (name, stage.count(counter)));
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    let ended: u64 = counts[2..].iter().map(|(_, count)| count).sum();
    let full = usize::try_from((ended * BAR).checked_div(total).unwrap_or(0)).unwrap_or(0);
    let empty = usize::try_from(BAR).unwrap_or(0).saturating_sub(full);
    let named = counts.iter().filter(|(_, count)| *count > 0);
    let named: Vec<_> = named
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    format!(
        "{} [{}{}] {ended}/{total}: {}",
        stage.id.stage,
        "=".repeat(full),
        " ".repeat(empty),
        named.join(", ")
    )
}

/// Prints stages, failed devices, and devices that wait. Failed devices are an error with an
/// exit code of its own.
pub(super) async fn print(fleet: &Fleet, stages: &[Stage], json: bool) -> Result<()> {
    let mut failed = Vec::new();
    for stage in stages {
        failed.push(fleet.failed(stage).await?);
    }
    let waiting = waiting(fleet).await?;
    if json {
        let list = stages.iter().zip(&failed);
        let list: Vec<_> = list.map(|(stage, failed)| stage.to_json(failed)).collect();
        let newest = stages.last();
        table::print_json(&json!({
            "group": fleet.group,
            "number": newest.map(|stage| stage.id.number),
            "set": newest.and_then(Stage::reference),
            "stages": list, "waiting": waiting,
        }))?;
    } else {
        table::print(&HEAD, &stages.iter().map(row).collect::<Vec<_>>());
        print_failed(&failed.concat());
        for (thing, phase) in &waiting {
            println!("{thing}: {phase}");
        }
        if let Some(hint) = stages.last().and_then(|stage| hint(fleet, stage)) {
            log::info(hint);
        }
    }
    // Of the newest stage alone: a retry that worked makes the rollout a success.
    let count: u64 = stages.last().map_or(0, Stage::unsuccessful);
    match count {
        0 => Ok(()),
        count => Err(Failure::error(
            PARTIAL,
            format_args!("{count} devices did not take the set"),
        )),
    }
}

fn print_failed(failed: &[Value]) {
    if failed.is_empty() {
        return;
    }
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_string();
    let rows: Vec<_> = failed
        .iter()
        .map(|entry| {
            let details = &entry["details"];
            let lines = ["app", "lines", "message"].map(|key| text(details, key));
            vec![
                text(entry, "thing"),
                text(entry, "status"),
                text(details, "reason"),
                lines.join(" ").trim().to_string(),
            ]
        })
        .collect();
    println!();
    table::print(&["DEVICE", "STATUS", "REASON", "DETAILS"], &rows);
}

/// Returns the members that are held or wait for their window, with the phase.
async fn waiting(fleet: &Fleet) -> Result<Vec<(String, String)>> {
    let states = fleet.states().await?.unwrap_or_default();
    // Their executions stay QUEUED, which never times out, so no counter tells them apart.
    let waits = |phase: &str| matches!(phase, "held" | "window");
    let waiting = states.into_iter().filter(|(_, state)| waits(&state.phase));
    Ok(waiting.map(|(thing, state)| (thing, state.phase)).collect())
}

/// Returns the command that comes next.
fn hint(fleet: &Fleet, stage: &Stage) -> Option<String> {
    let command = match (stage.status(), stage.reason()) {
        ("COMPLETED", _) if stage.id.is_canary() && stage.unsuccessful() == 0 => "continue",
        ("COMPLETED", _) if stage.unsuccessful() > 0 => "retry",
        ("CANCELED", "PAUSED") => "resume",
        ("CANCELED", "ABORT_CANCEL") => "retry",
        ("IN_PROGRESS", _) => "status --watch",
        _ => return None,
    };
    Some(format!("next: edge-app rollout {command} {}", fleet.group))
}
