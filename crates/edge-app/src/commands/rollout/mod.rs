//! `rollout`: brings a release set to a group of devices by AWS IoT Jobs. The state of a
//! rollout is its jobs, so that each command begins by reading them.

mod fleet;
pub(crate) mod group;
mod stage;
mod start;
mod status;

use anyhow::{Result, bail};
use edge_common::exit::Failure;
use edge_common::log;
use serde_json::{Value, json};

use crate::cli::rollout::{Group, RolloutCommand};
use crate::commands::consent;
use crate::output::table;
use crate::project::config::Project;

use fleet::Fleet;
use stage::{Stage, request};

/// Reason of a canceled job that `resume` goes on after.
const PAUSED: &str = "PAUSED";
/// Reason of a canceled job that is not to go on.
const ABORTED: &str = "ABORTED";

/// Runs a subcommand of `rollout`.
pub(crate) async fn run(project: &Project, command: RolloutCommand) -> Result<()> {
    match command {
        RolloutCommand::Start {
            group,
            set,
            stages,
            consent,
            wait,
        } => {
            let fleet = Fleet::new(&group.group).await?;
            start::start(project, &fleet, set, &stages, consent.yes).await?;
            ended(&fleet, &group, wait).await
        }
        RolloutCommand::Continue {
            group,
            consent,
            wait,
        } => {
            let fleet = Fleet::new(&group.group).await?;
            start::go_on(&fleet, consent.yes).await?;
            ended(&fleet, &group, wait).await
        }
        RolloutCommand::Status { group, watch } => {
            let fleet = Fleet::new(&group.group).await?;
            status::status(&fleet, group.output.json, watch).await
        }
        RolloutCommand::Pause(group) => end(&group, PAUSED, true).await,
        RolloutCommand::Abort { group, consent } => end(&group, ABORTED, consent.yes).await,
        RolloutCommand::Resume(group) => {
            let fleet = Fleet::new(&group.group).await?;
            resume(&fleet).await?;
            ended(&fleet, &group, false).await
        }
        RolloutCommand::Retry { group, consent } => {
            let fleet = Fleet::new(&group.group).await?;
            retry(&fleet, consent.yes).await?;
            ended(&fleet, &group, false).await
        }
        RolloutCommand::History(group) => history(&group).await,
    }
}

/// Prints the state after a command, or waits until the rollout has ended.
async fn ended(fleet: &Fleet, group: &Group, wait: bool) -> Result<()> {
    if !wait {
        let stages = fleet.newest().await?;
        return status::print(fleet, &stages, group.output.json).await;
    }
    loop {
        let stages = status::wait(fleet).await?;
        let newest = &stages[stages.len() - 1];
        // Nobody watches --wait: with a failed canary people decide.
        if !newest.id.is_canary() || newest.unsuccessful() > 0 {
            return status::print(fleet, &stages, group.output.json).await;
        }
        start::await_soak(newest).await?;
        start::go_on(fleet, true).await?;
    }
}

fn newest(stages: &[Stage]) -> Result<&Stage> {
    match stages.last() {
        Some(stage) => Ok(stage),
        None => bail!("the rollout has no stage"),
    }
}

/// Cancels the open stage of the newest rollout.
async fn end(group: &Group, reason: &str, yes: bool) -> Result<()> {
    let fleet = Fleet::new(&group.group).await?;
    let stages = fleet.newest().await?;
    let open: Vec<_> = stages.iter().filter(|stage| stage.is_open()).collect();
    if open.is_empty() {
        log::info(format_args!("{} has no stage that runs", group.group));
    } else {
        consent::confirm("Abort the rollout?", yes)?;
    }
    for stage in open {
        fleet.cancel(&stage.id, reason).await?;
    }
    let stages = fleet.newest().await?;
    status::print(&fleet, &stages, group.output.json).await
}

/// Returns what a stage states of its rollout.
fn stated(stage: &Stage) -> Result<(&str, crate::cli::rollout::Stages)> {
    match (stage.reference(), stage.stages()) {
        (Some(reference), Some(stages)) => Ok((reference, stages)),
        _ => bail!(
            "the job {} has no tags of a rollout: start another one",
            stage.id
        ),
    }
}

/// Creates another job for a group whose rollout was paused. Devices that have the set
/// answer at once.
async fn resume(fleet: &Fleet) -> Result<()> {
    let stages = fleet.newest().await?;
    let paused = newest(&stages)?;
    if paused.status() != "CANCELED" || paused.reason() != PAUSED {
        let why = format!("the rollout is {} and not paused", paused.status());
        return Err(Failure::error(1, why));
    }
    let (reference, limits) = stated(paused)?;
    let (arn, members) = fleet.members().await?;
    // AWS has no pause: a canceled job cannot go on, so a new one takes those that are left.
    let id = paused.id.again();
    let (targets, count) = match id.is_canary() {
        true => {
            let left = fleet.with_status(&paused.id, "CANCELED").await?;
            let targets: Vec<_> = left
                .iter()
                .map(|thing| start::thing_arn(&arn, thing))
                .collect();
            let count = targets.len();
            (targets, count)
        }
        false => (vec![arn], members.len()),
    };
    if targets.is_empty() {
        return Err(Failure::error(1, "no canary is left: go on with continue"));
    }
    let job = request(&id, &targets, count, reference, &limits);
    fleet.create(&id, &job).await
}

/// Creates another job for the devices that failed or timed out in the newest stage.
async fn retry(fleet: &Fleet, yes: bool) -> Result<()> {
    let stages = fleet.newest().await?;
    let last = newest(&stages)?;
    if last.is_open() {
        let why = format!("the stage {} still runs: pause or abort it first", last.id);
        return Err(Failure::error(1, why));
    }
    let (reference, limits) = stated(last)?;
    let mut things = fleet.with_status(&last.id, "FAILED").await?;
    things.extend(fleet.with_status(&last.id, "TIMED_OUT").await?);
    if things.is_empty() {
        return Err(Failure::error(
            1,
            format!("no device failed in {}", last.id),
        ));
    }
    // A job has at most 100 targets.
    if things.len() > 100 {
        log::warn(format_args!(
            "{} devices failed: the first 100 are tried",
            things.len()
        ));
        things.truncate(100);
    }
    log::info(format_args!(
        "{} devices: {}",
        things.len(),
        things.join(", ")
    ));
    consent::confirm("Try again?", yes)?;
    let (group, _) = fleet.members().await?;
    let targets: Vec<_> = things
        .iter()
        .map(|thing| start::thing_arn(&group, thing))
        .collect();
    let id = last.id.again();
    let job = request(&id, &targets, things.len(), reference, &limits);
    fleet.create(&id, &job).await
}

async fn history(group: &Group) -> Result<()> {
    let fleet = Fleet::new(&group.group).await?;
    let mut stages = Vec::new();
    for id in fleet.jobs().await? {
        stages.push(fleet.stage(id).await?);
    }
    if group.output.json {
        let list: Vec<Value> = stages.iter().map(|stage| stage.to_json(&[])).collect();
        return table::print_json(&json!({ "group": fleet.group, "stages": list }));
    }
    let rows: Vec<_> = stages.iter().map(status::row).collect();
    table::print(&status::HEAD, &rows);
    Ok(())
}
