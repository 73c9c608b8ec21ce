//! Proofs of the release sets that this device has taken.

use std::fs;
use std::io::ErrorKind;

use anyhow::{Context, Result};
use edge_common::contract::path::SETS;
use edge_common::{Root, file, log};
use edge_docker_policy::refusal::refuse;
use edge_signature::Digest;
use edge_signature::set::SetProof;

/// Size limit of a proof in bytes: manifest and document in Base64, and one signature of each
/// key.
const MAX_PROOF_BYTES: u64 = 2 * 1024 * 1024;
/// Maximum number of proofs: the committed one, the one that is carried out, and some that
/// were taken and replaced before that.
const MAX_PROOFS: usize = 8;

/// Keeps a proof, and removes the oldest ones that are too many; never the one of
/// `committed`.
pub(super) fn keep(root: &Root, proof: &SetProof, committed: Option<&Digest>) -> Result<()> {
    let directory = root.path(SETS);
    file::create_directory(&directory, 0o700)?;
    let bytes = proof.to_bytes();
    if bytes.len() as u64 > MAX_PROOF_BYTES {
        return Err(refuse(format_args!(
            "release set {} is refused: its proof is larger than {MAX_PROOF_BYTES} bytes",
            proof.digest()
        )));
    }
    // Written again if it is there: its time is that of the last taking.
    file::write(&directory.join(name(&proof.digest())), &bytes, 0o600)?;
    let mut others = Vec::new();
    for digest in digests(root)? {
        if digest != proof.digest() && Some(&digest) != committed {
            let path = directory.join(name(&digest));
            let taken = fs::symlink_metadata(&path).and_then(|data| data.modified());
            others.push((taken.ok(), path));
        }
    }
    others.sort();
    let excess = others.len().saturating_sub(MAX_PROOFS - 2);
    for (_, path) in others.into_iter().take(excess) {
        if let Err(error) = fs::remove_file(&path) {
            log::warn(format_args!("removing {}: {error}", path.display()));
        }
    }
    Ok(())
}

/// Returns the proof of a set, which is not verified; `None` if there is none.
pub(super) fn read(root: &Root, digest: &Digest) -> Result<Option<SetProof>> {
    let damaged = |why: &dyn std::fmt::Display| {
        refuse(format_args!(
            "the proof of release set {digest} is damaged ({why}): edge-docker set take it again"
        ))
    };
    let found = super::read(root, SETS, &name(digest), MAX_PROOF_BYTES);
    let Some(bytes) = found.map_err(|e| damaged(&format!("{e:#}")))? else {
        return Ok(None);
    };
    let proof = SetProof::parse(&bytes).map_err(|e| damaged(&e))?;
    // Somebody may have copied the valid proof of another set to this file.
    if proof.digest() != *digest {
        return Err(damaged(&"it is of another set"));
    }
    Ok(Some(proof))
}

/// Returns the digests of all proofs, sorted.
pub(super) fn digests(root: &Root) -> Result<Vec<Digest>> {
    let entries = match fs::read_dir(root.path(SETS)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {SETS}")),
    };
    let digest = |name: std::ffi::OsString| {
        let hex = name.to_str()?.strip_suffix(".json")?;
        format!("sha256:{hex}").parse().ok()
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut digests: Vec<_> = names.filter_map(digest).collect();
    digests.sort();
    Ok(digests)
}

fn name(digest: &Digest) -> String {
    format!("{}.json", digest.hex())
}
