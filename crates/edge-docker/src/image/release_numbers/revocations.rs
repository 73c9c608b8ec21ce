//! Revoked images, which start neither by a deployment record nor by the read-only root.

use anyhow::Result;
use edge_common::Root;
use edge_signature::Verified;

use crate::image::signatures;
use crate::set;

/// Refuses an image whose digest a release set has revoked: that of its manifest, or that of
/// the image for this platform in an index.
pub(crate) fn require_not_revoked(root: &Root, verified: &Verified) -> Result<()> {
    if !set::any_revoked(root)? {
        return Ok(());
    }
    let image = signatures::image_digest(root, &verified.digest);
    let digests = [Some(verified.digest.clone()), image];
    set::require_not_revoked(root, verified, digests.into_iter().flatten())
}
