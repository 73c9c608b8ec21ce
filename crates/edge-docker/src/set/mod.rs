//! Release sets on this device: kept proofs, the floor of their numbers, and revoked
//! digests.
//!
//! A set is verified from its bytes at each use, with the keys of the read-only root, also
//! without a network. It names versions that the team has signed and lets none run by
//! itself: the signature of each image is verified as without a set, and has to state what
//! the set states. See `docs/decisions/0056-release-sets.md`.

mod named;
mod proofs;
mod record;
mod revoked;

use anyhow::{Context, Result};
use edge_common::{Root, known_time};
use edge_docker_policy::refusal::{Refusal, refuse};
use edge_signature::set::{Reason, SetKeys, SetProof, SetRefusal, VerifiedSet};
use edge_signature::{Digest, Repository};

use crate::break_glass;
use crate::trust;

pub(crate) use named::Named;
pub(crate) use record::Record;
pub(crate) use revoked::{any_revoked, require_not_revoked};

/// Trust anchors of release sets, and the name of this device.
pub(crate) struct Anchors {
    /// Keys of the role and how many of them must have signed.
    pub(crate) keys: SetKeys,
    /// Repository from `ecr-url.txt`.
    pub(crate) repository: Repository,
    thing: String,
}

impl Anchors {
    /// Reads the trust anchors.
    pub(crate) fn load(root: &Root) -> Result<Self> {
        let keys = trust::set_keys(root)?.ok_or_else(|| {
            refuse(
                "release sets are refused: this device image has no set-signing*.pub, so they are \
                 off",
            )
        })?;
        Ok(Self {
            keys,
            repository: trust::load(root)?.repository,
            thing: break_glass::thing(root)?,
        })
    }

    /// Verifies a proof, and that the set is for this device.
    fn verify(&self, proof: &SetProof) -> Result<VerifiedSet> {
        let set = proof.verify(&self.keys, &self.repository);
        let set = set.map_err(|error| match SetRefusal::of(&error) {
            Some(refusal) => refused(&proof.digest(), refusal),
            None => refuse(error),
        })?;
        // At time 0 nothing has expired: that ends taking a set, never using it.
        let may = set.may_take(0, &self.thing);
        may.map_err(|refusal| refused(&set.digest, refusal))?;
        Ok(set)
    }
}

/// Takes a set: refuses one that this device may not take, applies its revocations, and keeps
/// its proof, unless it is a revocation list. `before` is called when all checks have passed
/// and nothing has changed yet.
pub(crate) fn take(
    root: &Root,
    anchors: &Anchors,
    proof: SetProof,
    before: impl FnOnce(&VerifiedSet) -> Result<()>,
) -> Result<VerifiedSet> {
    let verified = anchors.verify(&proof)?;
    let (set, digest) = (&verified.set, &verified.digest);
    let _lock = record::lock(root)?;
    let found = record::find(root)?;
    let mut record = found.unwrap_or_default();
    let refused = |reason, message: String| refused(digest, SetRefusal::new(reason, message));
    let now = known_time::clock().max(known_time::newest(root));
    let may = verified.may_take(now, &anchors.thing);
    may.map_err(|refusal| self::refused(digest, refusal))?;
    let is_list = set.is_revocation_list();
    // The statements of a list count by their own numbers.
    if set.serial < record.floor && !is_list {
        return Err(refused(
            Reason::Floor,
            format!(
                "number {} of {} is below {}, which this device has committed: release again",
                set.serial, set.name, record.floor
            ),
        ));
    }
    record.apply(set);
    if let Some(app) = set.apps.iter().find(|app| record.is_revoked(&app.digest)) {
        let (name, version) = (&app.name, &app.version);
        return Err(refused(
            Reason::Revoked,
            format!("{name} {version} ({}) is revoked", app.digest),
        ));
    }
    record
        .require_space()
        .map_err(|e| refused(Reason::Form, e))?;
    before(&verified)?;
    // First what forbids: killed in between, the set is taken again.
    record.write(root)?;
    if !is_list {
        proofs::keep(root, &proof, record.committed.as_ref())?;
    }
    Ok(verified)
}

/// Verifies a set that this device keeps, named by its digest with or without `sha256:`.
pub(crate) fn load(root: &Root, anchors: &Anchors, name: &str) -> Result<VerifiedSet> {
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    let digest: Digest = format!("sha256:{hex}")
        .parse()
        .map_err(|_| refuse(format_args!("{name:?} is not the digest of a release set")))?;
    let proof = proofs::read(root, &digest)?.ok_or_else(|| {
        refuse(format_args!(
            "release set {digest} is not on this device: edge-docker set take"
        ))
    })?;
    anchors.verify(&proof)
}

/// Raises the floor to the number of a set that this device keeps.
pub(crate) fn commit(
    root: &Root,
    verified: &VerifiedSet,
    before: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let set = &verified.set;
    let _lock = record::lock(root)?;
    let mut record = record::find(root)?.unwrap_or_default();
    if set.serial < record.floor {
        let message = format!(
            "number {} is below {}, which this device has committed",
            set.serial, record.floor
        );
        let refusal = SetRefusal::new(Reason::Floor, message);
        return Err(refused(&verified.digest, refusal));
    }
    before()?;
    record.floor = set.serial;
    record.committed = Some(verified.digest.clone());
    record.write(root)
}

/// Writes the record again: the strictest that the record, its copy and the proofs of
/// committed sets show.
pub(crate) fn repair(root: &Root, before: impl FnOnce() -> Result<()>) -> Result<Record> {
    let _lock = record::lock(root)?;
    let mut record = record::left(root);
    if let Ok(anchors) = Anchors::load(root) {
        for digest in proofs::digests(root)? {
            let Ok(set) = load(root, &anchors, digest.hex()) else {
                continue;
            };
            record.apply(&set.set);
            // Which of them was committed is not known any more.
            if set.set.serial > record.floor {
                record.floor = set.set.serial;
                record.committed = Some(digest);
            }
        }
    }
    before()?;
    record.write(root)?;
    Ok(record)
}

/// Returns the record; the one of a device that has taken no set is empty.
pub(crate) fn record(root: &Root) -> Result<Record> {
    Ok(record::find(root)?.unwrap_or_default())
}

/// Returns the digests of the sets that this device keeps, and what is wrong with each that
/// is not valid.
pub(crate) fn kept(root: &Root, anchors: &Anchors) -> Result<Vec<(Digest, Result<VerifiedSet>)>> {
    let digests = proofs::digests(root)?;
    let load = |digest: Digest| {
        let set = load(root, anchors, digest.hex());
        (digest, set)
    };
    Ok(digests.into_iter().map(load).collect())
}

/// Returns the digests that valid sets name which may still be carried out.
pub(crate) fn named(root: &Root) -> Result<Vec<Digest>> {
    // The usual case, on devices without sets: no trust anchor is read.
    if proofs::digests(root)?.is_empty() || trust::set_keys(root)?.is_none() {
        return Ok(Vec::new());
    }
    let floor = record(root)?.floor;
    let sets = kept(root, &Anchors::load(root)?)?.into_iter();
    let sets = sets.filter_map(|(_, set)| set.ok().map(|verified| verified.set));
    let apps = sets.filter(|set| set.serial >= floor).flat_map(|s| s.apps);
    Ok(apps.map(|app| app.digest).collect())
}

/// Returns the error for a refused set. Its kind is read by `set … --json`.
pub(crate) fn refused(digest: &Digest, refusal: SetRefusal) -> anyhow::Error {
    let text = Refusal::new(format!("release set {digest} is refused"));
    anyhow::Error::new(refusal).context(text)
}

/// Reads a file of the sets' directory.
fn read(root: &Root, directory: &str, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let path = root.path(directory).join(name);
    // `exists` would follow links, and a dangling link would count as an absent file.
    match std::fs::symlink_metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        _ => edge_common::file::read(&path, limit)
            .map(Some)
            .with_context(|| format!("{directory}/{name}")),
    }
}
