//! Break-glass ticket in effect: which commands it permits, on which app, until when.
//!
//! An engineer's ticket raises the level of one app, or of all, for some minutes. It is
//! taken once ([`take`]), is in effect until its time on CLOCK_BOOTTIME has passed, until
//! `ticket end` or until the device restarts, and then everything that was created under
//! it is removed. It has nothing in common with [`crate::tickets`], by which the
//! authorization plugin recognizes one request. See
//! `docs/decisions/0034-break-glass-tickets.md`.

mod effect;
mod record;
mod taking;

use std::cell::RefCell;
use std::fs::File;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use edge_common::contract::label;
use edge_common::level::Level;
use edge_common::{Root, file, lock, log};
use edge_docker_policy::break_glass::ALL_APPS;
use edge_docker_policy::refusal::refuse;
use serde_json::Value;

pub(crate) use effect::{Effect, current};
pub(crate) use record::{AppState, Open, app_of};
pub(crate) use taking::{take, thing};

/// Lock that excludes the end of a ticket while a command creates something under it.
const LOCK: &str = "/run/edge-docker/break-glass.lock";
/// Time that the end of a ticket waits for such commands.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two attempts to get the lock.
const LOCK_INTERVAL: Duration = Duration::from_millis(5);

thread_local! {
    /// Ticket that the command of this thread needs. As with the ledger's arguments, it is
    /// no parameter of each function between the command line and the engine.
    static IN_USE: RefCell<Option<Effect>> = const { RefCell::new(None) };
}

/// Returns the ticket that this command needs; `None` if the policy of the device permits
/// the command anyway.
pub(crate) fn in_use() -> Option<Effect> {
    IN_USE.with_borrow(Clone::clone)
}

/// Puts the command under the ticket in effect if that raises to `level`. Its app must be
/// checked with [`require_app`] before the command has an effect. Returns false without
/// such a ticket.
pub(crate) fn begin(root: &Root, level: Level) -> bool {
    let effect = current(root).filter(|effect| effect.level >= level);
    let is_permitted = effect.is_some();
    if is_permitted {
        IN_USE.set(effect);
    }
    is_permitted
}

/// Puts the command under the ticket in effect if that raises the app `app` to `debug`.
/// With `named`, a ticket for all apps does not suffice: the signer has to know what an
/// app with grants may do. Returns whether the ticket permits the command.
pub(crate) fn permits(root: &Root, app: &str, named: bool) -> bool {
    let is_for = |effect: &Effect| effect.covers(app) && !(named && effect.app == ALL_APPS);
    let effect = current(root).filter(|e| e.level >= Level::Debug && is_for(e));
    let is_permitted = effect.is_some();
    if is_permitted {
        IN_USE.set(effect);
    }
    is_permitted
}

/// Refuses a command under a ticket of another app. Does nothing for a command that needs
/// no ticket.
pub(crate) fn require_app(app: &str) -> Result<()> {
    match in_use() {
        Some(effect) if !effect.covers(app) => Err(refuse(format_args!(
            "{app:?} is refused: the ticket {} covers the app {} alone",
            effect.id, effect.app
        ))),
        _ => Ok(()),
    }
}

/// Refuses a command under a ticket of another app than that of a container, given as the
/// engine's `inspect` response, and notes the container's state: it returns to it when the
/// ticket ends. Does nothing for a command that needs no ticket.
pub(crate) fn change(root: &Root, found: &Value, change: Change) -> Result<()> {
    let Some(effect) = in_use() else {
        return Ok(());
    };
    require_app(app_of(found))?;
    if !record::label_of(found, label::TICKET).is_empty() {
        // It is removed at the end in any case.
        return Ok(());
    }
    let state = AppState::of(found);
    update(root, &effect, |open| open.note(state, change))
}

/// Notes the states of containers that a command under the ticket may take the place of.
pub(crate) fn note(root: &Root, effect: &Effect, found: &[Value]) -> Result<()> {
    let states: Vec<_> = found.iter().map(AppState::of).collect();
    update(root, effect, |open| {
        for state in states {
            open.note(state, Change::None);
        }
    })
}

/// Change of a container under a ticket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// None; a container of another name or image may take its place.
    None,
    /// It is started, stopped, renamed or removed.
    State,
    /// A program of the caller's choice runs in it, and may write to its top layer.
    Entered,
}

/// Changes the durable record of the ticket in effect.
fn update(root: &Root, effect: &Effect, change: impl FnOnce(&mut Open)) -> Result<()> {
    let _lock = exclusive(root)?;
    require_in_effect(root, effect)?;
    let mut record = record::Record::load(root)?;
    if let Some(open) = record.open.as_mut() {
        let before = open.apps.clone();
        change(open);
        if open.apps != before {
            record.write(root)?;
        }
    }
    Ok(())
}

/// Keeps the ticket of this command from ending until the returned file is closed; `None`
/// for a command that needs no ticket.
///
/// # Errors
/// The ticket has ended since the command began.
pub(crate) fn hold(root: &Root) -> Result<Option<File>> {
    let Some(effect) = in_use() else {
        return Ok(None);
    };
    let lock = lock::shared(&lock_file(root)?)?;
    require_in_effect(root, &effect)?;
    Ok(Some(lock))
}

fn require_in_effect(root: &Root, effect: &Effect) -> Result<()> {
    if current(root).is_some_and(|current| current.id == effect.id) {
        return Ok(());
    }
    Err(refuse(format_args!(
        "the ticket {} has ended: ask for another one",
        effect.id
    )))
}

fn lock_file(root: &Root) -> Result<std::path::PathBuf> {
    let path = root.path(LOCK);
    file::create_directory(path.parent().unwrap_or(&path), 0o700)?;
    file::put(&path, b"", 0o600)?;
    Ok(path)
}

/// Excludes commands that create something under a ticket. Waits for them, but not for
/// ever: a stuck command must not prolong a ticket.
fn exclusive(root: &Root) -> Result<File> {
    let path = lock_file(root)?;
    let end = Instant::now() + LOCK_TIMEOUT;
    loop {
        if let Some(lock) = lock::try_exclusive(&path)? {
            return Ok(lock);
        }
        if Instant::now() > end {
            anyhow::bail!("another command under the ticket is busy: try again");
        }
        std::thread::sleep(LOCK_INTERVAL);
    }
}

/// Takes the ticket out of effect. From then on no command is permitted under it. Returns
/// the durable record of what has to be undone, if any.
pub(crate) fn stop(root: &Root) -> Result<Option<Open>> {
    let removed = effect::remove(root);
    // After the removal: what holds the lock was permitted before, and its container
    // exists when the lock is free.
    let lock = exclusive(root);
    if let Err(error) = &lock {
        log::warn(format_args!("{error:#}"));
    }
    removed.context("ending the ticket")?;
    Ok(record::Record::load(root)?.open)
}

/// Leaves a ticket that a restart of the device has ended to the service that ends
/// tickets. Not done here: recovery runs in a mount namespace of its own, where it could
/// not clone mounts for the engine.
pub(crate) fn resume(root: &Root) -> Result<()> {
    match open(root)? {
        Some(_) => effect::mark(root),
        None => Ok(()),
    }
}

/// Returns the record of a ticket whose end is not complete, also of one in effect.
pub(crate) fn open(root: &Root) -> Result<Option<Open>> {
    Ok(record::Record::load(root)?.open)
}

/// Removes an app from the record, because it is as it was before the ticket.
pub(crate) fn restored(root: &Root, name: &str) -> Result<()> {
    let mut record = record::Record::load(root)?;
    if let Some(open) = record.open.as_mut() {
        open.apps.retain(|app| app.name != name);
        record.write(root)?;
    }
    Ok(())
}

/// Closes the record: nothing of the ticket is left.
pub(crate) fn close(root: &Root) -> Result<()> {
    let mut record = record::Record::load(root)?;
    record.open = None;
    record.write(root)?;
    effect::remove_mark(root)
}
