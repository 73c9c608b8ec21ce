//! Transaction of a deployment: the new container is tried in the place of the old one.
//! If it does not work, the old one is restored.
//!
//! The journal is written before each phase. Until the new container has shown that it
//! works, neither container has a restart policy: after a power loss the engine starts
//! none of them, and the unit `edge-docker-recover` decides which one runs.

use std::time::Duration;

use anyhow::{Context, Result};
use edge_common::contract::exit_code::{ROLLBACK_FAILED, ROLLED_BACK};
use edge_common::contract::{label, suffix};
use edge_common::exit::Failure;
use edge_common::{Root, log};
use edge_docker_policy::refusal::{Refusal, refuse};
use hyper::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::content;
use super::health::Watch;
use super::steps::{step, title};
use crate::engine::containers::Container;
use crate::engine::error::EngineError;
use crate::engine::{client, containers, docker_cli};
use crate::image::unused::{self, Which};
use crate::image::{identify, release_numbers};
use crate::journal::{self, Journal, Kept, Phase};
use crate::ledger::{Decision, Verdict};
use crate::mounts::owners;
use crate::stored::{app_limits, damage};
use crate::trust;
use crate::units;

/// Timeout for an engine that is being restarted.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(90);
/// Pause between two requests to an engine that does not answer yet.
const ENGINE_POLL: Duration = Duration::from_millis(200);
/// Option of `docker logs`: the last 20 lines of a failed container are printed and kept.
const LOG_LINES: &str = "--tail=20";
/// Limit of the log of a failed container that is kept in the journal, in bytes.
const MAX_LOG_BYTES: usize = 16 * 1024;
/// Reason of a rollback if the new container was removed meanwhile.
const NEW_IS_GONE: &str = "the new container is gone";

/// Returns the restart policy `no` in the form of the engine's API: the engine never
/// starts the container by itself.
pub(super) fn no_restart() -> Value {
    json!({ "Name": "no" })
}

/// Tries the new container and keeps it if it works. Otherwise restores the old one and
/// returns the reason as an error.
pub(super) async fn run(
    root: &Root,
    watch: &mut Watch,
    mut journal: Journal,
    limit: Duration,
) -> Result<()> {
    journal.write(root)?;
    journal::withdraw(root, &journal.name)?;
    match attempt(root, watch, &journal, limit).await {
        Ok(reason) => {
            step(&reason);
            journal.reason = reason;
            journal.phase = Phase::Keep;
            journal.write(root)?;
            keep(root, &mut journal).await
        }
        Err(error) => {
            journal.reason = format!("{error:#}");
            record_failure(root, &journal);
            Err(roll_back(root, &mut journal, IfOldFails::StayOpen).await)
        }
    }
}

/// Records the reason of a failed deployment in the ledger. The error of the command has
/// only the result.
fn record_failure(root: &Root, journal: &Journal) {
    let decision = Decision {
        verb: if journal.fresh { "replace" } else { "rollback" },
        image: &journal.image,
        container: &journal.name,
        ..Decision::default()
    };
    decision.record_failure(root, Verdict::Failed, &journal.reason);
}

async fn attempt(
    root: &Root,
    watch: &mut Watch,
    journal: &Journal,
    limit: Duration,
) -> Result<String> {
    let name = &journal.name;
    let new = journal.new.as_ref().context(NEW_IS_GONE)?;
    content::early(root, watch, &new.id, !journal.fresh).await?;
    // Beginning with the oldest, so that each name is free before the next container gets
    // it.
    let mut names = Vec::new();
    if let Some(older) = &journal.older {
        names.push((older.as_str(), format!("{name}{}", suffix::OLDER)));
    }
    if let Some(old) = &journal.old {
        containers::set_restart(root, &old.id, &no_restart()).await?;
        // The same version is nothing to return to: its place is that of the version
        // which a success removes.
        let suffix = match journal.same_version {
            true => suffix::OLDER,
            false => suffix::PREVIOUS,
        };
        names.push((old.id.as_str(), format!("{name}{suffix}")));
    }
    containers::set_restart(root, &new.id, &no_restart()).await?;
    names.push((new.id.as_str(), name.clone()));
    containers::rename(root, &names).await?;
    if let Some(old) = &journal.old {
        // Stopped as late as possible, for a short outage. The versions cannot run
        // together: both publish the same ports and write to the same directory.
        if let Some(old) = containers::find(root, &old.id).await? {
            if old.state.running {
                step(format_args!("stopping {}", title(name, &old)));
            }
            containers::stop(root, &old).await?;
        }
    }
    content::last(root, &new.id, !journal.fresh).await?;
    if let Some(new) = containers::find(root, &new.id).await? {
        step(format_args!("starting {}", title(name, &new)));
    }
    watch.trial(root, &new.id, may_be_job(new), limit).await
}

/// Returns whether the container may be a job, which ends with exit code 0, by its restart
/// policy.
fn may_be_job(kept: &Kept) -> bool {
    let policy = kept.restart["Name"].as_str().unwrap_or_default();
    ["", "no", "on-failure"].contains(&policy)
}

/// Completes the deployment of a container that works, also after an interruption at any
/// step. If that container is gone meanwhile or does not start again, the old one is
/// restored.
async fn keep(root: &Root, journal: &mut Journal) -> Result<()> {
    let name = journal.name.clone();
    let new = match running(root, journal).await {
        Ok(new) => new,
        Err(error) if error.is::<EngineError>() || error.is::<Refusal>() => {
            journal.reason = format!("{error:#}");
            return Err(roll_back(root, journal, IfOldFails::StayOpen).await);
        }
        Err(error) => return Err(error),
    };
    let mut names = vec![(new.id.as_str(), name.clone())];
    if let Some(old) = journal.old.as_ref().filter(|_| !journal.same_version) {
        names.push((old.id.as_str(), format!("{name}{}", suffix::PREVIOUS)));
    }
    containers::rename(root, &names).await?;
    let made = containers::find(root, &new.id).await?;
    let is_temporary = made.is_some_and(|made| made.label(label::TICKET).is_some());
    if let Some(number) = new.number.filter(|_| !is_temporary) {
        // The commit. An error is only logged: the version works, and the boot audit
        // raises the floor from what has run.
        let allow = journal.allow_downgrade;
        if let Err(error) = release_numbers::raise(root, &journal.app, number, allow) {
            log::error(format_args!(
                "release numbers of {}: {error:#}",
                journal.app
            ));
        }
    }
    if let Some(older) = journal.older.take() {
        containers::remove(root, &older).await?;
    }
    if journal.same_version {
        if let Some(old) = &journal.old {
            containers::remove(root, &old.id).await?;
        }
        journal.old = journal.previous.take();
    }
    journal.phase = Phase::Deployed;
    journal.write(root)?;
    units::update(root, &name).await;
    let report = |image: &str| log::info(format_args!("removed the old image {image}"));
    // An error is only a warning: `image prune` removes the images later.
    if let Err(error) = unused::remove(root, Which::Outdated, Some(&name), report).await {
        log::warn(format_args!("{error:#}"));
    }
    Ok(())
}

/// Sets the restart policy of the new container, and starts it if a power loss ended it
/// after its trial.
async fn running(root: &Root, journal: &Journal) -> Result<Kept> {
    let gone = || refuse(NEW_IS_GONE);
    let new = journal.new.clone().ok_or_else(gone)?;
    let container = containers::find(root, &new.id).await?.ok_or_else(gone)?;
    // Set first, because from then on the engine starts the new version after a power
    // loss.
    containers::set_restart(root, &new.id, &new.restart).await?;
    // A job that ended with exit code 0 is not started again.
    let is_done = container.state.exit_code == 0 && may_be_job(&new);
    if !container.state.running && !is_done {
        start(root, &new.id).await?;
    }
    Ok(new)
}

/// Starts a container after the same checks as `edge-docker start`: keys and sandbox
/// policy may have changed with the device image since the deployment began.
async fn start(root: &Root, id: &str) -> Result<()> {
    let judged = identify::verified(root, &trust::load(root)?, "replace", id).await?;
    let image = judged.found["Image"].as_str().unwrap_or_default();
    damage::require_intact(root, "replace", id, image)?;
    app_limits::apply_to(root, id, &judged.found);
    owners::give(root, id, &judged.found).await?;
    let started = containers::start(root, id).await;
    app_limits::end_start(root, &judged.found);
    started
}

/// Rule for an old container that cannot be started in a rollback.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum IfOldFails {
    /// The journal stays open, so that the start is tried again.
    StayOpen,
    /// The journal is closed, because a new deployment is about to begin, which could
    /// otherwise never run.
    GiveUp,
}

/// Restores the old container and returns the error of the deployment. If the rollback
/// fails too, the journal stays open, and the rollback is tried again when the engine
/// starts and before the next deployment.
async fn roll_back(root: &Root, journal: &mut Journal, rule: IfOldFails) -> anyhow::Error {
    let (name, reason) = (journal.name.clone(), journal.reason.clone());
    let new = find_new(root, journal).await;
    log::warn(format_args!("{}: {reason}", new.unwrap_or(name.clone())));
    if let Err(error) = undo(root, journal, rule).await {
        // The phase in the journal is still open, which causes the next attempt.
        let later = "it is tried again when the engine starts and before the next deployment";
        return Failure::error(
            ROLLBACK_FAILED,
            format_args!("{name}: rolling back: {error:#}; {later}"),
        );
    }
    journal.phase = match journal.old {
        Some(_) => Phase::RolledBack,
        None => Phase::Down,
    };
    if let Some(previous) = journal.previous.take() {
        journal.older = Some(previous.id);
    }
    if let Err(error) = journal.write(root) {
        return error;
    }
    let old = find_title(root, journal).await;
    match &journal.old {
        Some(kept) if kept.running => {
            Failure::error(ROLLED_BACK, format_args!("rolled back, {old} runs"))
        }
        Some(_) => Failure::error(
            ROLLED_BACK,
            format_args!("rolled back, {old} is stopped as before"),
        ),
        None => Failure::error(
            ROLLBACK_FAILED,
            format_args!("there is no older one, so {name} does not run"),
        ),
    }
}

/// Returns name and version of the new container; `None` if it is gone.
async fn find_new(root: &Root, journal: &Journal) -> Option<String> {
    let new = containers::find(root, &journal.new.as_ref()?.id).await;
    Some(title(&journal.name, &new.ok()??))
}

/// Returns name and version of the container that was restored.
async fn find_title(root: &Root, journal: &Journal) -> String {
    let name = &journal.name;
    match containers::named(root, name).await {
        Ok(Some(old)) => title(name, &old),
        _ => name.clone(),
    }
}

/// Restores the names, restart policies and states of the containers from the journal,
/// and removes or stops the new container. A container that is gone leaves the journal.
async fn undo(root: &Root, journal: &mut Journal, rule: IfOldFails) -> Result<()> {
    wait_for_engine(root).await?;
    let mut names = Vec::new();
    let name = &journal.name;
    let old = find_kept(root, &mut journal.old).await?;
    if let Some(old) = &journal.old {
        names.push((old.id.clone(), name.clone()));
    }
    if let Some(older) = &journal.older {
        names.push((older.clone(), format!("{name}{}", suffix::PREVIOUS)));
    }
    match find_kept(root, &mut journal.new).await? {
        Some(new) if journal.fresh => {
            // The log is removed with the container, so its end is kept in the journal
            // for `replace --status`.
            journal.log = last_lines(root, &new.id);
            containers::remove(root, &new.id).await?;
        }
        Some(new) => {
            containers::stop(root, &new).await?;
            names.push((new.id, format!("{name}{}", suffix::PREVIOUS)));
        }
        None => {}
    }
    let names: Vec<_> = names.iter().map(|(i, n)| (i.as_str(), n.clone())).collect();
    containers::rename(root, &names).await?;
    let (Some(kept), Some(found)) = (&mut journal.old, old) else {
        return Ok(());
    };
    // Also if it runs: the deployment may have ended before its stop.
    content::give_back(root, &kept.id).await;
    // Set last: once the old container has its name again, the engine may start it.
    containers::set_restart(root, &kept.id, &kept.restart).await?;
    if kept.running && !found.state.running {
        match start(root, &kept.id).await {
            Err(error) if rule == IfOldFails::GiveUp => {
                log::error(format_args!(
                    "{name}: the old one does not start: {error:#}"
                ));
                kept.running = false;
            }
            result => result?,
        }
    }
    Ok(())
}

/// Returns the container of a journal entry; clears the entry if the container is gone,
/// for example by a quarantine.
async fn find_kept(root: &Root, kept: &mut Option<Kept>) -> Result<Option<Container>> {
    let Some(id) = kept.as_ref().map(|k| k.id.clone()) else {
        return Ok(None);
    };
    let found = containers::find(root, &id).await?;
    if found.is_none() {
        *kept = None;
    }
    Ok(found)
}

/// Prints the last log lines of a container and returns them.
fn last_lines(root: &Root, id: &str) -> String {
    let mut docker = docker_cli::docker(root);
    let Ok(output) = docker.args(["logs", LOG_LINES, id]).output() else {
        // An unreadable log must not prevent the rollback.
        return String::new();
    };
    let bytes = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(MAX_LOG_BYTES)..]);
    let lines: Vec<_> = text.lines().map(log::printable).collect();
    if !lines.is_empty() {
        log::info("its last lines:");
    }
    for line in &lines {
        log::info(format_args!("  {line}"));
    }
    lines.join("\n")
}

/// Waits until the engine answers requests, at most [`ENGINE_TIMEOUT`].
pub(super) async fn wait_for_engine(root: &Root) -> Result<()> {
    let end = Instant::now() + ENGINE_TIMEOUT;
    loop {
        match client::request(root, Method::GET, "/version", None).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > end => return Err(error),
            // Polling: no event announces that the engine accepts connections again.
            Err(_) => sleep(ENGINE_POLL).await,
        }
    }
}

/// Finishes an interrupted deployment: completes it in phase `Keep`, rolls back in phase
/// `Trial`.
pub(super) async fn recover(root: &Root, journal: &mut Journal, rule: IfOldFails) -> Result<()> {
    wait_for_engine(root).await?;
    let result = match journal.phase {
        Phase::Keep => keep(root, journal).await.inspect(|()| {
            log::info(format_args!("{} runs {}", journal.name, journal.image));
        }),
        Phase::Trial => {
            journal.reason = "the deployment was interrupted".into();
            Err(roll_back(root, journal, rule).await)
        }
        Phase::Deployed | Phase::RolledBack | Phase::Down => Ok(()),
    };
    match result {
        Err(error) if !journal.is_open() => {
            log::warn(format_args!("{error:#}"));
            Ok(())
        }
        result => result,
    }
}
