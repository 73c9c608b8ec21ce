//! Cached signatures on `/data`, by which an image that was pulled is verified again at
//! each `run`, without network access.
//!
//! The manifest and the signature are stored, not the result of a verification, which
//! anybody who can write to `/data` could forge. The trusted keys are in the read-only
//! root, not in the cache.

use anyhow::{Context, Result};
use edge_common::contract::label;
use edge_common::{Root, file};
use edge_signature::{CachedSignature, Digest, Error, ImageRef, Select, Verified};
use serde_json::Value;

use edge_docker_policy::refusal::{Refusal, refuse};

use super::failure;
use crate::trust::Trust;

/// Directory of `proofs`, the cached signatures by digest, and `tags`, the digest of each
/// tag.
const DIRECTORY: &str = "/data/config/edge-docker";
/// Size limit of a cached signature in bytes: two manifests, signatures and run
/// specifications.
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
    if text.len() as u64 > MAX_PROOF_BYTES {
        return Err(refuse(format_args!(
            "{image} is refused: its manifest and signatures are larger than {MAX_PROOF_BYTES} \
             bytes"
        )));
    }
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

/// Returns the cached signature of a manifest, which is not verified yet; `None` if none is
/// cached.
fn read(root: &Root, digest: &Digest) -> Result<Option<CachedSignature>> {
    let path = proof_path(root, digest);
    if !path.exists() {
        return Ok(None);
    }
    let invalid = |why: String| refuse(format_args!("the cached signature of {digest} {why}"));
    // The cause stays in the error: the boot audit tells a disk that fails from a
    // signature that does not hold.
    let damaged = |cause: anyhow::Error| {
        let why = format!("the cached signature of {digest} is damaged");
        cause.context(Refusal::new(why))
    };
    let text = file::read(&path, MAX_PROOF_BYTES).map_err(damaged)?;
    let proof: CachedSignature = serde_json::from_slice(&text).map_err(|e| damaged(e.into()))?;
    // Somebody may have copied the valid signature of another image to this file.
    if proof.digest() != *digest {
        return Err(invalid("is of another digest".into()));
    }
    Ok(Some(proof))
}

/// Returns `proof` with the signatures that are cached for the same manifest: the image may
/// be signed for several apps and versions, and containers of each of them exist. A damaged
/// cached signature adds nothing.
pub(super) fn merge(
    root: &Root,
    trust: &Trust,
    verified: &Verified,
    proof: CachedSignature,
) -> CachedSignature {
    let older = read(root, &verified.digest).ok().flatten();
    let (keys, repository) = (&trust.keys, &trust.repository);
    proof.merged(older.as_ref(), keys, repository, &verified.annotations)
}

/// Result of looking for the cached signature of an image.
pub(crate) enum Cached {
    /// No signature is cached.
    Absent,
    /// The cached signature is damaged, invalid or for another tag. A pull replaces it.
    Damaged(anyhow::Error),
    /// Content of the signature, and the ID that the engine's image must have.
    Valid(Box<Verified>, Digest),
}

impl Cached {
    /// Returns content and image ID of a valid signature; a damaged one is an error.
    pub(crate) fn valid(self) -> Result<Option<(Verified, Digest)>> {
        match self {
            Self::Absent => Ok(None),
            Self::Damaged(error) => Err(error),
            Self::Valid(verified, id) => Ok(Some((*verified, id))),
        }
    }
}

/// Verifies the cached signature of an image: the one for its tag if it has one, even
/// beside a digest, else the newest one. Refuses an image whose signature cannot be chosen.
pub(crate) fn verified(root: &Root, trust: &Trust, image: &ImageRef) -> Result<Cached> {
    match digest_of(root, image) {
        Some(digest) => verify(root, trust, &digest, Select::of(image)),
        None => Ok(Cached::Absent),
    }
}

/// Verifies the cached signature for the app and version in the labels of a container.
pub(crate) fn of_container(
    root: &Root,
    trust: &Trust,
    labels: &Value,
) -> Result<Option<(Verified, Digest)>> {
    let label = |name: &str| labels[name].as_str().filter(|text| !text.is_empty());
    let digest = label(label::DIGEST).unwrap_or_default().parse::<Digest>();
    let digest =
        digest.map_err(|error| refuse(format_args!("label {}: {error}", label::DIGEST)))?;
    let app = label(label::APP).unwrap_or_default();
    let select = match label(label::VERSION) {
        Some(version) => Select::Version { app, version },
        None => Select::App(app),
    };
    verify(root, trust, &digest, select)?.valid()
}

/// Verifies all cached signatures of a manifest. Returns the apps and versions that they
/// are for, and the image ID; `None` if no signature is cached.
pub(crate) fn versions(
    root: &Root,
    trust: &Trust,
    digest: &Digest,
) -> Result<Option<(Vec<Verified>, Digest)>> {
    let Some(proof) = read(root, digest)? else {
        return Ok(None);
    };
    let (keys, repository) = (&trust.keys, &trust.repository);
    let found = || {
        let trusted = proof.trusted(keys, repository)?;
        if trusted.is_empty() {
            // Its error says why no signature is trusted.
            proof.verify(keys, repository)?;
        }
        Ok((trusted, proof.image_id()?))
    };
    found().map(Some).map_err(|error| invalid(digest, error))
}

fn verify(root: &Root, trust: &Trust, digest: &Digest, select: Select<'_>) -> Result<Cached> {
    let proof = match read(root, digest) {
        Ok(Some(proof)) => proof,
        Ok(None) => return Ok(Cached::Absent),
        Err(error) => return Ok(Cached::Damaged(error)),
    };
    // Verified with the current keys: removing a key from the device image invalidates
    // what it has signed.
    let verified = proof.verify_for(&trust.keys, &trust.repository, select);
    match verified.and_then(|verified| Ok((verified, proof.image_id()?))) {
        Ok((verified, id)) => Ok(Cached::Valid(Box::new(verified), id)),
        // A pull would find the same signatures.
        Err(error @ Error::Ambiguous(_)) => Err(failure::of(error)),
        Err(error) => Ok(Cached::Damaged(invalid(digest, error))),
    }
}

fn invalid(digest: &Digest, error: Error) -> anyhow::Error {
    let error = failure::of(error);
    refuse(format_args!(
        "the cached signature of {digest} is invalid: {error:#}"
    ))
}

/// Returns the digest of the image for this platform, from the cached signature of a
/// manifest; `None` if none is cached.
pub(super) fn image_digest(root: &Root, digest: &Digest) -> Option<Digest> {
    let proof = read(root, digest).ok().flatten()?;
    proof.image().ok().map(|image| image.digest)
}

/// Returns the image ID of a manifest, from its cached signature; `None` if none is cached.
pub(super) fn image_id(root: &Root, digest: &Digest) -> Option<String> {
    let proof = read(root, digest).ok().flatten()?;
    proof.image_id().ok().map(|id| id.to_string())
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
