//! An image of somebody else into the team's repository, registry to registry.

use std::sync::Arc;

use anyhow::{Context, Result};
use edge_common::exit::Failure;
use edge_common::log;
use edge_signature::{Digest, ImageRef, Manifest, Registry};

use crate::exit_code::registry_error;
use crate::image::upload;
use crate::output::progress::Progress;
use crate::project::config::Project;

/// `IMAGE@sha256:…`; names of docker's hub may be short.
///
/// # Errors
/// A name that is none, or without a digest.
pub(crate) fn source(text: &str) -> Result<ImageRef> {
    let (first, rest) = text.split_once('/').unwrap_or(("", text));
    let full = match first {
        "docker.io" if rest.contains('/') => format!("registry-1.docker.io/{rest}"),
        "docker.io" | "" => format!("registry-1.docker.io/library/{rest}"),
        host if host.contains(['.', ':']) || host == "localhost" => text.into(),
        _ => format!("registry-1.docker.io/{text}"),
    };
    let image: ImageRef = full.parse().map_err(|e| Failure::error(2, e))?;
    if image.digest.is_none() {
        let why = format!("--from {text}: name what you looked at, by digest: IMAGE@sha256:…");
        return Err(Failure::error(2, why));
    }
    Ok(image)
}

/// Copies `source`, an index with all its images if it is one, as `image`.
///
/// # Errors
/// Either registry; `image` is there with other content.
pub(crate) async fn copy(
    project: &Project,
    to: &Registry,
    image: &ImageRef,
    source: &ImageRef,
) -> Result<Digest> {
    let from = project.foreign(&source.repository).await?;
    let family = from.family(source).await.map_err(registry_error)?;
    let (top, children) = family
        .split_first()
        .context("an image without a manifest")?;
    upload::free(to, image, &top.digest).await?;
    let mut blobs = Vec::new();
    for manifest in &family {
        blobs.extend(manifest.blobs().map_err(registry_error)?);
    }
    let total = blobs.iter().map(|b| b.size).sum();
    let name = source.repository.path().rsplit('/').next();
    let what = format!("copying {}", name.unwrap_or_default());
    let progress = Arc::new(Progress::new(what, Some(total)));
    for blob in &blobs {
        let told = Arc::clone(&progress);
        let copied = to
            .copy_blob(&from, blob, move |bytes| told.add(bytes))
            .await;
        if !copied.map_err(registry_error)? {
            progress.add(blob.size);
        }
    }
    for child in children {
        put(to, child.digest.as_str(), child).await?;
    }
    put(
        to,
        image.tag.as_deref().context("an image without a tag")?,
        top,
    )
    .await?;
    match Arc::into_inner(progress) {
        Some(progress) => progress.done(),
        None => log::info("copied"),
    }
    Ok(top.digest.clone())
}

async fn put(to: &Registry, name: &str, manifest: &Manifest) -> Result<()> {
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
        for bad in [
            "alpine",
            "alpine:3",
            "",
            "-x@sha256:0",
            "a b@sha256:0",
            "$(id)",
        ] {
            assert!(source(bad).is_err(), "{bad:?}");
        }
    }
}
