//! Renewal of the identity: a new key and certificate are created while the old ones
//! stay in use.
//!
//! The new identity is created in `/data/config/aws-iot.next` by the steps of
//! provisioning. After a successful connection with it both directories are exchanged
//! atomically, and the old identity is removed. That connection has the client ID of
//! edge-heartbeat, so AWS closes edge-heartbeat's connection; edge-heartbeat connects
//! again and finds the new identity.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use edge_common::contract::path::IDENTITY;
use edge_common::exit::{Failure, denied};
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

/// Cleans up after an interrupted renewal: exchanges a new identity that was already
/// verified, or removes an old one that was already exchanged. A renewal without a
/// verified identity is left to the next run of the renewal.
pub(crate) fn recover(root: &Root) -> Result<()> {
    let exists = |path: PathBuf| path.exists();
    if !exists(Location::Next.directory(root)) {
        return Ok(());
    }
    match (
        exists(Location::Next.config(root)),
        exists(Location::Next.pending(root)),
    ) {
        // The new identity was verified, but the directories were not exchanged.
        (true, true) => exchange(root),
        (false, true) => Ok(()),
        // The directory contains the old identity after the exchange, or only an unused
        // key.
        (_, false) => discard(root),
    }
}

/// Renews the identity unless its certificate remains valid for more than `within`
/// days.
pub(crate) fn run(root: &Root, device: &Device, within: Option<u32>, end: Instant) -> Result<()> {
    let (_, certificate) = store::validate(root, &device.thing_name)?;
    // An interrupted renewal is completed even if it is not due yet: the cloud may
    // already have registered its certificate.
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
    let claim = claim::load(root).map_err(|e| Failure::wrap(CLAIM, denied(e)))?;
    let ca_bundle = CaBundle::load(root).map_err(|e| Failure::wrap(CLAIM, e))?;
    clock::wait(&claim, end)?;
    let known_key = store::load_or_create_key(root, Location::Current)?;
    // The key is replaced as well, so that a key that leaked unnoticed can be used only
    // until the renewal.
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
    // The identity is validated again from the disk, as edge-heartbeat will read it.
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

/// Exchanges the directories of the current and the next identity, and removes the old
/// identity.
fn exchange(root: &Root) -> Result<()> {
    let current = Location::Current.directory(root);
    let next = Location::Next.directory(root);
    // One atomic system call: readers find either the old key with the old certificate
    // or the new key with the new one, also after a power loss. Between two renames
    // there would be neither.
    renameat_with(CWD, &current, CWD, &next, RenameFlags::EXCHANGE)
        .with_context(|| format!("exchanging {IDENTITY} and {IDENTITY}.next"))?;
    let parent = current.parent().context("a directory without a parent")?;
    file::sync_directory(parent)?;
    store::remove_pending(root, Location::Current)?;
    discard(root)
}

/// Removes `/data/config/aws-iot.next` with its content.
fn discard(root: &Root) -> Result<()> {
    let directory = Location::Next.directory(root);
    // The configuration is removed first, so that the rest of an interrupted removal is
    // not mistaken for a verified identity.
    file::remove(&Location::Next.config(root))?;
    fs::remove_dir_all(&directory).with_context(|| format!("removing {}", directory.display()))?;
    file::sync_directory(directory.parent().context("a directory without a parent")?)
}
