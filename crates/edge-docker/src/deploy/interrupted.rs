//! Start of the containers that ran when the engine ended without stopping them.

use anyhow::Result;
use edge_common::{Root, log};

use super::transaction;
use crate::engine::containers;
use crate::journal;
use crate::ledger::Decision;
use crate::stored::interrupted;

/// Starts all marked containers that the engine left stopped. Returns the number of
/// containers that failed; they keep their marks.
pub(super) async fn all(root: &Root) -> Result<usize> {
    let marked = interrupted::all(root)?;
    if !marked.is_empty() {
        transaction::wait_for_engine(root).await?;
    }
    let mut failed = 0;
    for id in marked {
        match one(root, &id).await {
            Ok(true) => interrupted::forget(root, &id)?,
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
async fn one(root: &Root, id: &str) -> Result<bool> {
    let Some(container) = containers::find(root, id).await? else {
        return Ok(true);
    };
    let state = &container.state;
    // A deployment has taken it out of service since.
    let stays_stopped = matches!(container.restart()["Name"].as_str(), None | Some("" | "no"));
    if state.running || state.restarting || stays_stopped {
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
    containers::start(root, id).await?;
    log::warn(format_args!(
        "started {}, which ran when the engine ended",
        container.name()
    ));
    Ok(true)
}
