//! Deployments: `replace` runs a new container in the place of another one, `rollback`
//! runs the previous one again. If the container does not work, the one before is
//! restored.

mod arguments;
mod content;
pub(crate) mod damaged;
mod health;
mod interrupted;
mod places;
mod remake;
pub(crate) mod repair;
pub(crate) mod restore;
mod same;
mod steps;
mod supervise;
mod target;
mod transaction;
mod unloaded;

use std::io::Write;

use anyhow::{Context, Result, bail};
use edge_common::contract::deployment::RUNS_ALREADY;
use edge_common::contract::{label, suffix};
use edge_common::{Root, log};
use edge_docker_policy::cli::request::Request;
use edge_docker_policy::refusal::refuse;
use edge_signature::Verified;
use serde_json::Value;

use self::arguments::parse_head;
use self::health::Watch;
use self::places::Places;
use self::same::Relation;
use self::target::Target;
use self::transaction::IfOldFails;
use crate::break_glass;
use crate::create::Permitted;
use crate::engine::containers::{self, Container};
use crate::image::identify;
use crate::journal::{self, Journal, Kept};
use crate::ledger::{self, Decision};
use crate::mounts::collect;
use crate::stored::{created, damage, disk};
use crate::trust;

/// First argument of the process that carries out the deployment. A caller may also type
/// it: the checks are the same, only the separate process that waits is missing.
const DETACHED: &str = "--apart";

/// Carries out `replace NAME …`, `replace --check`, `--status` and `--recover`.
pub(crate) async fn replace(root: &Root, args: &[&str]) -> Result<()> {
    match args {
        ["--recover"] => {
            ledger::record(root, "replace --recover")?;
            recover(root).await
        }
        ["--status", names @ ..] => print_status(root, names),
        ["--check", args @ ..] => target::check(root, args).await,
        [DETACHED, args @ ..] => {
            supervise::detach();
            replace_detached(root, args).await
        }
        _ => supervise::run(root, "replace", args).await,
    }
}

/// Carries out `rollback NAME …`, which has the same journal and trial as `replace`.
pub(crate) async fn rollback(root: &Root, args: &[&str]) -> Result<()> {
    match args {
        [DETACHED, args @ ..] => {
            supervise::detach();
            rollback_detached(root, args).await
        }
        _ => supervise::run(root, "rollback", args).await,
    }
}

async fn replace_detached(root: &Root, args: &[&str]) -> Result<()> {
    // Before every other step: otherwise a signal could end this process between two
    // steps of the deployment.
    let mut watch = Watch::new()?;
    let mut target = Target::parse(root, args).await?;
    let (name, limit, force) = (&target.name.clone(), target.limit, target.force);
    let request = &mut target.request;
    let (image, allow_downgrade) = (request.image.clone(), request.allow_downgrade);
    let _lock = journal::lock(root, name)?;
    // An interrupted deployment may still occupy container names that this one needs.
    settle(root, name, IfOldFails::GiveUp).await?;
    let places = Places::find(root, name).await?;
    let restart = serde_json::to_value(&request.body.host_config.restart_policy);
    let restart = restart.context("writing the deployment journal")?;
    // The container is created with its restart policy, although the trial then sets
    // `no`: only the records of a container with a restart policy are durable.
    request.name = format!("{name}{}", suffix::NEXT);
    let permitted = target.permit(root).await?;
    places.note(root).await?;
    // Checked before the container is created, so that a refused deployment is not logged
    // as allowed.
    places.require_app(permitted.app())?;
    let current = places.current.as_ref();
    let relation = same::relation(root, &permitted, current)?;
    if relation == Relation::Equal && !force && same::works(root, &mut watch, current, limit).await
    {
        permitted.accept_running(root)?;
        print_result(
            &permitted,
            name,
            &format!("{RUNS_ALREADY}: nothing changed"),
        );
        return Ok(());
    }
    let same_version = relation != Relation::Other;
    let new = Kept {
        restart,
        ..create_next(root, name, &permitted).await?
    };
    let journal = Journal {
        new: Some(new),
        allow_downgrade,
        old: kept_current(root, &places).await?,
        same_version,
        previous: kept_previous(root, name, &places, same_version).await?,
        older: places.previous.map(|p| p.id).filter(|_| !same_version),
        ..Journal::new(name, permitted.app(), &image)
    };
    let result = transaction::run(root, &mut watch, journal, limit).await;
    if result.is_ok() {
        print_result(&permitted, name, &format!("runs: {image}"));
    }
    // An error is only a warning: unused clones are harmless until the next collection.
    if let Err(error) = collect::collect(root).await {
        log::warn(format_args!("{error:#}"));
    }
    result
}

/// Prints the result of a deployment on standard output, for edge-app.
fn print_result(permitted: &Permitted, name: &str, result: &str) {
    let version = permitted.version().map(|version| format!(" {version}"));
    // An error, for example of a closed pipe, is no failure of the deployment.
    let _ = writeln!(
        std::io::stdout(),
        "{name}{} {result}",
        version.unwrap_or_default()
    );
}

fn check(name: &str, request: &Request) -> Result<()> {
    if !request.name.is_empty() && request.name != name {
        return Err(refuse("replace: --name is the name that is replaced"));
    }
    if request.body.host_config.auto_remove {
        return Err(refuse("replace: --rm is refused: what runs is to be kept"));
    }
    Ok(())
}

/// Creates the container `NAME-next`. It is announced first, so that it is removed after
/// a power loss although no journal names it yet.
async fn create_next(root: &Root, name: &str, permitted: &Permitted) -> Result<Kept> {
    journal::announce(root, name, permitted.app())?;
    let created = match permitted.create(root, "replace").await {
        Ok(created) => created,
        Err(error) => {
            journal::withdraw(root, name)?;
            return Err(error);
        }
    };
    let image = permitted.image();
    let verified = image.verified.as_ref();
    Ok(Kept {
        image: image.id.clone(),
        number: verified.map(|v| v.annotations.release_number),
        ..Kept::new(&created.id)
    })
}

async fn kept_current(root: &Root, places: &Places) -> Result<Option<Kept>> {
    let Some(current) = &places.current else {
        return Ok(None);
    };
    let verified = still_verified(root, current).await?;
    Ok(Some(kept(current, verified.as_ref())))
}

/// Returns the record of the container to which a rollback returns, if the deployment is
/// one of the same version, after which it still does.
async fn kept_previous(
    root: &Root,
    name: &str,
    places: &Places,
    same_version: bool,
) -> Result<Option<Kept>> {
    let Some(previous) = places.previous.as_ref().filter(|_| same_version) else {
        return Ok(None);
    };
    let verified = still_verified(root, previous).await?;
    Ok(Some(Kept {
        restart: requested_restart(root, name, previous)?,
        ..kept(previous, verified.as_ref())
    }))
}

/// Returns the verified signature of an existing container. A container that is no longer
/// verified has no number that counts.
async fn still_verified(root: &Root, container: &Container) -> Result<Option<Verified>> {
    let trust = trust::load(root)?;
    let judged = identify::verified(root, &trust, "replace", &container.id).await;
    Ok(judged.ok().and_then(|j| j.verified))
}

/// Returns the ID, state and restart policy that a rollback restores.
fn kept(container: &Container, verified: Option<&Verified>) -> Kept {
    Kept {
        running: container.state.running || container.state.restarting,
        restart: container.restart().clone(),
        image: container.image.clone(),
        number: verified.map(|v| v.annotations.release_number),
        ..Kept::new(&container.id)
    }
}

async fn rollback_detached(root: &Root, args: &[&str]) -> Result<()> {
    let mut watch = Watch::new()?;
    let head = parse_head("rollback", args)?;
    let (name, limit) = (head.name, head.limit);
    if head.force || !head.rest.is_empty() {
        return Err(refuse("rollback takes NAME and --timeout SECS"));
    }
    let _lock = journal::lock(root, name)?;
    settle(root, name, IfOldFails::GiveUp).await?;
    let none = || {
        refuse(format_args!(
            "{name} has no previous version on this device"
        ))
    };
    let places = Places::find(root, name).await?;
    let previous = places.previous.as_ref().ok_or_else(none)?;
    let image = previous.label(label::IMAGE).ok_or_else(none)?;
    // The signing key may have been withdrawn since the container was deployed.
    let judged = identify::verified(root, &trust::load(root)?, "rollback", &previous.id).await?;
    damage::require_intact(root, "rollback", name, &previous.image)?;
    let app = previous.app().unwrap_or_default();
    places.require_app(app)?;
    places.note(root).await?;
    let decision = Decision {
        verb: "rollback",
        image,
        container: name,
        ..Decision::default()
    };
    decision.record(root)?;
    let journal = Journal {
        new: Some(Kept {
            restart: requested_restart(root, name, previous)?,
            ..kept(previous, judged.verified.as_ref())
        }),
        fresh: false,
        // In a rollback the two containers exchange their names, and none is removed.
        old: kept_current(root, &places).await?,
        ..Journal::new(name, app, image)
    };
    transaction::run(root, &mut watch, journal, limit).await
}

/// Returns the restart policy with which the previous container was created, from the
/// journal or its create request: at the engine it is `no` while the container is kept as
/// `NAME-previous`.
fn requested_restart(root: &Root, name: &str, previous: &Container) -> Result<Value> {
    let last = journal::read(root, name)?;
    let both = last.map(|j| [j.old, j.new]).into_iter().flatten();
    let kept = both.flatten().find(|k| k.id == previous.id);
    let policy = match kept {
        Some(kept) => kept.restart,
        // After a deployment that failed, the journal has only the ID of the previous one.
        None => match created::find(root, &previous.id)? {
            Some(request) => request["HostConfig"]["RestartPolicy"].clone(),
            None => previous.restart().clone(),
        },
    };
    Ok(if policy.is_null() {
        transaction::no_restart()
    } else {
        policy
    })
}

/// Finishes an interrupted deployment of `name`, if its journal is open.
async fn settle(root: &Root, name: &str, rule: IfOldFails) -> Result<()> {
    if let Some(mut journal) = journal::read_or_set_aside(root, name)? {
        if journal.is_open() {
            transaction::recover(root, &mut journal, rule).await?;
        }
    }
    let Some(app) = journal::announced(root, name) else {
        return Ok(());
    };
    transaction::wait_for_engine(root).await?;
    let next = containers::named(root, &format!("{name}{}", suffix::NEXT)).await?;
    // Names with this suffix are reserved for deployments, so this is the announced
    // container, if it is of the announced app.
    if let Some(next) = next.filter(|next| next.app() == Some(&app)) {
        log::warn(format_args!("removing {}, left over", next.name()));
        containers::remove(root, &next.id).await?;
    }
    journal::withdraw(root, name)
}

/// Carries out `replace --recover`: recreates containers that the boot audit has kept from
/// the engine, finishes every interrupted deployment, except those that another process
/// has locked, and starts the containers that ran when the engine was killed.
async fn recover(root: &Root) -> Result<()> {
    let mut failed = unloaded::withhold(root, &disk::data_root(root)?).await?;
    // First, because the deployments name their containers.
    failed += remake::all(root).await?;
    if let Err(error) = break_glass::resume(root) {
        log::error(format_args!("{error:#}"));
        failed += 1;
    }
    let mut names = journal::names(root)?;
    names.extend(journal::announced_names(root)?);
    // A lock without a record goes when it is released.
    names.extend(journal::lock_names(root)?);
    names.sort();
    names.dedup();
    for name in names {
        let Ok(_lock) = journal::lock(root, &name) else {
            continue;
        };
        if let Err(error) = settle(root, &name, IfOldFails::StayOpen).await {
            log::error(format_args!("{error:#}"));
            failed += 1;
        }
    }
    // Last, because the deployments decide which of their containers run.
    failed += interrupted::all(root).await?;
    if failed > 0 {
        bail!("{failed} containers or deployments could not be recovered");
    }
    Ok(())
}

/// Carries out `replace --status [NAME …]`: prints the journals of all or the given
/// names, one JSON object per line.
fn print_status(root: &Root, names: &[&str]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for name in journal::names(root)? {
        if !names.is_empty() && !names.contains(&name.as_str()) {
            continue;
        }
        if let Some(journal) = journal::read(root, &name)? {
            let text = serde_json::to_string(&journal).context("writing the journal")?;
            writeln!(out, "{text}").context("writing to standard output")?;
        }
    }
    Ok(())
}
