//! Transaction of a deployment: the new container is tried in the place of the old one.
//! If it does not work, the old one is restored.
//!
//! The journal is written before each phase. Until the new container has shown that it
//! works, neither container has a restart policy: after a power loss the engine starts
//! none of them, and the unit `edge-docker-recover` decides which one runs.

use std::time::Duration;

use anyhow::{Context, Result};
use edge_common::contract::exit_code::{ROLLBACK_FAILED, ROLLED_BACK};
use edge_common::contract::suffix;
use edge_common::exit::Failure;
use edge_common::{Root, log};
use hyper::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::health::Watch;
use super::journal::{Journal, Phase};
use crate::engine::{client, containers, docker_cli};

/// Timeout for an engine that is being restarted.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(90);
/// Pause between two requests to an engine that does not answer yet.
const ENGINE_POLL: Duration = Duration::from_millis(200);
/// Option of `docker logs`: the last 20 lines of a failed container are printed and kept.
const LOG_LINES: &str = "--tail=20";
/// Limit of the log of a failed container that is kept in the journal, in bytes.
const MAX_LOG_BYTES: usize = 16 * 1024;

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
    match attempt(root, watch, &journal, limit).await {
        Ok(reason) => {
            log::info(format_args!("{}: {reason}", journal.name));
            journal.reason = reason;
            journal.phase = Phase::Keep;
            journal.write(root)?;
            keep(root, &mut journal).await
        }
        Err(error) => {
            journal.reason = format!("{error:#}");
            Err(roll_back(root, &mut journal).await)
        }
    }
}

async fn attempt(
    root: &Root,
    watch: &mut Watch,
    journal: &Journal,
    limit: Duration,
) -> Result<String> {
    let name = &journal.name;
    // Beginning with the oldest, so that each name is free before the next container gets
    // it.
    let mut names = Vec::new();
    if let Some(older) = &journal.older {
        names.push((older.as_str(), format!("{name}{}", suffix::OLDER)));
    }
    if let Some(old) = &journal.old {
        containers::set_restart(root, &old.id, &no_restart()).await?;
        names.push((old.id.as_str(), format!("{name}{}", suffix::PREVIOUS)));
    }
    containers::set_restart(root, &journal.new.id, &no_restart()).await?;
    names.push((journal.new.id.as_str(), name.clone()));
    containers::rename(root, &names).await?;
    if let Some(old) = &journal.old {
        // Stopped as late as possible, for a short outage. The versions cannot run
        // together: both publish the same ports and write to the same directory.
        let old = containers::find(root, &old.id).await?;
        let old = old.context("the old container is gone")?;
        containers::stop(root, &old).await?;
    }
    let policy = journal.new.restart["Name"].as_str().unwrap_or_default();
    // With these policies the container may be a job, which ends with exit code 0.
    let once = ["", "no", "on-failure"].contains(&policy);
    watch.trial(root, &journal.new.id, once, limit).await
}

/// Completes the deployment of a container that works, also after an interruption at any
/// step.
async fn keep(root: &Root, journal: &mut Journal) -> Result<()> {
    let (name, new) = (journal.name.clone(), journal.new.clone());
    // Set first, because from then on the engine starts the new version after a power
    // loss.
    containers::set_restart(root, &new.id, &new.restart).await?;
    let container = containers::find(root, &new.id).await?;
    // A container that a power loss ended after its trial is started again. A job that
    // ended with exit code 0 is not.
    if container.is_some_and(|c| !c.state.running && c.state.exit_code != 0) {
        containers::start(root, &new.id).await?;
    }
    let mut names = vec![(new.id.as_str(), name.clone())];
    if let Some(old) = &journal.old {
        names.push((old.id.as_str(), format!("{name}{}", suffix::PREVIOUS)));
    }
    containers::rename(root, &names).await?;
    if let Some(older) = journal.older.take() {
        containers::remove(root, &older).await?;
    }
    journal.phase = Phase::Deployed;
    journal.write(root)?;
    log::info(format_args!("{name} runs {}", journal.image));
    Ok(())
}

/// Restores the old container and returns the error of the deployment. If the rollback
/// fails too, the journal stays open, and the rollback is tried again when the engine
/// starts and before the next deployment.
async fn roll_back(root: &Root, journal: &mut Journal) -> anyhow::Error {
    let (name, reason) = (journal.name.clone(), journal.reason.clone());
    log::warn(format_args!("{name}: {reason}"));
    if let Err(error) = undo(root, journal).await {
        // The phase in the journal is still `Trial`, which causes the next attempt.
        let later = "it is tried again when the engine starts and before the next deployment";
        return Failure::error(
            ROLLBACK_FAILED,
            format_args!("{name}: {reason}; rolling back: {error:#}; {later}"),
        );
    }
    journal.phase = match journal.old {
        Some(_) => Phase::RolledBack,
        None => Phase::Down,
    };
    if let Err(error) = journal.write(root) {
        return error;
    }
    match &journal.old {
        Some(old) if old.running => Failure::error(
            ROLLED_BACK,
            format_args!("{name}: {reason}; rolled back, the old one runs"),
        ),
        Some(_) => Failure::error(
            ROLLED_BACK,
            format_args!("{name}: {reason}; rolled back, the old one is stopped as before"),
        ),
        None => Failure::error(
            ROLLBACK_FAILED,
            format_args!("{name}: {reason}; there is no older one, so it does not run"),
        ),
    }
}

/// Restores the names, restart policies and states of the containers from the journal,
/// and removes or stops the new container.
async fn undo(root: &Root, journal: &mut Journal) -> Result<()> {
    wait_for_engine(root).await?;
    let name = &journal.name;
    let new = containers::find(root, &journal.new.id).await?;
    let mut names = Vec::new();
    if let Some(old) = &journal.old {
        names.push((old.id.as_str(), name.clone()));
    }
    if let Some(older) = &journal.older {
        names.push((older.as_str(), format!("{name}{}", suffix::PREVIOUS)));
    }
    match &new {
        Some(new) if journal.fresh => {
            // The log is removed with the container, so its end is kept in the journal
            // for `replace --status`.
            journal.log = last_lines(root, &new.id);
            containers::remove(root, &new.id).await?;
        }
        Some(new) => {
            containers::stop(root, new).await?;
            names.push((new.id.as_str(), format!("{name}{}", suffix::PREVIOUS)));
        }
        None => {}
    }
    containers::rename(root, &names).await?;
    if let Some(old) = &journal.old {
        let found = containers::find(root, &old.id).await?;
        let found = found.context("the old container is gone")?;
        // Set last: once the old container has its name again, the engine may start it.
        containers::set_restart(root, &old.id, &old.restart).await?;
        if old.running && !found.state.running {
            containers::start(root, &old.id).await?;
        }
    }
    Ok(())
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
    for line in &lines {
        log::info(format_args!("its log: {line}"));
    }
    lines.join("\n")
}

/// Waits until the engine answers requests, at most [`ENGINE_TIMEOUT`].
async fn wait_for_engine(root: &Root) -> Result<()> {
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
pub(super) async fn recover(root: &Root, journal: &mut Journal) -> Result<()> {
    wait_for_engine(root).await?;
    match journal.phase {
        Phase::Keep => keep(root, journal).await,
        Phase::Trial => {
            journal.reason = "the deployment was interrupted".into();
            let error = roll_back(root, journal).await;
            if journal.is_open() {
                return Err(error);
            }
            log::warn(format_args!("{error:#}"));
            Ok(())
        }
        Phase::Deployed | Phase::RolledBack | Phase::Down => Ok(()),
    }
}
