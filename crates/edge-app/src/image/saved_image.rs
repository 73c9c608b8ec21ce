//! Upload of an image from the stream of `docker image save`, for an engine that cannot push
//! to this computer: each layer is compressed on all cores and sent while it is read.
//!
//! The archive names layers by their digest or by a random name, in any order, and
//! `manifest.json` at its end says which is which. Small entries are therefore kept, and
//! large ones can only be layers.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use edge_signature::{Digest, Registry};
use openssl::sha::Sha256;
use serde::Deserialize;
use tar::{Archive, EntryType};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::exit_code::registry_error;
use crate::image::compression::{Codec, compress};
use crate::image::docker::{self, LocalImage};
use crate::image::layer_cache::{self, Blob, GZIP_TYPE, ZSTD_TYPE};
use crate::output::progress::Progress;

/// Size in bytes up to which an entry of the archive is kept in memory.
const SMALL_BYTES: u64 = 4 * 1024 * 1024;
/// Number of bytes of small entries that are kept at most.
const MAX_KEPT_BYTES: u64 = 512 * 1024 * 1024;
/// Number of pieces between the thread that compresses and the upload.
const WAITING_PIECES: usize = 8;

/// Part of the archive, in its order.
enum Part {
    Small(PathBuf, Vec<u8>),
    Link(PathBuf, PathBuf),
    Layer(PathBuf),
    Bytes(Vec<u8>),
    LayerEnd(&'static str),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest {
    config: PathBuf,
    layers: Vec<PathBuf>,
}

/// Content of the archive, with its large layers in the registry.
#[derive(Default)]
pub(super) struct SavedImage {
    small: HashMap<PathBuf, Vec<u8>>,
    links: HashMap<PathBuf, PathBuf>,
    uploaded: HashMap<PathBuf, Blob>,
}

/// Saves an image and uploads its layers. Returns the configuration and the layers, lowest
/// first. `known` contains layers that the registry has, by their diff IDs.
pub(super) async fn upload(
    registry: &Registry,
    image: &str,
    local: &LocalImage,
    known: HashMap<String, Blob>,
) -> Result<(Vec<u8>, Vec<Blob>)> {
    let (mut save, from) = docker::start_save(image)?;
    let mut stderr = save.stderr.take().context("standard error")?;
    let (sender, parts) = channel(WAITING_PIECES);
    let skip = known.keys().cloned().collect::<Vec<_>>();
    let reading = tokio::task::spawn_blocking(move || read(File::from(from), &skip, &sender));
    let mut output = Vec::new();
    let (saved, _) = tokio::join!(
        receive(registry, parts, local.size),
        tokio::io::AsyncReadExt::read_to_end(&mut stderr, &mut output)
    );
    let read = reading
        .await
        .map_err(|_| anyhow!("the reader of the image panicked"))?;
    let status = save.wait().await?;
    // An error of the registry ends the others by a broken pipe, and docker's own error
    // explains an archive that ends early.
    let saved = saved?;
    docker::check(image, status.success(), &output)?;
    read?;
    saved.layers(registry, local, known).await
}

/// Receives the parts of the archive and uploads the layers among them.
async fn receive(registry: &Registry, mut parts: Receiver<Part>, size: u64) -> Result<SavedImage> {
    let mut saved = SavedImage::default();
    let mut progress = None;
    let mut kept = 0;
    while let Some(part) = parts.recv().await {
        match part {
            Part::Small(path, bytes) => {
                kept += bytes.len() as u64;
                if kept > MAX_KEPT_BYTES {
                    bail!("the saved image has too many small files");
                }
                saved.small.insert(path, bytes);
            }
            Part::Link(path, target) => drop(saved.links.insert(path, target)),
            Part::Layer(path) => {
                let started = || Progress::compressed("sending the image", size);
                let progress = progress.get_or_insert_with(started);
                let blob = receive_layer(registry, &mut parts, progress).await?;
                saved.uploaded.insert(path, blob);
            }
            Part::Bytes(_) | Part::LayerEnd(_) => bail!("bytes outside a layer"),
        }
    }
    if let Some(progress) = progress {
        progress.finish();
    }
    Ok(saved)
}

async fn receive_layer(
    registry: &Registry,
    parts: &mut Receiver<Part>,
    progress: &Progress,
) -> Result<Blob> {
    let mut upload = registry.begin_blob().await.map_err(registry_error)?;
    let (mut hash, mut size) = (Sha256::new(), 0);
    loop {
        match parts.recv().await {
            Some(Part::Bytes(bytes)) => {
                hash.update(&bytes);
                size += bytes.len() as u64;
                progress.add(bytes.len() as u64);
                progress.add_read(bytes.len() as u64);
                upload.send(bytes.into()).await.map_err(registry_error)?;
            }
            Some(Part::LayerEnd(media_type)) => {
                let digest = digest(hash)?;
                upload.finish(&digest).await.map_err(registry_error)?;
                return Ok(Blob {
                    media_type,
                    size,
                    digest,
                });
            }
            _ => bail!("the saved image ends within a layer"),
        }
    }
}

fn digest(hash: Sha256) -> Result<Digest> {
    let hex = edge_common::hex::encode(hash.finish());
    format!("sha256:{hex}").parse().map_err(|e| anyhow!("{e}"))
}

impl SavedImage {
    /// Returns the image's configuration and its layers, and uploads the small ones.
    async fn layers(
        mut self,
        registry: &Registry,
        local: &LocalImage,
        mut known: HashMap<String, Blob>,
    ) -> Result<(Vec<u8>, Vec<Blob>)> {
        let (config, paths) = self.image()?;
        if paths.len() != local.layers.len() {
            bail!(
                "the saved image has {} layers, not {}",
                paths.len(),
                local.layers.len()
            );
        }
        let mut blobs = Vec::new();
        for (path, diff_id) in paths.iter().zip(&local.layers) {
            let path = self.links.get(path).unwrap_or(path).clone();
            let blob = if let Some(blob) = known.remove(diff_id) {
                blob
            } else if let Some(blob) = self.uploaded.remove(&path) {
                blob
            } else if let Some(blob) = blobs_of(&local.layers, &blobs, diff_id) {
                blob
            } else {
                let content = self.small.get(&path);
                let why = || format!("the saved image lacks {}", path.display());
                push_small(registry, content.with_context(why)?.clone()).await?
            };
            layer_cache::remember_uploaded(diff_id, &blob);
            blobs.push(blob);
        }
        Ok((config, blobs))
    }

    fn image(&self) -> Result<(Vec<u8>, Vec<PathBuf>)> {
        let file = |path: &Path| {
            let content = self.small.get(path);
            content.with_context(|| format!("the saved image lacks {}", path.display()))
        };
        let manifests: Vec<Manifest> = serde_json::from_slice(file(Path::new("manifest.json"))?)
            .context("reading manifest.json of the saved image")?;
        let [manifest] = &manifests[..] else {
            bail!("the saved archive has {} images, not one", manifests.len());
        };
        Ok((file(&manifest.config)?.clone(), manifest.layers.clone()))
    }
}

/// Returns the blob of an equal layer below.
fn blobs_of(diff_ids: &[String], blobs: &[Blob], diff_id: &str) -> Option<Blob> {
    let at = diff_ids[..blobs.len()].iter().position(|d| d == diff_id)?;
    let Blob {
        media_type, size, ..
    } = blobs[at];
    let digest = blobs[at].digest.clone();
    Some(Blob {
        media_type,
        size,
        digest,
    })
}

/// Uploads a layer that is in memory.
async fn push_small(registry: &Registry, content: Vec<u8>) -> Result<Blob> {
    let (media_type, bytes) = match compressed_type(&content) {
        Some(media_type) => (media_type, content),
        None => {
            let mut bytes = Vec::new();
            compress(Codec::Gzip, &mut bytes, |to| Ok(to.write_all(&content)?))?;
            (GZIP_TYPE, bytes)
        }
    };
    let size = bytes.len() as u64;
    let digest = registry.push_blob(bytes).await.map_err(registry_error)?;
    Ok(Blob {
        media_type,
        size,
        digest,
    })
}

/// Returns the media type of a layer that is compressed, as the containerd store has it.
fn compressed_type(start: &[u8]) -> Option<&'static str> {
    match start {
        [0x1f, 0x8b, ..] => Some(GZIP_TYPE),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(ZSTD_TYPE),
        _ => None,
    }
}

/// Reads the archive, compresses its large entries and sends all parts. Layers whose file
/// is named by a digest in `skip` are omitted.
fn read(mut from: impl Read, skip: &[String], parts: &Sender<Part>) -> Result<()> {
    let context = "reading the saved image";
    let send = |part| parts.blocking_send(part).context("the upload ended");
    let mut archive = Archive::new(&mut from);
    for entry in archive.entries().context(context)? {
        let mut entry = entry.context(context)?;
        let path = entry.path().context(context)?.into_owned();
        let kind = entry.header().entry_type();
        if kind == EntryType::Symlink {
            // Old versions of docker write the content of equal layers only once, and a
            // symbolic link for each repetition.
            let target = entry.link_name()?.context(context)?;
            let parent = path.parent().unwrap_or(Path::new(""));
            let target = normalize(&parent.join(target));
            send(Part::Link(path, target))?;
        } else if kind == EntryType::Regular && entry.size() <= SMALL_BYTES {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).context(context)?;
            send(Part::Small(path, bytes))?;
        } else if kind == EntryType::Regular {
            let hex = path.strip_prefix("blobs/sha256").ok();
            let named = hex.map(|hex| format!("sha256:{}", hex.display()));
            if !named.is_some_and(|name| skip.contains(&name)) {
                send_layer(path, &mut entry, parts)?;
            }
        }
    }
    // The stream is read to its end, including tar's padding: otherwise docker would fail
    // because of a closed pipe.
    std::io::copy(&mut from, &mut std::io::sink()).context(context)?;
    Ok(())
}

fn send_layer(path: PathBuf, entry: &mut impl Read, parts: &Sender<Part>) -> Result<()> {
    let send = |part| parts.blocking_send(part).context("the upload ended");
    send(Part::Layer(path))?;
    let mut start = Vec::new();
    entry.by_ref().take(4).read_to_end(&mut start)?;
    let mut pieces = Pieces(parts);
    let compressed = compressed_type(&start);
    let mut whole = start.as_slice().chain(entry);
    if compressed.is_some() {
        std::io::copy(&mut whole, &mut pieces).context("reading a layer")?;
    } else {
        compress(Codec::Gzip, &mut pieces, |to| {
            Ok(std::io::copy(&mut whole, to)?)
        })?;
    }
    send(Part::LayerEnd(compressed.unwrap_or(GZIP_TYPE)))
}

/// Writer that sends compressed bytes to the upload.
struct Pieces<'a>(&'a Sender<Part>);

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let sent = self.0.blocking_send(Part::Bytes(bytes.to_vec()));
        sent.map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Resolves `.` and `..` in the target of a link, without leaving the archive's root.
fn normalize(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => result.push(name),
            Component::ParentDir => drop(result.pop()),
            _ => {}
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, &[u8])], links: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        for (name, target) in links {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, name, target).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn parts(archive: &[u8], skip: &[String]) -> Vec<Part> {
        let (sender, mut parts) = channel(1000);
        read(archive, skip, &sender).unwrap();
        drop(sender);
        std::iter::from_fn(|| parts.blocking_recv()).collect()
    }

    const MANIFEST: &[u8] =
        br#"[{"Config":"c.json","RepoTags":null,"Layers":["a/layer.tar","b/layer.tar"]}]"#;

    fn saved(archive: &[u8]) -> SavedImage {
        let mut saved = SavedImage::default();
        for part in parts(archive, &[]) {
            match part {
                Part::Small(path, bytes) => drop(saved.small.insert(path, bytes)),
                Part::Link(path, target) => drop(saved.links.insert(path, target)),
                _ => unreachable!("no large entries"),
            }
        }
        saved
    }

    #[test]
    fn layers_are_found_through_links() {
        let entries: [(&str, &[u8]); 3] = [
            ("a/layer.tar", b"content"),
            ("c.json", b"{}"),
            ("manifest.json", MANIFEST),
        ];
        let saved = saved(&archive(&entries, &[("b/layer.tar", "../a/layer.tar")]));
        let (config, layers) = saved.image().unwrap();
        assert_eq!(config, b"{}");
        let target = &saved.links[&layers[1]];
        assert_eq!(saved.small[target], b"content");
    }

    #[test]
    fn large_layers_are_compressed_and_known_ones_skipped() {
        let large = vec![7; usize::try_from(SMALL_BYTES).unwrap() + 1];
        let names = ["blobs/sha256/aa", "blobs/sha256/bb"];
        let entries = [(names[0], &large[..]), (names[1], &large[..])];
        let parts = parts(&archive(&entries, &[]), &["sha256:bb".into()]);
        let [Part::Layer(path), bytes @ .., Part::LayerEnd(GZIP_TYPE)] = &parts[..] else {
            panic!("{} parts", parts.len());
        };
        assert_eq!(path, Path::new(names[0]));
        let bytes = bytes.iter().flat_map(|part| match part {
            Part::Bytes(bytes) => bytes.clone(),
            _ => panic!("only bytes"),
        });
        let bytes: Vec<_> = bytes.collect();
        let mut content = Vec::new();
        let mut decoder = flate2::read::MultiGzDecoder::new(&bytes[..]);
        decoder.read_to_end(&mut content).unwrap();
        assert_eq!(content, large);
    }

    #[test]
    fn invalid_archives_are_errors() {
        let cases: [&[(&str, &[u8])]; 4] = [
            &[],
            &[("manifest.json", b"[]")],
            &[("manifest.json", b"{")],
            &[("manifest.json", MANIFEST)],
        ];
        for entries in cases {
            assert!(saved(&archive(entries, &[])).image().is_err());
        }
        let (sender, _parts) = channel(1000);
        assert!(read(&[b'x'; 700][..], &[], &sender).is_err());
    }
}
