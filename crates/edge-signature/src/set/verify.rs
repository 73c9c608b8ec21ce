//! Verification of the signatures of a release set.

use std::collections::BTreeMap;

use super::{Reason, ReleaseSet, SetProof, SetRefusal};
use crate::annotations::SetAnnotations;
use crate::error::Error;
use crate::keys::Keys;
use crate::limits::MAX_SIGNATURES;
use crate::reference::{Digest, Repository};
use crate::signed::Signed;
use crate::verify::signed_by;

/// Reason why a signature by another key does not count.
const UNTRUSTED_KEY: &str = "signed by a key that is not trusted for release sets";

/// Trusted keys of release sets, and the number of different ones that must have signed.
pub struct SetKeys {
    /// Keys of the role, `set-signing*.pub`.
    pub keys: Keys,
    /// Number of different keys that must have signed a set; at least 1.
    pub threshold: usize,
}

/// Result of a verification: a release set that the required number of keys has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedSet {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Content of the document.
    pub set: ReleaseSet,
    /// SHA-256 of the signers' public keys in DER, in hexadecimal, sorted.
    pub signers: Vec<String>,
}

impl VerifiedSet {
    /// Refuses a set that a device may not take: one that has expired at the time `now`, in
    /// seconds of Unix time, or is not for `thing`.
    ///
    /// # Errors
    /// The refusal.
    pub fn may_take(&self, now: u64, thing: &str) -> Result<(), SetRefusal> {
        let set = &self.set;
        let (name, serial) = (&set.name, set.serial);
        if !set.is_for(thing) {
            let things = set.things.join(", ");
            return Err(SetRefusal::new(
                Reason::NotFor,
                format_args!("set {name} {serial} is for {things}, and this device is {thing}"),
            ));
        }
        if now > set.expires {
            return Err(SetRefusal::new(
                Reason::Expired,
                format_args!(
                    "set {name} {serial} expired {} s ago: release it again",
                    now - set.expires
                ),
            ));
        }
        Ok(())
    }
}

impl SetProof {
    /// Verifies the set: the required number of different trusted keys has signed exactly
    /// this manifest, which names exactly this document, and the signed name and number are
    /// those of the document.
    ///
    /// # Errors
    /// [`Error::Unsigned`] or [`Error::Untrusted`] about the signatures,
    /// [`Error::Malformed`] about the form.
    pub fn verify(&self, trusted: &SetKeys, repository: &Repository) -> Result<VerifiedSet, Error> {
        // The document is parsed only if it is signed.
        let (mut by_key, mut reasons) = (BTreeMap::new(), Vec::new());
        let digest = self.digest();
        for signed in self.signatures.iter().take(2 * MAX_SIGNATURES) {
            match verify_one(&trusted.keys, repository, &digest, signed) {
                Ok((signer, annotations)) => {
                    let list: &mut Vec<_> = by_key.entry(signer.hex().to_string()).or_default();
                    list.push(annotations);
                }
                Err(reason) => reasons.push(reason),
            }
        }
        if by_key.len() < trusted.threshold.max(1) {
            return Err(too_few(trusted, by_key.len(), reasons, repository, &digest));
        }
        let set = ReleaseSet::parse(self.document()?)?;
        let signers = by_key.into_iter().filter(|(_, signed)| {
            let same = |a: &SetAnnotations| {
                a.name == set.name
                    && a.number == set.serial
                    && a.tag.as_ref().is_none_or(|tag| *tag == set.tag())
            };
            signed.iter().any(same)
        });
        let signers: Vec<_> = signers.map(|(signer, _)| signer).collect();
        if signers.len() < trusted.threshold.max(1) {
            reasons.push("signed for another name or number than the document's".into());
            return Err(too_few(
                trusted,
                signers.len(),
                reasons,
                repository,
                &digest,
            ));
        }
        Ok(VerifiedSet {
            digest,
            set,
            signers,
        })
    }

    /// Returns the proof with one signature of each trusted key: what others have added is
    /// not kept on a device.
    #[must_use]
    pub fn trimmed(mut self, trusted: &SetKeys, repository: &Repository) -> Self {
        let digest = self.digest();
        let mut kept: BTreeMap<String, Signed> = BTreeMap::new();
        for signed in self.signatures.iter().take(2 * MAX_SIGNATURES) {
            if let Ok((signer, _)) = verify_one(&trusted.keys, repository, &digest, signed) {
                // Signers append, so the last one is the newest.
                kept.insert(signer.hex().to_string(), signed.clone());
            }
        }
        self.signatures = kept.into_values().collect();
        self
    }
}

/// Verifies one signature. Returns its signer and what it states; the error is the reason
/// why it does not count.
fn verify_one(
    keys: &Keys,
    repository: &Repository,
    digest: &Digest,
    signed: &Signed,
) -> Result<(Digest, SetAnnotations), String> {
    let (signer, stated, tag) = signed_by(keys, UNTRUSTED_KEY, repository, digest, signed)?;
    let stated = stated.and_then(|stated| stated.validate_set(tag));
    let stated = stated.ok_or("not signed as a release set: edge.set and edge.serial alone")?;
    Ok((signer, stated))
}

fn too_few(
    trusted: &SetKeys,
    count: usize,
    mut reasons: Vec<String>,
    repository: &Repository,
    digest: &Digest,
) -> Error {
    reasons.sort();
    reasons.dedup();
    if reasons.is_empty() && count == 0 {
        return Error::Unsigned(format!("{repository}@{digest}"));
    }
    if count > 0 {
        let threshold = trusted.threshold;
        let few = format!("signed by {count} of {threshold} different keys that are required");
        reasons.insert(0, few);
    }
    reasons.push(trusted.keys.described());
    Error::Untrusted(reasons.join("; "))
}
