//! Containers that the boot audit has kept from the engine because they differ from their
//! signed specification: they are recreated from it. Deployment records name the new ID,
//! and the image's volumes and the log follow.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use edge_common::contract::label;
use edge_common::{Root, log};
use edge_docker_policy::stored::container::is_hex;
use hyper::Method;

use super::{content, transaction};
use crate::engine::containers::{self, Container};
use crate::engine::{self, client};
use crate::journal;
use crate::ledger::Decision;
use crate::mounts::{collect, owners};
use crate::stored::remake::{self, Remake};
use crate::stored::withheld::Withheld;
use crate::stored::{app_limits, created, damage, disk, quarantine, top_layers};

/// Recreates all pending containers, and deletes what is left of earlier boots. Returns
/// the number of containers that failed.
pub(super) async fn all(root: &Root) -> Result<usize> {
    let data_root = disk::data_root(root)?;
    let mut failed = 0;
    for pending in remake::pending(root)? {
        if let Err(error) = one(root, &data_root, &pending).await {
            log::error(format_args!("recreating {}: {error:#}", pending.name));
            failed += 1;
        }
    }
    app_limits::disown_emptied(root, &data_root);
    if let Err(error) = top_layers::delete_expired(&data_root) {
        log::warn(format_args!("{error:#}"));
    }
    if let Err(error) = quarantine::trim(&data_root) {
        log::warn(format_args!("{error:#}"));
    }
    Ok(failed)
}

/// Creates a container in the place of one that is withheld or was removed.
pub(super) async fn one(root: &Root, data_root: &Path, pending: &Remake) -> Result<()> {
    let decision = Decision {
        verb: "replace --recover",
        image: &pending.reference,
        container: &pending.name,
        ..Decision::default()
    };
    decision.record(root)?;
    let mut is_started = pending.is_started;
    let id = match containers::named(root, &pending.name).await? {
        Some(made) => {
            require_same(&made, pending)?;
            is_started |= made.state.running;
            containers::stop(root, &made).await?;
            made.id
        }
        None => create(root, pending).await?,
    };
    let withheld = Withheld::below(data_root).path(&pending.id);
    let directory = data_root.join("containers").join(&id);
    move_log(&withheld, &directory, &pending.id, &id);
    move_volumes(root, &data_root.join("volumes"), pending, &id).await?;
    if pending.is_held_back {
        containers::set_restart(root, &id, &transaction::no_restart()).await?;
    }
    journal::exchange_id(root, &pending.id, &id)?;
    // From here on the new container is the one: the old one is not audited again.
    match fs::remove_dir_all(&withheld) {
        // Not withheld, but removed at the end of a ticket.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        removed => removed.context("removing the withheld container")?,
    }
    if let Err(error) = top_layers::retire(data_root, &pending.id) {
        log::warn(format_args!("{error:#}"));
    }
    created::remove(root, &pending.id);
    remake::done(root, pending)?;
    if is_started {
        let image = pending.body["Image"].as_str().unwrap_or_default();
        damage::require_intact(root, "replace --recover", &pending.name, image)?;
        let found = containers::inspect(root, &id).await?;
        app_limits::apply_to(root, &id, &found);
        owners::give(root, &id, &found).await?;
        content::last(root, &id, false).await?;
        let started = containers::start(root, &id).await;
        app_limits::end_start(root, &found);
        started?;
    }
    log::warn(format_args!(
        "recreated {} from its signed specification",
        pending.name
    ));
    Ok(())
}

/// Fails unless the container that has the name already is what would be created: it was,
/// before an interruption, or a unit did not wait.
fn require_same(made: &Container, pending: &Remake) -> Result<()> {
    let labels = &pending.body["Labels"];
    let is_same = |key| made.label(key) == labels[key].as_str();
    if is_same(label::RUN) && is_same(label::DIGEST) {
        return Ok(());
    }
    bail!("the name is taken by another container: remove it, then restart the engine")
}

/// Creates the container, which is not started. Returns its ID.
async fn create(root: &Root, pending: &Remake) -> Result<String> {
    let _lock = collect::hold(root)?;
    let body = serde_json::to_vec(&pending.body).context("writing the create body")?;
    let has_start_interval = !pending.body["Healthcheck"]["StartInterval"].is_null();
    let id = engine::create::container(root, &pending.name, &body, has_start_interval).await?;
    // It is part of paths.
    ensure!(is_hex(&id), "the engine's response has no ID");
    created::write(root, &id, &body, true)?;
    Ok(id)
}

/// Moves the log of the old container to the new one. A log that cannot be moved is no
/// reason to leave the app down.
fn move_log(old: &Path, new: &Path, old_id: &str, new_id: &str) {
    let prefix = format!("{old_id}-json.log");
    for path in disk::entries(old).unwrap_or_default() {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !name.starts_with(&prefix) && name != "local-logs" {
            continue;
        }
        if let Err(error) = fs::rename(&path, new.join(name.replace(old_id, new_id))) {
            log::warn(format_args!("moving the log {name}: {error}"));
        }
    }
}

/// Moves the content of the old container's volumes to those of the new one.
async fn move_volumes(root: &Root, volumes: &Path, pending: &Remake, id: &str) -> Result<()> {
    let found = containers::inspect(root, id).await?;
    for point in found["Mounts"].as_array().into_iter().flatten() {
        let target = point["Destination"].as_str().unwrap_or_default();
        let new = point["Name"].as_str().filter(|name| is_hex(name));
        let (Some(old), Some(new)) = (pending.volumes.get(target), new) else {
            continue;
        };
        // Edited files may name the volume of another app.
        if old == new || is_used(root, old).await? {
            continue;
        }
        let context = || format!("moving the volume of {target}");
        move_volume(&volumes.join(old), &volumes.join(new)).with_context(context)?;
        let path = format!("/volumes/{old}");
        let removed = client::request(root, Method::DELETE, &path, None).await;
        if removed.is_err() {
            // The engine has forgotten it. Without content it is nobody's.
            let _ = fs::remove_dir_all(volumes.join(old));
        }
    }
    Ok(())
}

/// Returns whether a container that the engine knows uses a volume.
async fn is_used(root: &Root, volume: &str) -> Result<bool> {
    let filters = format!("%7B%22volume%22%3A%5B%22{volume}%22%5D%7D");
    let path = format!("/containers/json?all=1&filters={filters}");
    let found = client::request(root, Method::GET, &path, None).await?;
    let found = found.as_array().context("the engine's list is no list")?;
    Ok(!found.is_empty())
}

/// Moves the content of a volume; one that was moved before an interruption stays.
fn move_volume(old: &Path, new: &Path) -> Result<()> {
    let (from, to, fresh) = (
        old.join("_data"),
        new.join("_data"),
        new.join("_data.fresh"),
    );
    if !fs::symlink_metadata(&from).is_ok_and(|data| data.is_dir()) {
        return Ok(());
    }
    match fs::rename(&to, &fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    fs::rename(&from, &to)?;
    let _ = fs::remove_dir_all(&fresh);
    Ok(())
}
