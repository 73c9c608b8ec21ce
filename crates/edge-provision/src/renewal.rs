//! Renewal: another key and certificate while the old ones still work.
//!
//! The new identity is created in a directory beside the old one, by the same steps. Once
//! a connection with it has worked, both directories are exchanged in one step and the
//! old identity is removed. The connection takes over the client id of edge-heartbeat for
//! a moment; edge-heartbeat connects again, with the new identity.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use edge_common::contract::path::IDENTITY;
use edge_common::exit::Failure;
use edge_common::mqtt::CaBundle;
use edge_common::{Root, file, log};
use openssl::asn1::Asn1Time;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::attempt::Attempt;
use crate::claim::{self, Claim};
use crate::clock;
use crate::device::Device;
use crate::error::AttemptError;
use crate::exit_code::CLAIM;
use crate::store::{self, Location};

/// Finishes a renewal that was interrupted after its verification, and removes the rest of
/// one whose exchange was interrupted. One that waits for its registration is left to the
/// next renewal.
pub(crate) fn recover(root: &Root) -> Result<()> {
    let exists = |path: PathBuf| path.exists();
    if !exists(Location::Next.directory(root)) {
        return Ok(());
    }
    match (
        exists(Location::Next.config(root)),
        exists(Location::Next.pending(root)),
    ) {
        // Verified and not exchanged.
        (true, true) => exchange(root),
        (false, true) => Ok(()),
        // The old identity after the exchange, or a key that was never used.
        (_, false) => discard(root),
    }
}

/// Renews the identity, unless the certificate is valid for more than `within` days.
pub(crate) fn run(root: &Root, device: &Device, within: Option<u32>, end: Instant) -> Result<()> {
    let (_, certificate) = store::validate(root, &device.thing_name)?;
    // A renewal that was begun is finished: the cloud may have registered its certificate.
    let begun = Location::Next.pending(root).exists();
    if let Some(days) = within.filter(|_| !begun) {
        let due = Asn1Time::days_from_now(days)?;
        if certificate.not_after() > &*due {
            log::info(format_args!(
                "not due: the certificate is valid until {}",
                certificate.not_after()
            ));
            return Ok(());
        }
    }
    let claim = claim::load(root).map_err(|e| Failure::wrap(CLAIM, e))?;
    let ca_bundle = CaBundle::load(root).map_err(|e| Failure::wrap(CLAIM, e))?;
    clock::wait(&claim, end)?;
    let known_key = store::load_or_create_key(root, Location::Current)?;
    // A new key as well: one that leaked unnoticed is of use until the renewal only.
    let key = store::load_or_create_key(root, Location::Next)?;
    let mut attempt = Attempt {
        root,
        location: Location::Next,
        device,
        claim: &claim,
        key: &key,
        known_key: &known_key,
        ca_bundle: &ca_bundle,
        session: None,
    };
    let renewed = attempt.persist(end);
    renewed
        .map_err(AttemptError::into_failure)
        .context("renewing; the old certificate stays in use")?;
    exchange(root)?;
    // After the exchange, from the disk: what edge-heartbeat will read.
    verify(root, device, &claim)?;
    log::info("renewed: the old key and certificate are removed");
    Ok(())
}

fn verify(root: &Root, device: &Device, claim: &Claim) -> Result<()> {
    let (config, _) = store::validate(root, &device.thing_name)?;
    if config.endpoint != claim.endpoint {
        bail!("the new configuration has another endpoint");
    }
    Ok(())
}

/// Exchanges the directories and removes the old identity.
fn exchange(root: &Root) -> Result<()> {
    let current = Location::Current.directory(root);
    let next = Location::Next.directory(root);
    // One system call: readers see the old key with the old certificate or the new with
    // the new, at a power loss as well. Two renames would leave a moment with neither.
    renameat_with(CWD, &current, CWD, &next, RenameFlags::EXCHANGE)
        .with_context(|| format!("exchanging {IDENTITY} and {IDENTITY}.next"))?;
    let parent = current.parent().context("a directory without a parent")?;
    file::sync_directory(parent)?;
    store::remove_pending(root, Location::Current)?;
    discard(root)
}

/// Removes the directory of the next identity.
fn discard(root: &Root) -> Result<()> {
    let directory = Location::Next.directory(root);
    // The configuration goes first, so that the rest of an interrupted removal is not
    // taken for a verified identity.
    file::remove(&Location::Next.config(root))?;
    fs::remove_dir_all(&directory).with_context(|| format!("removing {}", directory.display()))?;
    file::sync_directory(directory.parent().context("a directory without a parent")?)
}
