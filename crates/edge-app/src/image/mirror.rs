//! Copies of container images from other repositories into the project's repository,
//! directly from registry to registry.

use std::sync::Arc;

use anyhow::{Context, Result};
use edge_common::exit::Failure;
use edge_common::log;
use edge_signature::{Digest, ImageRef, Manifest, Registry};

use crate::exit_code::registry_error;
use crate::image::{config_labels, platform, upload};
use crate::output::progress::Progress;
use crate::project::config::Project;

/// Parses `IMAGE@sha256:…`, also with docker's short names of Docker Hub, for example
/// `alpine`.
pub(crate) fn source(text: &str) -> Result<ImageRef> {
    let (first, rest) = text.split_once('/').unwrap_or(("", text));
    let full = match first {
        "docker.io" if rest.contains('/') => format!("registry-1.docker.io/{rest}"),
        "docker.io" | "" => format!("registry-1.docker.io/library/{rest}"),
        host if host.contains(['.', ':']) || host == "localhost" => text.into(),
        _ => format!("registry-1.docker.io/{text}"),
    };
    let image: ImageRef = full.parse().map_err(|e| Failure::error(2, e))?;
    // A digest is required, since a tag may be moved before the copy: the signed image
    // must be the one that the user examined.
    if image.digest.is_none() {
        let why = format!("--from {text}: name the image by digest, IMAGE@sha256:…");
        return Err(Failure::error(2, why));
    }
    Ok(image)
}

/// Copies `source` to `image` and returns the digest. All bytes are copied unchanged, so
/// that the digest stays the same, and an index is copied with all its platforms.
pub(crate) async fn copy(
    project: &Project,
    to: &Registry,
    image: &ImageRef,
    source: &ImageRef,
) -> Result<Digest> {
    let from = project.foreign(&source.repository).await?;
    let manifests = from
        .resolve_complete(source)
        .await
        .map_err(registry_error)?;
    let mut configs = Vec::new();
    for manifest in &manifests {
        // Attestations, too: an engine that is given their digest reads them as images.
        let config = match manifest.is_index().map_err(registry_error)? {
            true => None,
            false => Some(from.image_config(manifest).await.map_err(registry_error)?),
        };
        if let Some(config) = &config {
            config_labels::require_none(config)?;
        }
        configs.push((manifest.clone(), config));
    }
    platform::require_all(&source.to_string(), &configs, &project.config.platform)?;
    let (top, children) = manifests
        .split_first()
        .context("the registry returned no manifest")?;
    upload::is_tag_free(to, image, &top.digest).await?;
    let mut blobs = Vec::new();
    for manifest in &manifests {
        blobs.extend(manifest.blobs().map_err(registry_error)?);
    }
    let total = blobs.iter().map(|b| b.size).sum();
    let name = source.repository.path().rsplit('/').next();
    let label = format!("copying {}", name.unwrap_or_default());
    let progress = Arc::new(Progress::new(label, Some(total)));
    for blob in &blobs {
        let counter = Arc::clone(&progress);
        let copied = to
            .copy_blob(&from, blob, move |bytes| counter.add(bytes))
            .await;
        // A blob that the registry already has counts as copied; otherwise the bar would
        // never be full.
        if !copied.map_err(registry_error)? {
            progress.add(blob.size);
        }
    }
    // The index comes last: registries reject an index whose manifests are absent, and an
    // interrupted copy leaves no tag behind.
    for child in children {
        push_manifest(to, child.digest.as_str(), child).await?;
    }
    push_manifest(
        to,
        image.tag.as_deref().context("the image has no tag")?,
        top,
    )
    .await?;
    match Arc::into_inner(progress) {
        Some(progress) => progress.finish(),
        None => log::info("copied"),
    }
    Ok(top.digest.clone())
}

async fn push_manifest(to: &Registry, name: &str, manifest: &Manifest) -> Result<()> {
    let kind = manifest.media_type().map_err(registry_error)?;
    let pushed = to.push_manifest(name, manifest.bytes.clone(), &kind).await;
    pushed.map(|_| ()).map_err(registry_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (text, full) in [
            ("alpine", "registry-1.docker.io/library/alpine"),
            ("nordvpn/nordvpn", "registry-1.docker.io/nordvpn/nordvpn"),
            (
                "docker.io/library/alpine",
                "registry-1.docker.io/library/alpine",
            ),
            ("ghcr.io/a/b", "ghcr.io/a/b"),
            ("localhost:5000/a", "localhost:5000/a"),
        ] {
            let image = source(&format!("{text}@{digest}")).unwrap();
            assert_eq!(image.repository.to_string(), full);
        }
        for invalid in [
            "alpine",
            "alpine:3",
            "",
            "-x@sha256:0",
            "a b@sha256:0",
            "$(id)",
        ] {
            assert!(source(invalid).is_err(), "{invalid:?}");
        }
    }
}
