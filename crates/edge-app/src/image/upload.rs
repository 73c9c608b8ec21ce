//! Upload of a container image from docker to the registry: only missing layers. The
//! engine pushes them to an endpoint of edge-app, which forwards them; an engine that
//! cannot reach it saves the whole image.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use edge_common::exit::Failure;
use edge_signature::{Digest, Error, ImageRef, Manifest, Registry};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::json;

use crate::exit_code::{REGISTRY, registry_error};
use crate::image::docker::LocalImage;
use crate::image::endpoint::{Arrived, Endpoint, Layer, Target};
use crate::image::layer_cache::{self, Blob, GZIP_TYPE};
use crate::image::{config_labels, docker, platform, saved_image};
use crate::project::config::Platform;

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
/// Maximum number of parallel requests to the registry.
const PARALLEL_REQUESTS: usize = 8;
/// Number of times that docker pushes: the second time after the registry turned out to
/// lack layers that docker pushed elsewhere before.
const MAX_PUSHES: usize = 3;

/// Uploads an image of the laptop's engine and returns the digest of its manifest. The
/// engine does not push to the registry itself: it would overwrite an existing tag, and it
/// needs the registry's password in docker's configuration.
pub(crate) async fn upload(
    registry: &Arc<Registry>,
    image: &ImageRef,
    platform: &Platform,
) -> Result<Digest> {
    let name = image.to_string();
    docker::check_before_push(&name, platform).await?;
    let (local, old) = tokio::try_join!(docker::inspect(&name), tagged(registry, image))?;
    // The configuration states the digests of the layers, so it is the whole image.
    if let Some(old) = &old
        && old.config().is_ok_and(|config| config.as_str() == local.id)
        && is_complete(registry, old).await?
    {
        return Ok(old.digest.clone());
    }
    let (config, blobs) = match push_to_endpoint(registry, &local).await? {
        Some(pushed) => pushed,
        None => save(registry, &name, &local).await?,
    };
    config_labels::require_none(&config)?;
    platform::require_config(&name, &config, platform)?;
    let config_digest = Digest::of(&config);
    if let Some(old) = old {
        if old.config().is_ok_and(|config| config == config_digest)
            && is_complete(registry, &old).await?
        {
            return Ok(old.digest);
        }
        if old.config().is_ok_and(|config| config != config_digest) {
            return Err(other_content(image, &old.digest));
        }
    }
    let bytes = manifest(registry, config, &blobs).await?;
    let digest = Digest::of(&bytes);
    if is_tag_free(registry, image, &digest).await? {
        let tag = image.tag.as_deref().context("the image has no tag")?;
        let pushed = registry.push_manifest(tag, bytes, MANIFEST_TYPE).await;
        pushed.map_err(registry_error)?;
    }
    Ok(digest)
}

/// Returns the manifest with the tag of `image`; `None` if the tag is unused.
async fn tagged(registry: &Registry, image: &ImageRef) -> Result<Option<Manifest>> {
    match registry.resolve(image).await {
        Ok(manifest) => Ok(Some(manifest)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(registry_error(error)),
    }
}

/// Returns whether the registry has all blobs of a manifest.
async fn is_complete(registry: &Registry, manifest: &Manifest) -> Result<bool> {
    let blobs = manifest.blobs().map_err(registry_error)?;
    let has = |digest: Digest| async move { registry.blob_size(&digest).await };
    let mut sizes = stream::iter(blobs)
        .map(|blob| has(blob.digest))
        .buffer_unordered(PARALLEL_REQUESTS);
    while let Some(size) = sizes.next().await {
        if size.map_err(registry_error)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Lets docker push to an endpoint that forwards to the registry. Returns the configuration
/// and the layers; `None` if the engine does not reach the endpoint.
async fn push_to_endpoint(
    registry: &Arc<Registry>,
    local: &LocalImage,
) -> Result<Option<(Vec<u8>, Vec<Blob>)>> {
    let endpoint = Endpoint::open(&local.id, Target::Registry(Arc::clone(registry))).await?;
    for _ in 0..MAX_PUSHES {
        let Some(Arrived { config, layers }) = endpoint.receive_if_possible(local).await? else {
            return Ok(None);
        };
        let mut missing = Vec::new();
        let blobs: Vec<_> = stream::iter(layers)
            .map(|layer| in_registry(registry, layer))
            .buffered(PARALLEL_REQUESTS)
            .try_collect()
            .await?;
        let mut found = Vec::new();
        for blob in blobs {
            match blob {
                Ok(blob) => found.push(blob),
                Err(digest) => missing.push(digest),
            }
        }
        if missing.is_empty() {
            return Ok(Some((config, found)));
        }
        endpoint.deny(missing);
    }
    let why = "docker does not push layers that the registry lacks: push again";
    Err(Failure::error(REGISTRY, why))
}

/// Returns the blob of a layer in the registry, to which it sends a layer that is in
/// memory; or the digest of a layer that the registry lacks.
async fn in_registry(
    registry: &Registry,
    mut layer: Layer,
) -> Result<std::result::Result<Blob, Digest>> {
    let blob = match (layer.content.take(), layer.size) {
        (content, Some(size)) => {
            if let Some(content) = content {
                let pushed = registry.push_blob(content).await;
                pushed.map_err(registry_error)?;
            }
            let media_type = layer_cache::media_type(&layer.media_type);
            Blob {
                media_type: media_type.unwrap_or(GZIP_TYPE),
                size,
                digest: layer.digest.clone(),
            }
        }
        (_, None) => match layer_cache::find_uploaded(registry, &layer.diff_id).await? {
            Some(blob) => blob,
            None => return Ok(Err(layer.digest)),
        },
    };
    layer_cache::remember_diff_id(&layer.digest, &layer.diff_id);
    layer_cache::remember_uploaded(&layer.diff_id, &blob);
    Ok(Ok(blob))
}

/// Saves the whole image and uploads the layers that the registry lacks.
async fn save(registry: &Registry, name: &str, local: &LocalImage) -> Result<(Vec<u8>, Vec<Blob>)> {
    let find = |diff_id: String| async move {
        let blob = layer_cache::find_uploaded(registry, &diff_id).await?;
        Ok::<_, anyhow::Error>((diff_id, blob))
    };
    let found: Vec<_> = stream::iter(local.layers.clone())
        .map(find)
        .buffer_unordered(PARALLEL_REQUESTS)
        .try_collect()
        .await?;
    let known: HashMap<_, _> = found
        .into_iter()
        .filter_map(|(diff_id, blob)| Some((diff_id, blob?)))
        .collect();
    let (config, blobs) = saved_image::upload(registry, name, local, known).await?;
    Ok((config, blobs))
}

/// Pushes the image's configuration and returns the manifest. The manifest contains
/// nothing that varies, such as a time, so that the same layers have the same digest on
/// every laptop.
async fn manifest(registry: &Registry, config: Vec<u8>, blobs: &[Blob]) -> Result<Vec<u8>> {
    let size = config.len();
    let config = registry.push_blob(config).await.map_err(registry_error)?;
    let layer = |blob: &Blob| json!({ "mediaType": blob.media_type, "size": blob.size, "digest": blob.digest });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
        "config": { "mediaType": CONFIG_TYPE, "size": size, "digest": config },
        "layers": blobs.iter().map(layer).collect::<Vec<_>>(),
    });
    Ok(serde_json::to_vec(&manifest)?)
}

/// Returns whether the tag of `image` is unused; false if it already refers to `digest`.
/// A tag with another digest is an error, since a version must always be the same image.
pub(super) async fn is_tag_free(
    registry: &Registry,
    image: &ImageRef,
    digest: &Digest,
) -> Result<bool> {
    match tagged(registry, image).await? {
        Some(old) if old.digest == *digest => Ok(false),
        Some(old) => Err(other_content(image, &old.digest)),
        None => Ok(true),
    }
}

fn other_content(image: &ImageRef, digest: &Digest) -> anyhow::Error {
    Failure::error(
        REGISTRY,
        format_args!("{image} is there with other content ({digest}): choose another --version"),
    )
}
