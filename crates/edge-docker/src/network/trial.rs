//! Trial of settings: activation, the wait for contact, and the way back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_common::contract::path::CONNECTION;
use edge_common::refusal::Connection;
use edge_common::{Root, file, log};
use edge_network_settings::TRIAL_SECONDS;

use super::state::{self, Pending, State};
use super::{activate, files};
use crate::ledger::{Decision, Verdict};

/// Time that settings have to reach the laptop or the cloud.
const LIMIT: Duration = Duration::from_secs(TRIAL_SECONDS);
/// Pause between two looks at the marks. systemd replaces the directory of edge-heartbeat
/// at its restart, so no watch on it would hold.
const PAUSE: Duration = Duration::from_millis(250);
/// Time that a confirmation waits for the trial to end.
const CONFIRM_LIMIT: Duration = Duration::from_secs(10);

/// Carries out the trial of the pending settings.
pub(crate) fn run(root: &Root) -> Result<()> {
    let Some(pending) = state::pending(root)? else {
        log::info("no network settings are on trial");
        return Ok(());
    };
    state::clear_marks(root);
    let end = Instant::now() + LIMIT;
    let before = State::load(root)?;
    let contact = activated(root, &pending, &before).and_then(|()| {
        state::set_mark(root, "active", &pending.token)?;
        wait(root, &pending.token, end)
    });
    match contact {
        Ok(by) => keep(root, pending, before, by),
        Err(why) => give_up(root, &format!("{why:#}")),
    }
}

fn activated(root: &Root, pending: &Pending, before: &State) -> Result<()> {
    files::write(root, &pending.settings)?;
    activate::new(root, &pending.settings, &before.settings)?;
    // A connection to the cloud from now on is one of the new settings. A noted refusal
    // stays: edge-provision counts its time.
    if Connection::load(root).is_some_and(|c| c.refused_since.is_none()) {
        file::remove(&root.path(CONNECTION))?;
    }
    activate::others(root);
    Ok(())
}

/// Waits for contact, and returns by whom.
fn wait(root: &Root, token: &str, end: Instant) -> Result<&'static str> {
    while Instant::now() < end {
        if state::mark(root, "confirmed").is_some_and(|confirmed| confirmed == token) {
            return Ok("confirmed over a new connection");
        }
        if Connection::load(root).is_some_and(|c| c.refused_since.is_none()) {
            return Ok("edge-heartbeat is connected to the cloud");
        }
        std::thread::sleep(PAUSE);
    }
    bail!("neither the laptop nor the cloud was reached within {TRIAL_SECONDS} s")
}

fn keep(root: &Root, pending: Pending, mut state: State, by: &str) -> Result<()> {
    state.settings = pending.settings;
    // First the settings: after a power loss in between they are those that are kept.
    state.end(root, &pending.token, "kept", by)?;
    state::remove_pending(root)?;
    state::clear_marks(root);
    log::info(format_args!("the network settings are kept: {by}"));
    Ok(())
}

/// Returns to the settings before the trial.
fn give_up(root: &Root, why: &str) -> Result<()> {
    log::error(format_args!("the network settings are not kept: {why}"));
    let pending = state::pending(root).ok().flatten();
    let mut state = State::load(root)?;
    files::write(root, &state.settings)?;
    let tried = pending.as_ref().map(|pending| pending.settings.clone());
    activate::earlier(root, &state.settings, &tried.unwrap_or_default());
    let token = pending.map_or(String::new(), |pending| pending.token);
    state.end(root, &token, "returned", why)?;
    state::remove_pending(root)?;
    state::clear_marks(root);
    let decision = Decision {
        verb: "network set",
        ..Decision::default()
    };
    decision.record_failure(root, Verdict::Failed, why);
    Ok(())
}

/// Ends a trial that was interrupted, with the settings before it, and writes the files of
/// the settings that are kept. At the boot, before NetworkManager, and after a trial whose
/// process ended early.
pub(crate) fn restore(root: &Root) -> Result<()> {
    let _lock = state::lock(root)?;
    if !state::has_pending(root) {
        let state = State::load(root)?;
        return files::write(root, &state.settings);
    }
    let why = "the trial was interrupted, for example by a power loss";
    give_up(root, why).context("returning to the earlier network settings")
}

/// Marks the trial as confirmed, and waits for its end.
pub(super) fn confirm(root: &Root, token: &str) -> Result<()> {
    state::set_mark(root, "confirmed", token)?;
    let end = Instant::now() + CONFIRM_LIMIT;
    while Instant::now() < end {
        if !state::has_pending(root) {
            return match State::load(root)?.is_kept(token) {
                true => Ok(()),
                false => {
                    bail!("the trial ended before the confirmation: the earlier settings return")
                }
            };
        }
        std::thread::sleep(PAUSE);
    }
    bail!("the trial does not end: see edge-docker network show")
}
