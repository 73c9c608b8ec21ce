//! An image of docker to the registry: what it lacks, compressed on all cores.
//! What a layer became is remembered, so that it is compressed once.

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
use crate::image::archive::Saved;
use crate::image::compression::{Codec, pack};
use crate::image::{cache, docker};
use crate::output::progress::Progress;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// Bytes that are handed on at once.
const PIECE: usize = 256 * 1024;

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// A layer as the registry has it.
struct Blob {
    kind: &'static str,
    size: u64,
    digest: Digest,
}

/// Uploads what the registry lacks. A tag never moves to other content.
///
/// # Errors
/// No such image here, the registry, or the tag is there with other content.
pub(crate) async fn upload(registry: &Registry, image: &ImageRef) -> Result<Digest> {
    let saved = Saved::open(docker::save(&image.to_string()).await?)?;
    let (config, paths) = saved.image()?;
    let parsed: Config =
        serde_json::from_slice(&config).context("reading the image's configuration")?;
    let layers: Vec<_> = parsed.rootfs.diff_ids.into_iter().zip(paths).collect();
    let mut blobs = Vec::new();
    let total = layers.len();
    for (number, (diff_id, path)) in layers.into_iter().enumerate() {
        let what = format!("layer {} of {total}", number + 1);
        let known = known(registry, &diff_id).await?;
        let blob = match known {
            Some(blob) => blob,
            None => {
                let reader = saved.reader(&path)?;
                push_layer(registry, what, &diff_id, reader).await?
            }
        };
        let Blob { kind, size, digest } = blob;
        blobs.push(json!({ "mediaType": kind, "size": size, "digest": digest }));
    }
    let bytes = manifest(registry, config, &blobs).await?;
    let digest = Digest::of(&bytes);
    if free(registry, image, &digest).await? {
        let tag = image.tag.as_deref().context("an image without a tag")?;
        let pushed = registry.push_manifest(tag, bytes, MANIFEST).await;
        pushed.map_err(registry_error)?;
    }
    Ok(digest)
}

async fn manifest(registry: &Registry, config: Vec<u8>, layers: &[Value]) -> Result<Vec<u8>> {
    let size = config.len();
    let config = registry.push_blob(config).await.map_err(registry_error)?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": { "mediaType": CONFIG, "size": size, "digest": config },
        "layers": layers,
    });
    Ok(serde_json::to_vec(&manifest)?)
}

/// Is the tag of `image` free for `digest`? Not when it is there already.
///
/// # Errors
/// It is there with other content.
pub(crate) async fn free(registry: &Registry, image: &ImageRef, digest: &Digest) -> Result<bool> {
    match registry.resolve(image).await {
        Ok(old) if old.digest == *digest => Ok(false),
        Ok(old) => Err(Failure::error(
            REGISTRY,
            format_args!(
                "{image} is there with other content ({}): take another --version",
                old.digest
            ),
        )),
        Err(Error::NotFound(_)) => Ok(true),
        Err(error) => Err(registry_error(error)),
    }
}

fn note(diff_id: &str) -> Option<PathBuf> {
    let hex = diff_id.strip_prefix("sha256:")?;
    let plain = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| cache::directory().map(|c| c.join("layers").join(hex)))?
}

/// What a layer became the last time, if the registry has it.
async fn known(registry: &Registry, diff_id: &str) -> Result<Option<Blob>> {
    let text = note(diff_id).and_then(|path| file::read_text(&path, 4096).ok());
    let Some(blob) = text.as_deref().and_then(parse) else {
        return Ok(None);
    };
    let there = registry
        .has_blob(&blob.digest)
        .await
        .map_err(registry_error)?;
    Ok(there.then_some(blob))
}

fn parse(text: &str) -> Option<Blob> {
    let mut words = text.split_whitespace();
    let kind = [GZIP, ZSTD]
        .into_iter()
        .find(|k| words.clone().next() == Some(k))?;
    Some(Blob {
        kind,
        size: words.nth(1)?.parse().ok()?,
        digest: words.next()?.parse().ok()?,
    })
}

async fn push_layer(
    registry: &Registry,
    what: String,
    diff_id: &str,
    reader: impl Read + Send + 'static,
) -> Result<Blob> {
    let packed = tokio::task::spawn_blocking(move || compress(reader)).await;
    let (mut file, blob) = packed.map_err(|_| anyhow!("a thread ended"))??;
    if registry
        .has_blob(&blob.digest)
        .await
        .map_err(registry_error)?
    {
        log::info(format_args!("{what}: is there"));
    } else {
        let progress = Progress::new(what, Some(blob.size));
        let (sender, pieces) = channel(4);
        let reading = tokio::task::spawn_blocking(move || -> std::io::Result<Progress> {
            let mut piece = vec![0; PIECE];
            loop {
                let length = file.read(&mut piece)?;
                if length == 0 || sender.blocking_send(piece[..length].to_vec()).is_err() {
                    return Ok(progress);
                }
                progress.add(length as u64);
            }
        });
        let pushed = registry.push_pieces(&blob.digest, blob.size, pieces).await;
        pushed.map_err(registry_error)?;
        reading
            .await
            .map_err(|_| anyhow!("a thread ended"))??
            .done();
    }
    if let Some(path) = note(diff_id) {
        let text = format!("{} {} {}\n", blob.kind, blob.size, blob.digest);
        let kept = path
            .parent()
            .map_or(Ok(()), |f| file::create_directory(f, 0o755));
        // Without it the layer is compressed again, no more.
        let _ = kept.and_then(|()| file::write(&path, text.as_bytes(), 0o644));
    }
    Ok(blob)
}

/// A layer, compressed if it is not, in a file without a name.
fn compress(mut reader: impl Read) -> Result<(File, Blob)> {
    let mut sink = Sink {
        file: tempfile::tempfile().context("making a temporary file")?,
        hash: Sha256::new(),
        size: 0,
    };
    let mut start = Vec::new();
    reader.by_ref().take(4).read_to_end(&mut start)?;
    let mut whole = start.as_slice().chain(reader);
    let kind = match start[..] {
        [0x1f, 0x8b, ..] => GZIP,
        [0x28, 0xb5, 0x2f, 0xfd] => ZSTD,
        _ => {
            pack(Codec::Gzip, &mut sink, |to| {
                Ok(std::io::copy(&mut whole, to)?)
            })?;
            return sink.finish(GZIP);
        }
    };
    std::io::copy(&mut whole, &mut sink)?;
    sink.finish(kind)
}

struct Sink {
    file: File,
    hash: Sha256,
    size: u64,
}

impl Sink {
    fn finish(mut self, kind: &'static str) -> Result<(File, Blob)> {
        self.file.seek(SeekFrom::Start(0))?;
        let hex = edge_common::hex::encode(self.hash.finish());
        let digest = format!("sha256:{hex}").parse();
        let blob = Blob {
            kind,
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
