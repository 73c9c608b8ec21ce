//! Beginning of a rollout and of its second stage.

use std::time::Duration;

use anyhow::{Context as _, Result};
use edge_common::exit::Failure;
use edge_common::{known_time, log};
use edge_signature::set::ReleaseSet;
use edge_signature::{Digest, ImageRef};

use crate::cli::rollout::Stages;
use crate::commands::consent;
use crate::exit_code::{REGISTRY, registry_error};
use crate::output::table;
use crate::project::config::Project;

use super::fleet::Fleet;
use super::stage::{JobId, Stage, request};

/// Reason of the canceled jobs of an older rollout.
const SUPERSEDED: &str = "SUPERSEDED";

/// Shows what changes, asks, cancels older rollouts and creates the job of the first stage.
pub(super) async fn start(
    project: &Project,
    fleet: &Fleet,
    number: Option<u64>,
    stages: &Stages,
    yes: bool,
) -> Result<()> {
    let (reference, set) = release_set(project, &fleet.group, number).await?;
    let (group, members) = fleet.members().await?;
    let ids = fleet.jobs().await?;
    // Devices refuse a lower number, and each of them would count as rejected.
    if let Some(newer) = ids
        .iter()
        .map(|id| id.number)
        .max()
        .filter(|n| *n > set.serial)
    {
        let why = format!("{} has a rollout of the newer set {newer}", fleet.group);
        return Err(Failure::error(2, why));
    }
    if ids.iter().any(|id| id.number == set.serial) {
        let why = format!(
            "the rollout of {} exists: use continue, resume or retry, or release another set",
            set.serial
        );
        return Err(Failure::error(2, why));
    }
    let canaries = usize::try_from(stages.canary)
        .unwrap_or(0)
        .min(members.len());
    show(fleet, &set, &members, canaries).await?;
    consent::confirm(&format!("Roll out to {} devices?", members.len()), yes)?;
    // Before the new job: devices would work on the older set in between.
    for id in ids {
        if fleet.stage(id.clone()).await?.is_open() {
            fleet.cancel(&id, SUPERSEDED).await?;
            log::info(format_args!("canceled {id}"));
        }
    }
    let mut id = JobId {
        group: fleet.group.clone(),
        number: set.serial,
        stage: "canary".into(),
    };
    let (targets, count) = match canaries {
        0 => {
            id = id.all();
            (vec![group], members.len())
        }
        // Always the same ones, so that people can put devices at hand there.
        _ => {
            let chosen = members.iter().take(canaries);
            (
                chosen.map(|thing| thing_arn(&group, thing)).collect(),
                canaries,
            )
        }
    };
    let job = request(&id, &targets, count, &reference, stages);
    fleet.create(&id, &job).await
}

/// Returns the reference of a release set by digest, and the set: the newest of the group, or
/// that with a number. Devices verify its signatures; here it is only shown.
async fn release_set(
    project: &Project,
    group: &str,
    number: Option<u64>,
) -> Result<(String, ReleaseSet)> {
    let registry = project.registry().await?;
    let prefix = format!("set.{group}.");
    let tags = registry.tags().await.map_err(registry_error)?;
    let numbers = tags
        .iter()
        .filter_map(|tag| tag.strip_prefix(&prefix)?.parse::<u64>().ok());
    // By number and not as text: v10 sorts before v9.
    let found = match number {
        Some(number) => numbers.into_iter().find(|found| *found == number),
        None => numbers.max(),
    };
    let found = found.ok_or_else(|| {
        let which = number.map_or("release set".into(), |number| {
            format!("release set {number}")
        });
        let why = format!("the registry has no {which} of {group}: run edge-app release {group}");
        Failure::error(REGISTRY, why)
    })?;
    let image = ImageRef {
        repository: registry.repository().clone(),
        tag: Some(format!("{prefix}{found}")),
        digest: None::<Digest>,
    };
    let manifest = registry.resolve(&image).await.map_err(registry_error)?;
    let proof = registry
        .set_artifact(&manifest.digest)
        .await
        .map_err(registry_error)?;
    let document = proof.document().map_err(registry_error)?;
    let set = ReleaseSet::parse(document).map_err(registry_error)?;
    if set.name != group || set.serial != found {
        let why = format!(
            "the set of tag {prefix}{found} is {} {}",
            set.name, set.serial
        );
        return Err(Failure::error(REGISTRY, why));
    }
    if set.expires <= known_time::clock() {
        let why = format!(
            "the set {found} expired at {}: release another one",
            table::date(set.expires)
        );
        return Err(Failure::error(REGISTRY, why));
    }
    Ok((
        format!("{}@{}", registry.repository(), manifest.digest),
        set,
    ))
}

/// Prints the apps of a set, and for each device what it runs and what it gets.
async fn show(fleet: &Fleet, set: &ReleaseSet, members: &[String], canaries: usize) -> Result<()> {
    let apps: Vec<_> = set
        .ordered()
        .iter()
        .map(|app| {
            vec![
                app.name.clone(),
                app.version.clone(),
                table::short(app.digest.as_str()),
            ]
        })
        .collect();
    let mut output = std::io::stderr().lock();
    table::write(&mut output, &["APP", "VERSION", "DIGEST"], &apps)?;
    let states = fleet.states().await?;
    let rows: Vec<_> = members
        .iter()
        .enumerate()
        .map(|(place, thing)| {
            let stage = if place < canaries { "canary" } else { "all" };
            let now = match states.as_ref().map(|states| states.get(thing)) {
                None => "unknown: no index of things".into(),
                Some(state) => state
                    .and_then(|state| state.number)
                    .map_or("no set".into(), |number| number.to_string()),
            };
            let then = match set.is_for(thing) {
                true if now == set.serial.to_string() => "unchanged".into(),
                true => set.serial.to_string(),
                false => "rejects the set: it is not for this device".into(),
            };
            vec![thing.clone(), stage.into(), now, then]
        })
        .collect();
    table::write(&mut output, &["DEVICE", "STAGE", "RUNS", "GETS"], &rows)
}

/// Returns the ARN of a thing of the same account and region as a group.
pub(super) fn thing_arn(group: &str, thing: &str) -> String {
    let prefix = group.split(":thinggroup/").next().unwrap_or_default();
    format!("{prefix}:thing/{thing}")
}

/// Creates the job of the whole group once the canaries have committed and soaked.
pub(super) async fn go_on(fleet: &Fleet, yes: bool) -> Result<()> {
    let stages = fleet.newest().await?;
    let canary = stages.last().context("the rollout has no stage")?;
    let refuse = |why: String| Err(Failure::error(1, why));
    if !canary.id.is_canary() {
        return refuse(format!(
            "{} is the last stage: see rollout status",
            canary.id
        ));
    }
    if canary.is_open() {
        return refuse(format!(
            "the canaries have not all committed: see rollout status {}",
            fleet.group
        ));
    }
    if canary.status() != "COMPLETED" || canary.unsuccessful() > 0 {
        return refuse(format!(
            "canaries did not take the set: see rollout status {}, release another set, or retry",
            fleet.group
        ));
    }
    let rest = soak_left(canary);
    if rest > 0 {
        return refuse(format!("the canaries soak for another {rest} s"));
    }
    healthy(fleet, canary).await?;
    let (Some(reference), Some(limits)) = (canary.reference(), canary.stages()) else {
        return refuse(format!(
            "the job {} has no tags of a rollout: start another one",
            canary.id
        ));
    };
    let (group, members) = fleet.members().await?;
    consent::confirm(&format!("Go on with {} devices?", members.len()), yes)?;
    let id = canary.id.all();
    let job = request(&id, &[group], members.len(), reference, &limits);
    fleet.create(&id, &job).await
}

/// Refuses if a canary no longer runs the set that it committed.
async fn healthy(fleet: &Fleet, canary: &Stage) -> Result<()> {
    // A succeeded job says that the set was committed once, not that it still runs.
    let Some(states) = fleet.states().await? else {
        log::warn("no index of things: whether the canaries stayed healthy is unknown");
        return Ok(());
    };
    for thing in fleet.with_status(&canary.id, "SUCCEEDED").await? {
        let number = states.get(&thing).and_then(|state| state.number);
        if let Some(number) = number.filter(|number| *number != canary.id.number) {
            let why = format!("the canary {thing} went to the set {number}: see its shadow");
            return Err(Failure::error(1, why));
        }
    }
    Ok(())
}

/// Returns the seconds until the canaries have soaked.
fn soak_left(canary: &Stage) -> u64 {
    let soak = canary.stages().map_or(0, |stages| stages.soak);
    match (soak, canary.ended()) {
        (0, _) | (_, None) => 0,
        // By AWS's time of the end and this laptop's clock: a wrong clock shifts the soak.
        (soak, Some(ended)) => (ended + soak).saturating_sub(known_time::clock()),
    }
}

/// Waits until the canaries have soaked.
pub(super) async fn await_soak(canary: &Stage) -> Result<()> {
    let rest = soak_left(canary);
    if rest > 0 {
        log::info(format_args!("the canaries soak for {rest} s"));
        tokio::time::sleep(Duration::from_secs(rest)).await;
    }
    Ok(())
}
