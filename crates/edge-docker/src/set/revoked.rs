//! Revoked digests: what has one does not start.

use anyhow::Result;
use edge_common::Root;
use edge_docker_policy::refusal::refuse;
use edge_signature::{Digest, Verified};

/// Returns whether any digest is revoked on this device.
pub(crate) fn any_revoked(root: &Root) -> Result<bool> {
    let record = super::record(root)?;
    Ok(record.digests.values().any(|statement| statement.revoked))
}

/// Refuses a verified image that has a revoked digest among `digests`: those of its manifest
/// and of the index from which it was chosen.
pub(crate) fn require_not_revoked(
    root: &Root,
    verified: &Verified,
    digests: impl IntoIterator<Item = Digest>,
) -> Result<()> {
    let record = super::record(root)?;
    match digests.into_iter().find(|digest| record.is_revoked(digest)) {
        None => Ok(()),
        Some(digest) => {
            let number = record.digests.get(&digest).map_or(0, |s| s.number);
            let annotations = &verified.annotations;
            let (app, version) = (&annotations.app, &annotations.version);
            Err(refuse(format_args!(
                "{app} {version} is refused: release set {number} has revoked {digest}; deploy \
                 another version"
            )))
        }
    }
}
