//! Owner of an app's data in a deployment: with `storage: {owner: app}` in its signed
//! specification, the user of its container.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use edge_common::{Root, log};
use edge_docker_policy::run_spec::StorageOwner;
use serde_json::Value;

use super::health::Watch;
use super::steps::step;
use crate::engine::containers;
use crate::engine::signals::Event;
use crate::image::identify;
use crate::mounts::content::{Pass, Reason};
use crate::mounts::owners;

/// Gives the data to the user of the container `id` while the old container still runs, so
/// that the outage does not depend on the number of files. A signal ends it.
pub(super) async fn early(
    root: &Root,
    watch: &mut Watch,
    id: &str,
    is_way_back: bool,
) -> Result<()> {
    let found = containers::inspect(root, id).await?;
    let Some(reason) = reason(root, &found, is_way_back)? else {
        return Ok(());
    };
    let Some(content) = owners::content(root, id, &found).await? else {
        return Ok(());
    };
    let is_cancelled = Arc::new(AtomicBool::new(false));
    let (cancelled, ended) = (Arc::clone(&is_cancelled), watch.sender());
    let pass = tokio::task::spawn_blocking(move || {
        let cancelled = || cancelled.load(Ordering::Relaxed);
        let result = content.give(reason, Pass::Early, &|text| step(text), &cancelled);
        let _ = ended.send(Event::Changed);
        result
    });
    while let Some(event) = watch.events.recv().await {
        match event {
            Event::Changed => break,
            Event::Stop => is_cancelled.store(true, Ordering::Relaxed),
            Event::Hangup | Event::Lost => {}
        }
    }
    pass.await.context("giving the app's data to its user")?
}

/// Gives the data to the user of the container `id`, which is about to start, when no other
/// one runs.
pub(super) async fn last(root: &Root, id: &str, is_way_back: bool) -> Result<()> {
    let found = containers::inspect(root, id).await?;
    let Some(reason) = reason(root, &found, is_way_back)? else {
        return Ok(());
    };
    match owners::content(root, id, &found).await? {
        Some(content) => content.give(reason, Pass::Last, &|text| step(text), &|| false),
        None => Ok(()),
    }
}

/// Gives the data back to the user of the container `id`, which returns to service. An error
/// is only logged: the app is better off with some of its data than down.
pub(super) async fn give_back(root: &Root, id: &str) {
    if let Err(error) = last(root, id, true).await {
        log::warn(format_args!("{error:#}"));
    }
}

/// Returns the reason to change the owner of the data; `None` if there is none.
fn reason(root: &Root, found: &Value, is_way_back: bool) -> Result<Option<Reason>> {
    let spec = identify::container_spec(root, found)?;
    Ok(
        match spec.is_some_and(|s| s.storage_owner == StorageOwner::App) {
            true => Some(Reason::Signed),
            false => is_way_back.then_some(Reason::WayBack),
        },
    )
}
