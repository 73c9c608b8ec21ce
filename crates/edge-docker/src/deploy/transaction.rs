//! The switch itself: the new container is tried in the place of the old one,
//! and kept, or the old one comes back.
//!
//! Whatever is done is first written down. Until the new one has shown that it
//! works the engine starts neither by itself: after a power cut the unit
//! `edge-docker-recover` decides.

use std::time::Duration;

use anyhow::{Context, Result};
use edge_common::exit::Failure;
use edge_common::{Root, log};
use hyper::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use edge_common::contract::exit_code::{ROLLBACK_FAILED, ROLLED_BACK};

use super::health::Watch;
use super::journal::{Phase, Record};
use crate::engine::client as engine;
use crate::engine::containers::{self, Container};
use crate::engine::docker_cli;

/// How long a restarted engine is waited for.
const ENGINE: Duration = Duration::from_secs(90);
/// Last lines of a broken container that are shown and kept.
const LINES: &str = "--tail=20";
/// As much of them, in bytes.
const LARGEST: usize = 16 * 1024;

/// Names that only a switch gives: the container before, and, while a switch is
/// under way, the one before that, the next, and one that makes way.
pub const SUFFIXES: [&str; 4] = ["-previous", "-older", "-next", "-moving"];

/// `{"Name": "no"}`
pub fn never() -> Value {
    json!({ "Name": "no" })
}

/// Tries the new container, keeps it or goes back.
///
/// # Errors
/// Switched back, or not even that: see the exit codes.
pub async fn run(
    root: &Root,
    watch: &mut Watch,
    mut record: Record,
    limit: Duration,
) -> Result<()> {
    record.write(root)?;
    match attempt(root, watch, &record, limit).await {
        Ok(why) => {
            log::info(format_args!("{}: {why}", record.name));
            record.reason = why;
            record.phase = Phase::Keep;
            record.write(root)?;
            keep(root, &mut record).await
        }
        Err(error) => {
            record.reason = format!("{error:#}");
            back(root, &mut record).await
        }
    }
}

async fn attempt(
    root: &Root,
    watch: &mut Watch,
    record: &Record,
    limit: Duration,
) -> Result<String> {
    let name = &record.name;
    let mut names = Vec::new();
    if let Some(older) = &record.older {
        names.push((older.as_str(), format!("{name}-older")));
    }
    if let Some(old) = &record.old {
        containers::set_restart(root, &old.id, &never()).await?;
        names.push((old.id.as_str(), format!("{name}-previous")));
    }
    containers::set_restart(root, &record.new.id, &never()).await?;
    names.push((record.new.id.as_str(), name.clone()));
    containers::name(root, &names).await?;
    if let Some(old) = &record.old {
        let old = containers::find(root, &old.id).await?;
        let old = old.context("the old container is gone")?;
        containers::stop(root, &old).await?;
    }
    let policy = record.new.restart["Name"].as_str().unwrap_or_default();
    let once = ["", "no", "on-failure"].contains(&policy);
    watch.trial(root, &record.new.id, once, limit).await
}

/// The new container works: what is left to do, from wherever it was cut.
///
/// # Errors
/// The engine's; then it is done later.
pub async fn keep(root: &Root, record: &mut Record) -> Result<()> {
    let (name, new) = (record.name.clone(), record.new.clone());
    containers::set_restart(root, &new.id, &new.restart).await?;
    let container = containers::find(root, &new.id).await?;
    if container.is_some_and(|c| !c.state.running && c.state.exit_code != 0) {
        containers::start(root, &new.id).await?;
    }
    let mut names = vec![(new.id.as_str(), name.clone())];
    if let Some(old) = &record.old {
        names.push((old.id.as_str(), format!("{name}-previous")));
    }
    containers::name(root, &names).await?;
    if let Some(older) = record.older.take() {
        containers::remove(root, &older).await?;
    }
    record.phase = Phase::Switched;
    record.write(root)?;
    log::info(format_args!("{name} runs {}", record.image));
    Ok(())
}

/// The new container does not work: the old one comes back. Always an error,
/// with the reason; when it stays undone, the record says so and it is done
/// when the engine starts next, or before the next switch.
///
/// # Errors
/// Always.
pub async fn back(root: &Root, record: &mut Record) -> Result<()> {
    let (name, reason) = (record.name.clone(), record.reason.clone());
    log::warn(format_args!("{name}: {reason}"));
    let undone = undo(root, record).await;
    if let Err(error) = undone {
        let later = "it is tried again when the engine starts and before the next switch";
        return Err(Failure::error(
            ROLLBACK_FAILED,
            format_args!("{name}: {reason}; going back: {error:#}; {later}"),
        ));
    }
    record.phase = match record.old {
        Some(_) => Phase::Back,
        None => Phase::Down,
    };
    record.write(root)?;
    Err(match &record.old {
        Some(old) if old.running => Failure::error(
            ROLLED_BACK,
            format_args!("{name}: {reason}; switched back, the old one runs"),
        ),
        Some(_) => Failure::error(
            ROLLED_BACK,
            format_args!("{name}: {reason}; switched back, the old one is stopped as before"),
        ),
        None => Failure::error(
            ROLLBACK_FAILED,
            format_args!("{name}: {reason}; there is no older one, so it does not run"),
        ),
    })
}

async fn undo(root: &Root, record: &mut Record) -> Result<()> {
    ready(root).await?;
    let name = &record.name;
    let new = containers::find(root, &record.new.id).await?;
    let mut names = Vec::new();
    if let Some(old) = &record.old {
        names.push((old.id.as_str(), name.clone()));
    }
    if let Some(older) = &record.older {
        names.push((older.as_str(), format!("{name}-previous")));
    }
    match &new {
        Some(new) if record.fresh => {
            record.log = said(root, &new.id);
            containers::remove(root, &new.id).await?;
        }
        Some(new) => {
            containers::stop(root, new).await?;
            names.push((new.id.as_str(), format!("{name}-previous")));
        }
        None => {}
    }
    containers::name(root, &names).await?;
    if let Some(old) = &record.old {
        let found = containers::find(root, &old.id).await?;
        let found = found.context("the old container is gone")?;
        containers::set_restart(root, &old.id, &old.restart).await?;
        if old.running && !found.state.running {
            containers::start(root, &old.id).await?;
        }
    }
    Ok(())
}

/// The last lines of a container; they are shown too.
fn said(root: &Root, id: &str) -> String {
    let output = docker_cli::docker(root).args(["logs", LINES, id]).output();
    let Ok(output) = output else {
        return String::new();
    };
    let bytes = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LARGEST)..]);
    let lines: Vec<_> = text.lines().map(log::printable).collect();
    for line in &lines {
        log::info(format_args!("its log: {line}"));
    }
    lines.join("\n")
}

/// Waits for an engine that is being restarted.
async fn ready(root: &Root) -> Result<()> {
    let end = Instant::now() + ENGINE;
    loop {
        match engine::ask(root, Method::GET, "/version", None).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > end => return Err(error),
            // Nothing tells when a socket is listened on again.
            Err(_) => sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Finishes a switch that was cut.
///
/// # Errors
/// The engine's; then it stays open.
pub async fn recover(root: &Root, record: &mut Record) -> Result<()> {
    ready(root).await?;
    match record.phase {
        Phase::Keep => keep(root, record).await,
        Phase::Trial => {
            record.reason = "the switch was cut".into();
            match back(root, record).await {
                Err(error) if record.open() => Err(error),
                Err(error) => {
                    log::warn(format_args!("{error:#}"));
                    Ok(())
                }
                Ok(()) => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// May `container` be part of a switch to or from `app`?
pub fn belongs(container: &Container, app: &str) -> bool {
    container.app() == Some(app)
}
