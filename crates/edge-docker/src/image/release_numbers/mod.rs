//! Release numbers: a version below the highest accepted one is refused, so that an old
//! and vulnerable version, which was signed once, does not return unnoticed.
//!
//! The floor is the highest number that was accepted. It rises when a deployment commits
//! or when a container of no deployment has started, but not with a pull and not with a
//! version that is still on trial: a version that fails must not lock out the one that
//! works. Three kinds of versions may start below the floor: what a deployment record
//! names, because it was accepted before; what the read-only root names, because an older
//! device image brings its own; and single numbers that `--allow-downgrade` accepted.
//! That option does not lower the floor, because every version in between would become
//! acceptable. See `docs/decisions/0026-release-numbers.md`.

mod record;
mod revocations;
mod root_image;

use anyhow::Result;
use edge_common::{Root, log};
use edge_docker_policy::refusal::refuse;
use edge_signature::Verified;

use self::record::{Found, Record};
use crate::break_glass;
use crate::journal;

pub(crate) use self::revocations::require_not_revoked;

/// Refuses a version below the floor, unless the record, the read-only root or `allow`
/// (`--allow-downgrade`) permits it. Refuses a revoked version in any case. Changes no
/// floor.
pub(crate) fn check(root: &Root, verified: &Verified, allow: bool) -> Result<()> {
    // Here, because this judges whatever is about to start, by any command and at boot.
    require_not_revoked(root, verified)?;
    let annotations = &verified.annotations;
    if allow || root_image::names(root, verified) {
        return Ok(());
    }
    check_number(root, &annotations.app, annotations.release_number)
}

/// Refuses the start of an existing container as [`check`] does, unless a deployment
/// record names it.
pub(crate) fn check_container(root: &Root, verified: &Verified, id: &str) -> Result<()> {
    require_not_revoked(root, verified)?;
    check(root, verified, false).or_else(|refusal| {
        // Read last: most containers are at the floor.
        let is_named = journal::all(root).iter().any(|j| j.ids().contains(&id));
        if is_named { Ok(()) } else { Err(refusal) }
    })
}

fn check_number(root: &Root, app: &str, number: u64) -> Result<()> {
    // A damaged record does not count as absent: otherwise damaging a file on /data would
    // permit an old version.
    let found = record::find(root, app).map_err(|error| {
        refuse(format_args!(
            "{app} is refused: the record of its release numbers is damaged ({error:#}), so an \
             old version could be accepted; --allow-downgrade accepts this one and replaces the \
             record"
        ))
    })?;
    if found.damage.is_some() {
        // An error is only logged: on a full disk, apps have to start all the same.
        if let Err(error) = record::update(root, app, false, |record| record) {
            log::warn(format_args!("release numbers of {app}: {error:#}"));
        }
    }
    match found.record {
        Some(record) if !record.accepts(number) => Err(refuse(format_args!(
            "release number {number} of {app} is refused: this device has accepted release \
             number {}; pass --allow-downgrade to go back",
            record.highest
        ))),
        _ => Ok(()),
    }
}

/// Returns whether the record of an app says which numbers it accepts.
pub(crate) fn is_readable(root: &Root, app: &str) -> bool {
    record::find(root, app).is_ok()
}

/// Returns whether an image may not start any more. False if that is not known: such an
/// image is not removed.
pub(super) fn is_outdated(root: &Root, verified: &Verified) -> bool {
    let annotations = &verified.annotations;
    let number = annotations.release_number;
    let found = record::find(root, &annotations.app).ok();
    let record = found.and_then(|found| found.record);
    record.is_some_and(|r| !r.accepts(number)) && !root_image::names(root, verified)
}

/// Returns whether a start of this version raises the floor.
pub(crate) fn is_higher(root: &Root, verified: &Verified) -> bool {
    let annotations = &verified.annotations;
    let found = record::find(root, &annotations.app).ok();
    let record = found.and_then(|found| found.record);
    record.is_none_or(|r| annotations.release_number > r.highest)
}

/// Raises the floor to `number`, because a deployment has committed or a first container
/// has started. A lower number changes nothing, unless `allow` (`--allow-downgrade`)
/// accepts it for good.
pub(crate) fn raise(root: &Root, app: &str, number: u64, allow: bool) -> Result<()> {
    if break_glass::in_use().is_some() {
        // What is created under a ticket is removed with it, and leaves no trace here.
        return Ok(());
    }
    let change = |record: Option<Record>| {
        let Some(record) = record else {
            return Record::new(number);
        };
        match allow {
            true => record.raised(number).with_older(number),
            false => record.raised(number),
        }
    };
    // Every `run` calls this: the flash is written and the lock taken only for a change.
    if let Ok(Found {
        record: Some(record),
        damage: None,
    }) = record::find(root, app)
    {
        if change(Some(record.clone())) == record {
            return Ok(());
        }
        if !record.accepts(number) {
            log::warn(format_args!(
                "{app}: --allow-downgrade accepts release number {number}, older than one that \
                 was accepted here"
            ));
        }
    }
    record::update(root, app, allow, |record| Some(change(record)))
}

/// Accepts a number below the floor for good (`create --allow-downgrade`). Does not raise
/// the floor: the container has not started yet.
pub(crate) fn allow(root: &Root, app: &str, number: u64) -> Result<()> {
    match record::find(root, app) {
        Ok(found) if found.record.as_ref().is_none_or(|r| r.accepts(number)) => Ok(()),
        _ => raise(root, app, number, true),
    }
}

#[cfg(test)]
mod tests;
