//! Cached signatures on `/data`: an image that was verified once is verified again at each
//! run, without network.
//!
//! The manifest and the signature are kept, never a mark "verified", which whoever can
//! write to `/data` could set. The keys in the image of the device decide, not the cache.

use anyhow::{Context, Result};
use edge_common::{Root, file};
use edge_signature::{CachedSignature, Digest, ImageRef, Verified};

use edge_docker_policy::refusal::refuse;

use super::failure;
use crate::trust::Trust;

/// Directory of the cached signatures, and of the digest of each tag.
const DIRECTORY: &str = "/data/config/edge-docker";
/// Largest cached signature that is read, in bytes: two manifests and a signature.
const MAX_PROOF_BYTES: u64 = 16 * 1024 * 1024;

/// Stores a verified signature, and the digest that the tag named when it was resolved.
pub(super) fn store(
    root: &Root,
    image: &ImageRef,
    digest: &Digest,
    proof: &CachedSignature,
) -> Result<()> {
    for directory in ["proofs", "tags"] {
        file::create_directory(&root.path(DIRECTORY).join(directory), 0o700)?;
    }
    let text = serde_json::to_vec(proof).context("encoding a signature")?;
    file::ensure(&proof_path(root, digest), &text, 0o600)?;
    // Beside a digest the tag was not resolved: the caller could have typed any tag,
    // under which a later run would then find this digest.
    if let (Some(tag), None) = (&image.tag, &image.digest) {
        file::ensure(
            &root.path(DIRECTORY).join("tags").join(tag),
            digest.as_str().as_bytes(),
            0o600,
        )?;
    }
    Ok(())
}

/// Returns the digest and the cached signature of an image, if there is one.
fn find(root: &Root, image: &ImageRef) -> Result<Option<(Digest, CachedSignature)>> {
    let Some(digest) = digest_of(root, image) else {
        return Ok(None);
    };
    let path = proof_path(root, &digest);
    if !path.exists() {
        return Ok(None);
    }
    let invalid = |why: String| refuse(format_args!("the cached signature of {digest} {why}"));
    let text =
        file::read(&path, MAX_PROOF_BYTES).map_err(|e| invalid(format!("is damaged: {e:#}")))?;
    let proof: CachedSignature =
        serde_json::from_slice(&text).map_err(|e| invalid(format!("is damaged: {e}")))?;
    // The genuine signature of another image, copied to the name of this one.
    if proof.digest() != digest {
        return Err(invalid("is of another digest".into()));
    }
    Ok(Some((digest, proof)))
}

/// Verifies the cached signature of an image; returns its content and the ID that the
/// engine's image must have, or `None` if no signature is cached. A damaged or invalid
/// signature is an error; a pull replaces it.
pub(crate) fn verified(
    root: &Root,
    trust: &Trust,
    image: &ImageRef,
) -> Result<Option<(Verified, Digest)>> {
    let Some((digest, proof)) = find(root, image)? else {
        return Ok(None);
    };
    // With the keys of now: a key that the image of the device no longer has ends what it
    // signed.
    let verify = || {
        Ok((
            proof.verify(&trust.keys, &trust.repository)?,
            proof.image_id()?,
        ))
    };
    verify().map(Some).map_err(|error| {
        let error = failure::of(error);
        refuse(format_args!(
            "the cached signature of {digest} is invalid: {error:#}"
        ))
    })
}

/// Returns the digests of the manifests whose signatures are cached, sorted.
pub(crate) fn digests(root: &Root) -> Result<Vec<Digest>> {
    let entries = match std::fs::read_dir(root.path(DIRECTORY).join("proofs")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {DIRECTORY}/proofs")),
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let digest = |name: std::ffi::OsString| {
        let hex = name.to_str()?.strip_suffix(".json")?;
        format!("sha256:{hex}").parse().ok()
    };
    let mut digests: Vec<_> = names.filter_map(digest).collect();
    digests.sort();
    Ok(digests)
}

/// Returns the digest of an image: its own, or the one that its tag named when it was
/// pulled. The registry is not asked, so that a tag that moves does not change what a
/// device runs.
fn digest_of(root: &Root, image: &ImageRef) -> Option<Digest> {
    if let Some(digest) = &image.digest {
        return Some(digest.clone());
    }
    let path = root
        .path(DIRECTORY)
        .join("tags")
        .join(image.tag.as_deref()?);
    file::read_text(&path, 128).ok()?.parse().ok()
}

fn proof_path(root: &Root, digest: &Digest) -> std::path::PathBuf {
    root.path(DIRECTORY)
        .join("proofs")
        .join(format!("{}.json", digest.hex()))
}
