//! Another key and certificate while the old ones still work.
//!
//! The new identity is made in a directory beside the old one, by the same steps.
//! Once a connection with it has worked, both directories change places in one
//! step, and the old one is removed. The connection takes over the client id
//! of edge-heartbeat for a moment; that connects again, with the new identity.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use edge_common::contract::path::IDENTITY as DIRECTORY;
use edge_common::exit::Failure;
use edge_common::mqtt::CaBundle;
use edge_common::{Root, file, log};
use openssl::asn1::Asn1Time;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::attempt::Attempt;
use crate::claim::{self, Claim};
use crate::device::Identity;
use crate::state::{self, Place};
use crate::{CLAIM, clock};

/// Ends a renewal that was cut off after the new identity had proved itself,
/// or removes what is left of one that was not. One that waits for its
/// registration is left to the next renewal.
///
/// # Errors
/// The directories cannot be written.
pub fn settle(root: &Root) -> Result<()> {
    let has = |path: std::path::PathBuf| path.exists();
    if !has(Place::Next.directory(root)) {
        return Ok(());
    }
    match (
        has(Place::Next.config(root)),
        has(Place::Next.pending(root)),
    ) {
        (true, true) => switch(root),
        (false, true) => Ok(()),
        (_, false) => discard(root),
    }
}

/// Renews, unless the certificate is good for more than `within` days.
///
/// # Errors
/// There is no valid identity, or what the exit codes say.
pub fn run(root: &Root, thing: &Identity, within: Option<u32>, end: Instant) -> Result<()> {
    let (_, certificate) = state::committed(root, &thing.name)?;
    // One that was begun is brought to its end: the cloud may know it already.
    let begun = Place::Next.pending(root).exists();
    if let Some(days) = within.filter(|_| !begun) {
        let then = Asn1Time::days_from_now(days)?;
        if certificate.not_after() > &*then {
            log::info(format_args!(
                "not due: the certificate is good until {}",
                certificate.not_after()
            ));
            return Ok(());
        }
    }
    let claim = claim::load(root).map_err(|e| Failure::wrap(CLAIM, e))?;
    let ca_bundle = CaBundle::load(root).map_err(|e| Failure::wrap(CLAIM, e))?;
    clock::wait(&claim, end)?;
    let known = state::key(root, Place::Current)?;
    let key = state::key(root, Place::Next)?;
    let mut attempt = Attempt {
        root,
        place: Place::Next,
        thing,
        claim: &claim,
        key: &key,
        known: &known,
        ca_bundle: &ca_bundle,
        session: None,
    };
    let done = attempt.persist(end);
    done.map_err(crate::attempt::Trouble::into_failure)
        .context("renewing; the old certificate stays in use")?;
    switch(root)?;
    verify(root, thing, &claim)?;
    log::info("renewed: the old key and certificate are removed");
    Ok(())
}

fn verify(root: &Root, thing: &Identity, claim: &Claim) -> Result<()> {
    let (config, _) = state::committed(root, &thing.name)?;
    if config.endpoint != claim.endpoint {
        bail!("the new configuration names another endpoint");
    }
    Ok(())
}

/// Both directories change places, and the old identity is removed. A cut before
/// leaves the old identity, one after it the new one.
fn switch(root: &Root) -> Result<()> {
    let (current, next) = (Place::Current.directory(root), Place::Next.directory(root));
    renameat_with(CWD, &current, CWD, &next, RenameFlags::EXCHANGE)
        .with_context(|| format!("exchanging {DIRECTORY} and {DIRECTORY}.next"))?;
    let parent = current.parent().context("a directory without a parent")?;
    file::sync_directory(parent)?;
    state::forget(root, Place::Current)?;
    discard(root)
}

/// Removes the directory beside. Its configuration goes first, so that what a cut
/// leaves is not taken for an identity.
fn discard(root: &Root) -> Result<()> {
    let directory = Place::Next.directory(root);
    file::remove(&Place::Next.config(root))?;
    fs::remove_dir_all(&directory).with_context(|| format!("removing {}", directory.display()))?;
    file::sync_directory(directory.parent().context("a directory without a parent")?)
}
