//! Cached signatures on `/data`: what was verified once can be verified again without a
//! network. The directory is root's own, and yet each signature is verified again at every
//! use: the keys in the image of the device decide, not the cache.

use anyhow::{Context, Result};
use edge_common::{Root, file};
use edge_signature::{Digest, ImageRef, Proof, Verified};

use edge_docker_policy::refusal::refuse;

use super::failure;
use crate::trust::Trust;

/// Directory of the cache.
const DIRECTORY: &str = "/data/config/edge-docker";
/// Largest cached signature, in bytes: two manifests and a signature.
const MAX_PROOF_BYTES: u64 = 16 * 1024 * 1024;

/// Caches a signature, and the digest that the tag named.
pub(super) fn keep(root: &Root, image: &ImageRef, digest: &Digest, proof: &Proof) -> Result<()> {
    for directory in ["proofs", "tags"] {
        file::create_directory(&root.path(DIRECTORY).join(directory), 0o700)?;
    }
    let text = serde_json::to_vec(proof).context("writing a proof")?;
    file::ensure(&proof_path(root, digest), &text, 0o600)?;
    // Beside a digest, nobody resolved the tag.
    if let (Some(tag), None) = (&image.tag, &image.digest) {
        file::ensure(
            &root.path(DIRECTORY).join("tags").join(tag),
            digest.as_str().as_bytes(),
            0o600,
        )?;
    }
    Ok(())
}

/// Returns the digest of an image and its cached signature, if there is one.
fn find(root: &Root, image: &ImageRef) -> Result<Option<(Digest, Proof)>> {
    let Some(digest) = digest_of(root, image) else {
        return Ok(None);
    };
    let path = proof_path(root, &digest);
    if !path.exists() {
        return Ok(None);
    }
    let damaged = |why: String| refuse(format_args!("the proof kept of {digest} {why}"));
    let text =
        file::read(&path, MAX_PROOF_BYTES).map_err(|e| damaged(format!("is damaged: {e:#}")))?;
    let proof: Proof =
        serde_json::from_slice(&text).map_err(|e| damaged(format!("is damaged: {e}")))?;
    if proof.digest() != digest {
        return Err(damaged("is for other content".into()));
    }
    Ok(Some((digest, proof)))
}

/// Verifies the cached signature of an image; returns it with the ID that the image must
/// have. One that is damaged or does not hold is an error, which a pull repairs.
pub(crate) fn verified(
    root: &Root,
    trust: &Trust,
    image: &ImageRef,
) -> Result<Option<(Verified, Digest)>> {
    let Some((digest, proof)) = find(root, image)? else {
        return Ok(None);
    };
    let holds = || {
        Ok((
            proof.verify(&trust.keys, &trust.repository)?,
            proof.image_id()?,
        ))
    };
    holds().map(Some).map_err(|error| {
        let error = failure::of(error);
        refuse(format_args!(
            "the proof kept of {digest} does not hold: {error:#}"
        ))
    })
}

/// Returns the digests of the manifests whose signatures are cached, in order.
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
