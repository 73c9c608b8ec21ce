//! Proofs on `/data`: what was verified once can be verified again without
//! network. Root's own folder; nothing in it is believed, all is checked again.

use anyhow::{Context, Result};
use edge_common::{Root, file};
use edge_signature::{Digest, ImageRef, Proof};

/// Where they are kept.
const FOLDER: &str = "/data/config/edge-docker";
/// Largest proof that is read, in bytes.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Keeps a proof, and which digest the tag named.
///
/// # Errors
/// `/data` cannot be written.
pub fn keep(root: &Root, image: &ImageRef, digest: &Digest, proof: &Proof) -> Result<()> {
    for folder in ["proofs", "tags"] {
        file::create_folder(&root.path(FOLDER).join(folder), 0o700)?;
    }
    let text = serde_json::to_vec(proof).context("writing a proof")?;
    file::ensure(&proof_path(root, digest), &text, 0o600)?;
    if let Some(tag) = &image.tag {
        file::ensure(
            &root.path(FOLDER).join("tags").join(tag),
            digest.as_str().as_bytes(),
            0o600,
        )?;
    }
    Ok(())
}

/// The digest and proof that are kept for `image`, if any.
///
/// # Errors
/// A proof that is there but damaged.
pub fn find(root: &Root, image: &ImageRef) -> Result<Option<(Digest, Proof)>> {
    let Some(digest) = digest_of(root, image) else {
        return Ok(None);
    };
    let path = proof_path(root, &digest);
    if !path.exists() {
        return Ok(None);
    }
    let text = file::read(&path, LARGEST)?;
    let proof =
        serde_json::from_slice(&text).with_context(|| format!("parsing the proof of {digest}"))?;
    Ok(Some((digest, proof)))
}

fn digest_of(root: &Root, image: &ImageRef) -> Option<Digest> {
    if let Some(digest) = &image.digest {
        return Some(digest.clone());
    }
    let path = root.path(FOLDER).join("tags").join(image.tag.as_deref()?);
    file::read_text(&path, 128).ok()?.parse().ok()
}

fn proof_path(root: &Root, digest: &Digest) -> std::path::PathBuf {
    root.path(FOLDER)
        .join("proofs")
        .join(format!("{}.json", digest.hex()))
}
