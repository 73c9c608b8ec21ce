//! Upload of a container image from docker to the registry: only missing layers,
//! compressed on all cores. The digest of each compressed layer is cached, so that a
//! layer is compressed only once.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use edge_common::exit::Failure;
use edge_common::{file, log};
use edge_signature::{Digest, Error, ImageRef, Registry};
use openssl::sha::Sha256;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::channel;

use crate::exit_code::{REGISTRY, registry_error};
use crate::image::archive::SavedImage;
use crate::image::compression::{Codec, compress};
use crate::image::{cache, config_labels, docker, platform};
use crate::output::progress::Progress;
use crate::project::config::Platform;
use crate::temporary;

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const GZIP_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// Size in bytes of the pieces in which a layer is read for the upload; the progress
/// advances by one piece.
const PIECE_BYTES: usize = 256 * 1024;

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// Descriptor of a compressed layer, as the manifest lists it.
struct Blob {
    media_type: &'static str,
    size: u64,
    digest: Digest,
}

/// Uploads an image of the laptop's engine and returns the digest of its manifest.
/// `docker push` is not used: it would overwrite an existing tag, and it needs the
/// registry's password in docker's configuration.
pub(crate) async fn upload(
    registry: &Registry,
    image: &ImageRef,
    platform: &Platform,
) -> Result<Digest> {
    let saved = SavedImage::open(docker::save(&image.to_string()).await?)?;
    let (config, paths) = saved.image()?;
    config_labels::require_none(&config)?;
    platform::require_config(&image.to_string(), &config, platform)?;
    let parsed: Config =
        serde_json::from_slice(&config).context("reading the image's configuration")?;
    let layers: Vec<_> = parsed.rootfs.diff_ids.into_iter().zip(paths).collect();
    let mut blobs = Vec::new();
    let total = layers.len();
    for (number, (diff_id, path)) in layers.into_iter().enumerate() {
        let label = format!("layer {} of {total}", number + 1);
        let uploaded = find_uploaded(registry, &diff_id).await?;
        let blob = match uploaded {
            Some(blob) => blob,
            None => {
                let reader = saved.reader(&path)?;
                push_layer(registry, label, &diff_id, reader).await?
            }
        };
        let Blob {
            media_type,
            size,
            digest,
        } = blob;
        blobs.push(json!({ "mediaType": media_type, "size": size, "digest": digest }));
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

/// Pushes the image's configuration and returns the manifest. The manifest contains
/// nothing that varies, such as a time, so that the same image has the same digest on
/// every laptop.
async fn manifest(registry: &Registry, config: Vec<u8>, layers: &[Value]) -> Result<Vec<u8>> {
    let size = config.len();
    let config = registry.push_blob(config).await.map_err(registry_error)?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
        "config": { "mediaType": CONFIG_TYPE, "size": size, "digest": config },
        "layers": layers,
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
    match registry.resolve(image).await {
        Ok(old) if old.digest == *digest => Ok(false),
        Ok(old) => Err(Failure::error(
            REGISTRY,
            format_args!(
                "{image} is there with other content ({}): choose another --version",
                old.digest
            ),
        )),
        Err(Error::NotFound(_)) => Ok(true),
        Err(error) => Err(registry_error(error)),
    }
}

/// Returns the cache file of a layer. `diff_id` is validated, since it comes from the
/// image's configuration and becomes part of a path.
fn cache_file(diff_id: &str) -> Option<PathBuf> {
    let hex = diff_id.strip_prefix("sha256:")?;
    let plain = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| cache::directory().map(|c| c.join("layers").join(hex)))?
}

/// Returns the compressed layer of an earlier upload, if the registry still has it.
async fn find_uploaded(registry: &Registry, diff_id: &str) -> Result<Option<Blob>> {
    let text = cache_file(diff_id).and_then(|path| file::read_text(&path, 4096).ok());
    let Some(blob) = text.as_deref().and_then(parse_blob) else {
        return Ok(None);
    };
    let exists = registry
        .has_blob(&blob.digest)
        .await
        .map_err(registry_error)?;
    Ok(exists.then_some(blob))
}

fn parse_blob(text: &str) -> Option<Blob> {
    let mut fields = text.split_whitespace();
    let media_type = [GZIP_TYPE, ZSTD_TYPE]
        .into_iter()
        .find(|k| fields.clone().next() == Some(k))?;
    Some(Blob {
        media_type,
        size: fields.nth(1)?.parse().ok()?,
        digest: fields.next()?.parse().ok()?,
    })
}

async fn push_layer(
    registry: &Registry,
    label: String,
    diff_id: &str,
    reader: impl Read + Send + 'static,
) -> Result<Blob> {
    let compressed = tokio::task::spawn_blocking(move || compress_layer(reader)).await;
    let (mut file, blob) = compressed.map_err(|_| anyhow!("compression worker panicked"))??;
    if registry
        .has_blob(&blob.digest)
        .await
        .map_err(registry_error)?
    {
        log::info(format_args!("{label}: already in the registry"));
    } else {
        let progress = Progress::new(label, Some(blob.size));
        let (sender, pieces) = channel(4);
        let reading = tokio::task::spawn_blocking(move || -> std::io::Result<Progress> {
            let mut piece = vec![0; PIECE_BYTES];
            loop {
                let length = file.read(&mut piece)?;
                if length == 0 || sender.blocking_send(piece[..length].to_vec()).is_err() {
                    return Ok(progress);
                }
                progress.add(length as u64);
            }
        });
        let pushed = registry.push_chunks(&blob.digest, blob.size, pieces).await;
        pushed.map_err(registry_error)?;
        reading
            .await
            .map_err(|_| anyhow!("the reader of the layer panicked"))??
            .finish();
    }
    if let Some(path) = cache_file(diff_id) {
        let text = format!("{} {} {}\n", blob.media_type, blob.size, blob.digest);
        cache::write(&path, &text);
    }
    Ok(blob)
}

/// Compresses a layer into an unnamed temporary file, or copies it if docker saved it
/// compressed, as the containerd store does. The compressed layer must be complete before
/// the upload: the registry is first asked for its digest.
fn compress_layer(mut reader: impl Read) -> Result<(File, Blob)> {
    let mut sink = Sink {
        file: temporary::file("a compressed layer")?,
        hash: Sha256::new(),
        size: 0,
    };
    let mut start = Vec::new();
    reader.by_ref().take(4).read_to_end(&mut start)?;
    let mut whole = start.as_slice().chain(reader);
    // Magic numbers of gzip (two bytes) and zstd (four bytes).
    let media_type = match start[..] {
        [0x1f, 0x8b, ..] => GZIP_TYPE,
        [0x28, 0xb5, 0x2f, 0xfd] => ZSTD_TYPE,
        _ => {
            compress(Codec::Gzip, &mut sink, |to| {
                Ok(std::io::copy(&mut whole, to)?)
            })?;
            return sink.finish(GZIP_TYPE);
        }
    };
    std::io::copy(&mut whole, &mut sink)?;
    sink.finish(media_type)
}

/// Writer to a file that computes digest and size of the written bytes.
struct Sink {
    file: File,
    hash: Sha256,
    size: u64,
}

impl Sink {
    fn finish(mut self, media_type: &'static str) -> Result<(File, Blob)> {
        self.file.seek(SeekFrom::Start(0))?;
        let hex = edge_common::hex::encode(self.hash.finish());
        let digest = format!("sha256:{hex}").parse();
        let blob = Blob {
            media_type,
            size: self.size,
            digest: digest.map_err(|e| anyhow!("{e}"))?,
        };
        Ok((self.file, blob))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.hash.update(&bytes[..length]);
        self.size += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
