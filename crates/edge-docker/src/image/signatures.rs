//! Cached signatures on `/data`, by which an image that was pulled is verified again at
//! each `run`, without network access.
//!
//! The manifest and the signature are stored, not the result of a verification, which
//! anybody who can write to `/data` could forge. The trusted keys are in the read-only
//! root, not in the cache.

use anyhow::{Context, Result};
use edge_common::{Root, file};
use edge_signature::{CachedSignature, Digest, ImageRef, Verified};

use edge_docker_policy::refusal::refuse;

use super::failure;
use crate::trust::Trust;

/// Directory of `proofs`, the cached signatures by digest, and `tags`, the digest of each
/// tag.
const DIRECTORY: &str = "/data/config/edge-docker";
/// Size limit of a cached signature in bytes: two manifests and a signature.
const MAX_PROOF_BYTES: u64 = 16 * 1024 * 1024;

/// Stores the signature of a verified image, and the digest to which its tag was
/// resolved.
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
    // With a digest in the reference, the tag was not resolved: the caller could type any
    // tag, and a later `run` of that tag would start this digest.
    if let (Some(tag), None) = (&image.tag, &image.digest) {
        file::ensure(
            &root.path(DIRECTORY).join("tags").join(tag),
            digest.as_str().as_bytes(),
            0o600,
        )?;
    }
    Ok(())
}

/// Returns the digest and the cached signature of an image, which is not verified yet;
/// `None` if none is cached.
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
    // Somebody may have copied the valid signature of another image to this file.
    if proof.digest() != digest {
        return Err(invalid("is of another digest".into()));
    }
    Ok(Some((digest, proof)))
}

/// Verifies the cached signature of an image. Returns its content and the ID that the
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
    // Verified with the current keys: removing a key from the device image invalidates
    // what it has signed.
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

/// Returns the digest in the image reference, or the one to which its tag was resolved at
/// the last pull. The registry is not queried, so that a moved tag does not change what a
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
