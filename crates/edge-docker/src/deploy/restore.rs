//! End of a break-glass ticket: containers that were created under it are removed, and its
//! apps return to their signed specification.
//!
//! Every step can be repeated. What is left to do stands in the durable record, so that an
//! interrupted end is completed by the next call, at the latest after a restart.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_common::contract::{label, suffix};
use edge_common::{Root, file, lock, log};
use edge_docker_policy::cli::levels::SignedForm;
use hyper::Method;
use serde_json::Value;

use super::{remake, transaction};
use crate::break_glass::{self, AppState, Change, Effect};
use crate::engine::client;
use crate::engine::containers::{self, Container};
use crate::journal::{self, Phase};
use crate::ledger::Decision;
use crate::mounts::collect;
use crate::signed_app::SignedApp;
use crate::stored::{disk, replacement};
use crate::tickets;
use crate::trust;
use crate::units;

/// Lock of the end: two at once would both recreate a container.
const LOCK: &str = "/run/edge-docker/break-glass-end.lock";

/// Time that the end waits for a deployment under way.
const DEPLOYMENT_TIMEOUT: Duration = Duration::from_secs(120);
/// Pause between two attempts to get the lock of a deployment.
const DEPLOYMENT_POLL: Duration = Duration::from_millis(100);

/// Notes the states of all containers that commands under the ticket may replace.
pub(crate) async fn note_states(root: &Root, effect: &Effect) -> Result<()> {
    let mut found = Vec::new();
    for container in list(root, label::RUN).await? {
        let app = container["Labels"][label::APP].as_str().unwrap_or_default();
        let is_signed = container["Labels"][label::RUN].as_str() != Some("");
        let id = container["Id"].as_str().unwrap_or_default();
        if is_signed && is_of_ticket(&container).is_none() && effect.covers(app) {
            found.extend(client::find(root, &format!("/containers/{id}/json")).await?);
        }
    }
    break_glass::note(root, effect, &found)
}

/// Notes the state of a container before a command under a ticket changes it. Refuses a
/// container of another app. Does nothing for a command that needs no ticket.
pub(crate) async fn note_change(root: &Root, id: &str) -> Result<()> {
    if break_glass::in_use().is_none() {
        return Ok(());
    }
    match client::find(root, &format!("/containers/{id}/json")).await? {
        Some(found) => break_glass::change(root, &found, Change::State),
        None => Ok(()),
    }
}

/// Returns all containers with a label, in the form of the engine's list.
async fn list(root: &Root, label: &str) -> Result<Vec<Value>> {
    let filters = format!("%7B%22label%22%3A%5B%22{label}%22%5D%7D");
    let path = format!("/containers/json?all=1&filters={filters}");
    let found = client::request(root, Method::GET, &path, None).await?;
    let found = found.as_array().cloned();
    found.context("the engine's response is no list")
}

/// Returns the ID of the ticket under which a container of the list was created.
fn is_of_ticket(container: &Value) -> Option<&str> {
    let id = container["Labels"][label::TICKET].as_str();
    id.filter(|id| !id.is_empty())
}

/// Ends the ticket in effect, and undoes what was done under it. Returns a line about it,
/// or `None` if no ticket is open.
pub(crate) async fn end(root: &Root, why: &str) -> Result<Option<String>> {
    let path = root.path(LOCK);
    file::create_directory(path.parent().unwrap_or(&path), 0o700)?;
    file::put(&path, b"", 0o600)?;
    let _lock = lock::exclusive(&path)?;
    let Some(open) = break_glass::stop(root)? else {
        break_glass::close(root)?;
        return Ok(None);
    };
    let reason = format!("the ticket {} has ended: {why}", open.id);
    let decision = Decision {
        verb: "ticket end",
        image: &open.id,
        reason: &reason,
        ..Decision::default()
    };
    decision.record(root)?;
    transaction::wait_for_engine(root).await?;
    // A command that docker's client is about to send would come after the end.
    tickets::withdraw_all(root);
    let vacant = remove_created(root).await?;
    let mut failed = 0;
    for app in &open.apps {
        match restore(root, app, vacant.contains(&app.name)).await {
            Ok(()) => break_glass::restored(root, &app.name)?,
            Err(error) => {
                log::error(format_args!("restoring {}: {error:#}", app.name));
                failed += 1;
            }
        }
    }
    if let Err(error) = collect::collect(root).await {
        log::warn(format_args!("{error:#}"));
    }
    if failed > 0 {
        bail!(
            "{reason}; {failed} containers are not restored yet: edge-docker ticket end tries again"
        );
    }
    break_glass::close(root)?;
    Ok(Some(reason))
}

/// Removes all containers that were created under a ticket. Returns their names.
async fn remove_created(root: &Root) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for container in list(root, label::TICKET).await? {
        if is_of_ticket(&container).is_none() {
            continue;
        }
        let id = container["Id"].as_str().unwrap_or_default();
        let name = container["Names"][0].as_str().unwrap_or_default();
        let name = name.trim_start_matches('/');
        containers::remove(root, id).await?;
        end_deployment(root, id)?;
        log::info(format_args!("removed {name}, created under a ticket"));
        names.push(name.to_string());
    }
    Ok(names)
}

/// Closes the deployment record that names a container which was created under a ticket.
fn end_deployment(root: &Root, id: &str) -> Result<()> {
    let locked = journal::locked_names(root)?;
    for mut journal in journal::all(root) {
        if locked.contains(&journal.name) {
            // Its process notices that the container is gone, and writes the record.
            continue;
        }
        if !journal.ids().contains(&id) {
            continue;
        }
        journal.forget(id);
        if !journal.is_open() {
            journal.phase = Phase::RolledBack;
            journal.reason = "its ticket has ended".into();
        }
        match journal.ids().is_empty() {
            true => journal::remove(root, &journal.name)?,
            false => journal.write(root)?,
        }
    }
    Ok(())
}

/// Restores a container as it was before the ticket. With `is_vacant`, a container that was
/// created under the ticket had its name.
async fn restore(root: &Root, app: &AppState, is_vacant: bool) -> Result<()> {
    let is_signed = !app.version.is_empty();
    let was_left = !app.is_changed && !app.is_entered && !is_vacant;
    if was_left {
        return Ok(());
    }
    let _lock = lock_deployment(root, journal::base(&app.name)).await?;
    let named = containers::named(root, &app.name).await?;
    let same = containers::find(root, &app.id).await?;
    let same = same.filter(|container| container.id == app.id);
    match (named, same) {
        // Another one was deployed meanwhile, which needed no ticket.
        (Some(other), _) if other.id != app.id => {}
        (_, Some(same)) if !app.is_entered => {
            rename(root, app, &same).await?;
            set_running(root, app, &same).await?;
        }
        (_, Some(same)) if !is_signed => {
            // There is no specification to create it from; its end ends the sessions.
            containers::stop(root, &same).await?;
            if app.running {
                containers::start(root, &app.id).await?;
            }
        }
        (_, None) if !is_signed => {}
        (_, same) => recreate(root, app, same).await?,
    }
    units::update(root, &app.name).await;
    Ok(())
}

/// Locks the deployments of `name`, once the one under way has ended: its new container is
/// gone.
async fn lock_deployment(root: &Root, name: &str) -> Result<Option<journal::Lock>> {
    let end = Instant::now() + DEPLOYMENT_TIMEOUT;
    while journal::has_lock(root, name) {
        match journal::lock(root, name) {
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => tokio::time::sleep(DEPLOYMENT_POLL).await,
            Ok(lock) => return Ok(Some(lock)),
        }
    }
    Ok(None)
}

/// Returns its name to a container that a deployment under the ticket has renamed.
async fn rename(root: &Root, app: &AppState, container: &Container) -> Result<()> {
    if container.name() == app.name {
        return Ok(());
    }
    containers::rename(root, &[(&app.id, app.name.clone())]).await
}

async fn set_running(root: &Root, app: &AppState, container: &Container) -> Result<()> {
    match (app.running, container.state.running) {
        (true, true) => {
            // Paused under the ticket: an error says that it is not.
            let _ = containers::act(root, &app.id, "unpause").await;
            Ok(())
        }
        (true, false) => {
            let record = crate::stored::created::find(root, &app.id)?;
            // A deployment under the ticket had set it to `no`.
            if let Some(record) = record {
                let policy = &record["HostConfig"]["RestartPolicy"];
                if !app.name.ends_with(suffix::PREVIOUS) && !policy.is_null() {
                    containers::set_restart(root, &app.id, policy).await?;
                }
            }
            containers::start(root, &app.id).await
        }
        (false, true) => containers::stop(root, container).await,
        (false, false) => Ok(()),
    }
}

/// Creates a container again from its signed specification, with an empty top layer. Its
/// volumes follow, and processes of the old one end.
async fn recreate(root: &Root, app: &AppState, old: Option<Container>) -> Result<()> {
    let trust = trust::load(root)?;
    let image = format!("{}-{}@{}", app.app, app.version, app.digest);
    let form = SignedForm {
        image: &image,
        // It was on the device before the ticket.
        allow_downgrade: true,
        set: None,
        detach: true,
        force: false,
        timeout: None,
    };
    let signed = SignedApp::find(root, &trust, &form).await?;
    client::require_same_mounts(root).await?;
    let pending = replacement::of_app(root, &signed, app)?;
    if let Some(old) = old {
        containers::remove(root, &old.id).await?;
    }
    remake::one(root, &disk::data_root(root)?, &pending).await
}
