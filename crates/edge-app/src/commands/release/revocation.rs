//! Digests of a revocation list.

use anyhow::Result;
use edge_common::exit::Failure;
use edge_signature::{Digest, ImageRef, Registry};

use crate::commands::consent::USAGE;
use crate::exit_code::registry_error;

/// Returns the digests of images, given as `APP-VERSION` or `sha256:HEX`, sorted. An index
/// stands for itself and for the image of each platform, which could be signed by itself.
pub(super) async fn digests(registry: &Registry, images: &[String]) -> Result<Vec<Digest>> {
    let mut digests = Vec::new();
    for image in images {
        if image.starts_with("sha256:") {
            let digest = image.parse().map_err(|e| Failure::error(USAGE, e))?;
            digests.push(digest);
            continue;
        }
        let reference: ImageRef = format!("{}:{image}", registry.repository())
            .parse()
            .map_err(|e| Failure::error(USAGE, e))?;
        let manifests = registry.resolve_all(&reference).await;
        let manifests = manifests.map_err(registry_error)?;
        digests.extend(manifests.into_iter().map(|manifest| manifest.digest));
    }
    digests.sort();
    digests.dedup();
    Ok(digests)
}
