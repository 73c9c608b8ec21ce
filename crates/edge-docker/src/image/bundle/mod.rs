//! Bundles: a release set with its images, from `edge-app bundle`, on standard input.
//!
//! Manifests, signatures and run specifications come first and are proved as if the registry
//! had sent them, before anything reaches the engine. Layers are forwarded to the engine
//! while they are read, and nothing is stored in between: only those that a proved manifest
//! names, with its size and digest, each once.

mod archive;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;

use anyhow::{Context, Result};
use edge_common::Root;
use edge_docker_policy::refusal::{Refusal, refuse};
use edge_signature::set::VerifiedSet;
use edge_signature::{CachedSignature, Digest, ImageRef, Layout, Manifest, Registry};
use openssl::sha::Sha256;
use serde_json::{Value, json};
use tar::{Builder, Header};

use self::archive::{Archive, Entry};
use super::{failure, progress, pull, signatures};
use crate::engine::transfer;
use crate::set::Named;
use crate::trust::Trust;

/// Size limit of `index.json`, in bytes.
const MAX_INDEX_BYTES: u64 = 2 * 1024 * 1024;
/// Size limit of a manifest, a signature or a run specification, in bytes.
const MAX_BLOB_BYTES: u64 = 4 * 1024 * 1024;
/// Name of a blob without its digest.
const BLOBS: &str = "blobs/sha256/";

/// Bundle whose layers are not read yet.
pub(crate) struct Bundle<R> {
    archive: Archive<R>,
    layout: Arc<Layout>,
}

impl<R: Read> Bundle<R> {
    /// Reads everything up to the first layer.
    pub(crate) fn open(input: R) -> Result<Self> {
        let mut archive = Archive::new(input);
        let mut file = |name: &str, limit| {
            let entry = archive.next()?.filter(|entry| entry.name == name);
            let entry = entry.ok_or_else(|| {
                refuse(format_args!(
                    "the bundle is refused: {name} is not in its place"
                ))
            })?;
            archive.content(&entry, limit)
        };
        file("oci-layout", 1024)?;
        let index = file("index.json", MAX_INDEX_BYTES)?;
        let (mut layout, count) = Layout::parse(&index).map_err(failure::of)?;
        for _ in 0..count {
            let entry = archive
                .next()?
                .ok_or_else(|| refuse("the bundle is incomplete"))?;
            let digest = digest(&entry)?;
            let content = archive.content(&entry, MAX_BLOB_BYTES)?;
            if layout.blob(&digest).is_some() {
                return Err(refuse(format_args!("the bundle has {digest} twice")));
            }
            if layout.add(content).map_err(failure::of)? != digest {
                return Err(other_content(&digest));
            }
        }
        Ok(Self {
            archive,
            layout: Arc::new(layout),
        })
    }

    /// Returns a client that reads the bundle as if it were the registry, and the digest of
    /// the set.
    pub(crate) fn registry(&self, trust: &Trust) -> Result<(Registry, Digest)> {
        let registry = Registry::of_layout(&trust.repository, Arc::clone(&self.layout));
        let digest = self.layout.set().map_err(failure::of)?.clone();
        Ok((registry.map_err(failure::of)?, digest))
    }
}

/// Image of a set, whose signature is verified.
struct Proved {
    image: ImageRef,
    digest: Digest,
    proof: CachedSignature,
    id: Digest,
    manifest: Manifest,
}

/// Gives the engine the images of a set that it lacks, and keeps their signatures. The set
/// has been taken.
pub(crate) async fn load<R: Read + Send + 'static>(
    root: &Root,
    trust: &Trust,
    bundle: Bundle<R>,
    set: &VerifiedSet,
    quiet: bool,
) -> Result<()> {
    let (registry, _) = bundle.registry(trust)?;
    let (mut all, mut wanted) = (Vec::new(), Wanted::default());
    for app in set.set.ordered() {
        let proved = prove(root, trust, &registry, set, &app.tag()).await?;
        let layers = proved.manifest.layers().map_err(failure::of)?;
        let sizes = layers
            .iter()
            .map(|layer| (layer.digest.clone(), layer.size));
        let found = pull::local(root, proved.id.as_str()).await?;
        if found.is_some_and(|local| local.id() == proved.id.as_str()) {
            wanted.others.extend(sizes);
        } else {
            wanted.layers.extend(sizes);
            let name = format!("{}:{}", trust.repository, app.tag());
            wanted.add(&bundle.layout, &proved, &name)?;
        }
        all.push(proved);
    }
    if !wanted.images.is_empty() {
        let archive = bundle.archive;
        let produce = move |out: &mut dyn Write| wanted.forward(archive, out);
        let path = "/images/load?quiet=1";
        let line = |line: &Value| {
            if !quiet {
                progress::print_stream(line);
            }
        };
        let loaded = transfer::upload(root, path, produce, line).await;
        loaded.map_err(|error| match error.is::<Refusal>() {
            true => error,
            false => {
                error.context("loading the bundle: if it was made with --since, make it without")
            }
        })?;
    }
    for proved in all {
        let Proved {
            image,
            digest,
            proof,
            id,
            ..
        } = proved;
        let local = pull::local(root, id.as_str()).await?;
        if local.is_none_or(|local| local.id() != id.as_str()) {
            return Err(refuse(format_args!(
                "{image} is refused: the image of the engine is not the signed one"
            )));
        }
        signatures::store(root, &image, &digest, &proof)?;
        if !quiet {
            println!("{}@{digest}", image.repository);
        }
    }
    Ok(())
}

async fn prove(
    root: &Root,
    trust: &Trust,
    registry: &Registry,
    set: &VerifiedSet,
    tag: &str,
) -> Result<Proved> {
    let named = Named::find(root, set.digest.hex(), tag)?;
    let reference = format!("{}:{}", trust.repository, named.image);
    let image = pull::require_repository(trust, &reference)?;
    let proved = registry.verify(&trust.keys, &image).await;
    let proved = proved.map_err(failure::of)?;
    let (verified, proof) = pull::judge(root, trust, &image, Some(&named), false, proved)?;
    Ok(Proved {
        image,
        digest: verified.digest,
        id: proof.image_id().map_err(failure::of)?,
        manifest: proof.image().map_err(failure::of)?,
        proof,
    })
}

/// Content of the archive that the engine gets.
#[derive(Default)]
struct Wanted {
    /// Sizes of the layers that are forwarded.
    layers: BTreeMap<Digest, u64>,
    /// Sizes of layers that the engine has, which are skipped.
    others: BTreeMap<Digest, u64>,
    /// Configurations.
    configs: BTreeMap<String, Vec<u8>>,
    /// Entries of `manifest.json`.
    images: Vec<Value>,
}

impl Wanted {
    /// Adds an image that gets `name` in the engine.
    fn add(&mut self, layout: &Layout, proved: &Proved, name: &str) -> Result<()> {
        let config = layout.blob(&proved.id).ok_or_else(|| {
            let image = &proved.image;
            refuse(format_args!("the bundle has no configuration of {image}"))
        })?;
        let layers = proved.manifest.layers().map_err(failure::of)?;
        let file = format!("{}.json", proved.id.hex());
        let paths: Vec<_> = layers.iter().map(|layer| path(&layer.digest)).collect();
        self.images
            .push(json!({ "Config": file, "RepoTags": [name], "Layers": paths }));
        self.configs.insert(file, config.to_vec());
        Ok(())
    }

    /// Writes the archive: layers as they come, then configurations and `manifest.json`.
    fn forward<R: Read>(mut self, mut archive: Archive<R>, out: &mut dyn Write) -> Result<()> {
        let mut builder = Builder::new(out);
        while let Some(entry) = archive.next()? {
            let digest = digest(&entry)?;
            let is_layer = self.layers.remove(&digest);
            let skipped = self.others.remove(&digest);
            if is_layer.or(skipped) != Some(entry.size) {
                return Err(refuse(format_args!(
                    "the bundle is refused: {digest} is not a layer of its images, is there twice, \
                     or has another size"
                )));
            }
            let mut content = Hashed(&mut archive, Sha256::new());
            let copied = match is_layer {
                Some(size) => append(&mut builder, &path(&digest), size, &mut content),
                None => std::io::copy(&mut content, &mut std::io::sink())
                    .map(drop)
                    .map_err(Into::into),
            };
            let found = content.1.finish();
            copied.map_err(|error| archive.failed(error))?;
            if edge_common::hex::encode(found) != digest.hex() {
                return Err(other_content(&digest));
            }
        }
        let manifest = Value::Array(self.images).to_string().into_bytes();
        self.configs.insert("manifest.json".into(), manifest);
        for (name, bytes) in &self.configs {
            append(&mut builder, name, bytes.len() as u64, &mut &bytes[..])?;
        }
        builder.finish().context("sending the images")
    }
}

fn append(
    builder: &mut Builder<&mut dyn Write>,
    name: &str,
    size: u64,
    content: &mut dyn Read,
) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, name, content)
        .with_context(|| format!("forwarding {name}"))
}

/// Reader that computes the digest of what was read.
struct Hashed<R>(R, Sha256);

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1.update(&buffer[..count]);
        Ok(count)
    }
}

fn path(digest: &Digest) -> String {
    format!("{BLOBS}{}", digest.hex())
}

/// Returns the digest in the name of a blob.
fn digest(entry: &Entry) -> Result<Digest> {
    let hex = entry.name.strip_prefix(BLOBS).unwrap_or_default();
    format!("sha256:{hex}").parse().map_err(|_| {
        let name = &entry.name;
        refuse(format_args!("the bundle is refused: {name} is not a blob"))
    })
}

fn other_content(digest: &Digest) -> anyhow::Error {
    refuse(format_args!(
        "the bundle is refused: {digest} has other content: copy it again"
    ))
}
