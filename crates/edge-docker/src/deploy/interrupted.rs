//! Start of the containers that ran when the engine ended without stopping them.

use anyhow::Result;
use edge_common::{Root, log};

use super::transaction;
use crate::engine::containers;
use crate::journal;
use crate::ledger::Decision;
use crate::stored::interrupted::{self, Interrupted};

/// Starts all marked containers that the engine left stopped. Returns the number of
/// containers that failed; they keep their marks.
pub(super) async fn all(root: &Root) -> Result<usize> {
    let marked = interrupted::all(root)?;
    if !marked.is_empty() {
        transaction::wait_for_engine(root).await?;
    }
    let mut failed = 0;
    for run in marked {
        let id = &run.id;
        match one(root, &run).await {
            Ok(true) => interrupted::forget(root, id)?,
            Ok(false) => {}
            Err(error) => {
                log::error(format_args!("starting {id}: {error:#}"));
                failed += 1;
            }
        }
    }
    Ok(failed)
}

/// Starts a marked container unless it runs. Returns whether the mark has served its
/// purpose.
async fn one(root: &Root, run: &Interrupted) -> Result<bool> {
    let id = run.id.as_str();
    let Some(container) = containers::find(root, id).await? else {
        return Ok(true);
    };
    let state = &container.state;
    // A deployment has taken it out of service since.
    let stays_stopped = matches!(container.restart()["Name"].as_str(), None | Some("" | "no"));
    // The engine, on a busy device, may have given up before the process ended, and starts
    // nothing in its place.
    let is_left_over = state.running && state.started_at == run.started_at;
    if (state.running && !is_left_over) || state.restarting || stays_stopped {
        return Ok(true);
    }
    let of_open = |j: &journal::Journal| j.is_open() && j.ids().contains(&id);
    if journal::all(root).iter().any(of_open) {
        return Ok(false);
    }
    let decision = Decision {
        verb: "replace --recover",
        container: container.name(),
        ..Decision::default()
    };
    decision.record(root)?;
    containers::stop(root, &container).await?;
    containers::start(root, id).await?;
    log::warn(format_args!(
        "started {}, which ran when the engine ended",
        container.name()
    ));
    Ok(true)
}
