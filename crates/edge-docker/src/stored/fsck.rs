//! `fsck [APP]`: checks that the image layers on the disk are those that were signed.
//!
//! The engine exports each image, and the layers are hashed while they arrive. Properties
//! that the engine does not check (modes, owners, links, added files) are compared with
//! the directories from which containers run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result};
use edge_common::contract::exit_code::REFUSED;
use edge_common::exit::Failure;
use edge_common::log::printable;
use edge_common::{Root, log};
use edge_docker_policy::refusal::refuse;
use edge_signature::Digest;
use tar::Archive;

use super::disk;
use super::fsck_layer::Layer;
use super::layers::Layers;
use crate::engine::error::EngineError;
use crate::engine::transfer;
use crate::image::{pull, signatures};
use crate::trust::{self, Trust};

/// Exit code of `fsck` if a layer differs from the signed one.
const DAMAGED: u8 = 3;

/// Signed image to be checked, with its layers on the disk.
struct Image {
    /// App and version for messages, for example `hello 1.2`.
    name: String,
    id: String,
    /// Digest and directory of each layer, beginning with the lowest.
    layers: Vec<(String, PathBuf)>,
}

/// Carries out `fsck`: checks the images of one app or of all apps, and reports every
/// damaged layer.
pub(crate) async fn run(root: &Root, args: &[&str]) -> Result<()> {
    let app = match args {
        [] => None,
        [app] => Some(*app),
        _ => return Err(refuse("fsck takes one app, or none for all")),
    };
    let images = images(root, app).await?;
    if let (Some(app), true) = (app, images.is_empty()) {
        let message = format_args!("fsck: no image of app {app:?} is here");
        return Err(Failure::error(REFUSED, message));
    }
    let mut damaged = 0;
    for image in images {
        let wrong = check(root, &image).await?;
        for (at, why) in &wrong {
            let (digest, count) = (&image.layers[*at].0, image.layers.len());
            let name = &image.name;
            log::error(format_args!(
                "{name}: layer {} of {count} ({digest}): {why}",
                at + 1
            ));
        }
        match wrong.len() {
            0 => println!("{}: {} layers as signed", image.name, image.layers.len()),
            count => damaged += count,
        }
    }
    match damaged {
        0 => Ok(()),
        _ => Err(Failure::error(
            DAMAGED,
            format_args!(
                "{damaged} layers are not what was signed: remove the image, pull it again"
            ),
        )),
    }
}

/// Returns the images that the engine has and whose cached signature is valid, of all
/// apps or of `app`.
async fn images(root: &Root, app: Option<&str>) -> Result<Vec<Image>> {
    let trust = trust::load(root)?;
    let mut layers = Layers::new(&disk::data_root(root)?);
    let mut images = Vec::new();
    for digest in signatures::digests(root)? {
        let (name, id) = match signed(root, &trust, &digest, app) {
            Ok((name, _)) if name.is_empty() => continue,
            Ok(found) => found,
            Err(error) => {
                log::warn(format_args!(
                    "skipped {digest}, whose cached signature does not hold: {error:#}"
                ));
                continue;
            }
        };
        if pull::local(root, &id).await?.is_none() {
            continue;
        }
        let config = layers.image(&id.parse()?);
        let directories = config.and_then(|config| layers.directories(&config));
        let directories = directories.map_err(|why| {
            let message = format!("{name}: {why}: remove the image, pull it again");
            Failure::error(DAMAGED, message)
        })?;
        images.push(Image {
            name,
            id,
            layers: directories,
        });
    }
    Ok(images)
}

/// Verifies the cached signatures of a manifest. Returns the versions of all apps or of
/// `app` for which it is signed, empty if there are none, and the image ID.
fn signed(
    root: &Root,
    trust: &Trust,
    digest: &Digest,
    app: Option<&str>,
) -> Result<(String, String)> {
    let (versions, id) = signatures::versions(root, trust, digest)?.context("it is gone")?;
    let versions = versions.iter().map(|verified| &verified.annotations);
    let wanted = versions.filter(|signed| app.is_none_or(|app| app == signed.app));
    let names: BTreeSet<_> = wanted.map(|s| format!("{} {}", s.app, s.version)).collect();
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    Ok((names, id.to_string()))
}

/// Exports an image from the engine and compares its layers. Returns the index of each
/// damaged layer, with the first difference.
async fn check(root: &Root, image: &Image) -> Result<BTreeMap<usize, String>> {
    let wanted: BTreeSet<String> = image
        .layers
        .iter()
        .map(|(digest, _)| digest.clone())
        .collect();
    let path = format!("/images/{}/get", image.id);
    let consume = move |input: &mut dyn Read| layers(input, &wanted);
    let found = match transfer::download(root, &path, consume).await {
        Ok(found) => found,
        Err(error) if matches!(error.downcast_ref(), Some(EngineError::Unreachable(_))) => {
            return Err(error);
        }
        // The engine itself detects changed content and aborts the export.
        Err(error) => return Ok(damaged_layers(image, &format!("{error:#}"))),
    };
    let mut wrong = BTreeMap::new();
    for (at, (digest, directory)) in image.layers.iter().enumerate() {
        let verdict = match found.get(digest) {
            None => Err("its content is another".to_string()),
            Some(layer) => layer.compare(directory),
        };
        if let Err(why) = verdict {
            wrong.insert(at, why);
        }
    }
    Ok(wrong)
}

/// Reads an archive of `docker save`; returns its layers by the digest of their content.
fn layers(input: &mut dyn Read, wanted: &BTreeSet<String>) -> Result<BTreeMap<String, Layer>> {
    let context = "reading the engine's archive";
    let mut found = BTreeMap::new();
    let mut archive = Archive::new(input);
    for entry in archive.entries().context(context)? {
        let mut entry = entry.context(context)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let blob = name
            .strip_prefix("blobs/sha256/")
            .map(|hex| format!("sha256:{hex}"));
        let layer = name.ends_with("/layer.tar") || blob.is_some_and(|b| wanted.contains(&b));
        if layer && entry.header().entry_type().is_file() {
            if let Some((digest, layer)) = Layer::read(&mut entry)? {
                found.insert(digest, layer);
            }
        }
    }
    Ok(found)
}

/// Returns the layers to which an error of the engine refers. The error has no field for
/// the layer, so its message is searched for the directory of a layer or a file in it.
/// The message only selects the layers to report: that the image is damaged follows from
/// the error itself.
fn damaged_layers(image: &Image, message: &str) -> BTreeMap<usize, String> {
    let why = format!("its content is another; {}", printable(message));
    let named = message.split('"').nth(1).unwrap_or_default();
    let named = named.trim_start_matches("./").trim_start_matches('/');
    let has = |directory: &PathBuf| {
        let cache = directory
            .iter()
            .rev()
            .nth(1)
            .unwrap_or_default()
            .to_string_lossy();
        let exists = directory.join(named).symlink_metadata().is_ok();
        message.contains(&*cache) || !named.is_empty() && exists
    };
    let all = image.layers.iter().enumerate();
    let damaged: BTreeMap<_, _> = all
        .filter(|(_, (_, directory))| has(directory))
        .map(|(at, _)| (at, why.clone()))
        .collect();
    match damaged.is_empty() {
        true => (0..image.layers.len())
            .map(|at| (at, format!("the engine does not name the layer; {why}")))
            .collect(),
        false => damaged,
    }
}
