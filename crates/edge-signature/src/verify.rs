//! Verification of signatures against trusted keys, a repository and a digest.

use crate::annotations::Stated;
use crate::error::Error;
use crate::keys::Keys;
use crate::limits::{MAX_PAYLOAD_BYTES, MAX_SIGNATURES};
use crate::reference::{Digest, Repository};
use crate::select::Select;
use crate::signed::{Format, Signed};
use crate::verified::Verified;
use crate::{bundle, simple_signing};

/// Reason why a signature does not count whose key is not trusted.
const UNTRUSTED_KEY: &str = "signed by a key that is not trusted";
/// Number of untrusted keys that an error describes.
const MAX_KEY_REASONS: usize = 2;

/// Verifies signatures and chooses among the trusted ones with `select`. A trusted
/// signature is made by one of `keys`, for exactly `digest`, with valid annotations and,
/// in the v2 format, for exactly `repository`.
///
/// # Errors
/// [`Error::Unsigned`] if there is no signature, [`Error::Untrusted`] with the reason for
/// each signature, or [`Error::NotSelected`] or [`Error::Ambiguous`] if `select` chooses
/// none of the trusted ones.
pub fn verify(
    keys: &Keys,
    repository: &Repository,
    digest: &Digest,
    signatures: &[Signed],
    select: Select,
) -> Result<Verified, Error> {
    let (mut trusted, mut reasons) = (Vec::new(), Vec::new());
    // Anyone who can push may add other signatures, and an invalid one must not revoke a
    // valid one.
    for signed in signatures.iter().take(2 * MAX_SIGNATURES) {
        match verify_one(keys, repository, digest, signed) {
            Ok(verified) => trusted.push(verified),
            Err(reason) => reasons.push(reason),
        }
    }
    if trusted.is_empty() {
        return Err(untrusted(keys, repository, digest, reasons));
    }
    select.choose(digest, &trusted)
}

/// Returns the error for an image without a trusted signature: `Untrusted` with
/// `reasons`, or `Unsigned` if there are none. After a reason about a key stand the
/// trusted ones.
pub(crate) fn untrusted(
    keys: &Keys,
    repository: &Repository,
    digest: &Digest,
    mut reasons: Vec<String>,
) -> Error {
    reasons.sort();
    reasons.dedup();
    if reasons.is_empty() {
        return Error::Unsigned(format!("{repository}@{digest}"));
    }
    let (mut of_keys, others): (Vec<_>, Vec<_>) = reasons
        .into_iter()
        .partition(|r| r.starts_with(UNTRUSTED_KEY));
    if !of_keys.is_empty() {
        // One of both formats may say whose key it is. Anybody can add more signatures,
        // and the trusted keys must still fit in the message.
        if of_keys.len() > 1 {
            of_keys.retain(|reason| reason != UNTRUSTED_KEY);
        }
        of_keys.truncate(MAX_KEY_REASONS);
        of_keys.push(keys.described());
    }
    of_keys.extend(others);
    Error::Untrusted(of_keys.join("; "))
}

/// Verifies a signature, of whatever kind. Returns its signer, what it states, and the tag
/// that it names; the error is the reason why it is not trusted, which begins with
/// `untrusted_key` if no trusted key fits.
pub(crate) fn signed_by(
    keys: &Keys,
    untrusted_key: &str,
    repository: &Repository,
    digest: &Digest,
    signed: &Signed,
) -> Result<(Digest, Option<Stated>, Option<String>), String> {
    if signed.payload().len() > MAX_PAYLOAD_BYTES {
        return Err("the payload is too large".into());
    }
    // The signature is verified first, so that only bytes that a trusted key has signed
    // are parsed.
    let signer = signed.signer(keys);
    let signer = signer.ok_or_else(|| match signed.stranger(keys) {
        Some(stranger) => format!("{untrusted_key} ({stranger})"),
        None => untrusted_key.into(),
    })?;
    let (stated, tag) = match signed.format() {
        Format::V2 => simple_signing::parse(repository, digest, signed.payload())?,
        Format::V3 => (bundle::parse(digest, signed.payload())?, None),
    };
    Ok((signer, stated, tag))
}

/// Verifies one signature; the error is the reason why it is not trusted.
pub(crate) fn verify_one(
    keys: &Keys,
    repository: &Repository,
    digest: &Digest,
    signed: &Signed,
) -> Result<Verified, String> {
    let (signer, stated, tag) = signed_by(keys, UNTRUSTED_KEY, repository, digest, signed)?;
    // The policy takes the app's name and grants from these annotations. A signature
    // without them, for example by plain `cosign sign`, does not say which permissions
    // the image may have.
    let reserved = stated.as_ref().and_then(Stated::reserved_app);
    let annotations = stated.and_then(Stated::validate);
    let annotations = annotations.ok_or_else(|| match reserved {
        Some(app) => format!("signed for {app:?}, a name that is reserved for deployments"),
        None => "missing or invalid edge.* annotations".into(),
    })?;
    Ok(Verified {
        digest: digest.clone(),
        annotations,
        run: None,
        tag,
        signer: signer.hex().into(),
    })
}
