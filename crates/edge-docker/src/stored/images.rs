//! Images in the engine's storage whose layers are checked, with their names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use edge_common::{Root, log};
use edge_signature::Digest;

use super::layer::Layer;
use super::layers::Layers;
use super::{disk, fault::Fault, files};
use crate::image::signatures;
use crate::trust::Trust;

/// Number of hex digits of the ID of an image that has no name.
const SHOWN_ID_DIGITS: usize = 12;

/// Image that is checked.
pub(super) struct Image {
    /// Image ID.
    pub(super) id: Digest,
    /// App and version for messages, for example `hello 1.2`; several are separated by
    /// commas. For an image without a valid signature the beginning of its ID.
    pub(super) name: String,
    /// Whether a cached signature of the image is valid.
    pub(super) is_signed: bool,
}

impl Image {
    /// Returns the layers of the image, beginning with the lowest.
    pub(super) fn layers(&self, layers: &mut Layers) -> Result<Vec<Layer>, Fault> {
        let config = layers.image(&self.id)?;
        layers.of_image(&config)
    }
}

/// Returns the images that the engine has, of all apps or of `app`; first those whose
/// containers were started last.
pub(super) fn all(
    root: &Root,
    trust: &Trust,
    data_root: &Path,
    app: Option<&str>,
) -> Result<Vec<Image>> {
    let signed = signed(root, trust, app)?;
    let mut images = Vec::new();
    let layers = Layers::new(data_root);
    for id in layers.images()? {
        let name = signed.get(&id);
        if name.is_none() && app.is_some() {
            continue;
        }
        let shown = &id.hex()[..SHOWN_ID_DIGITS];
        images.push(Image {
            name: name.cloned().unwrap_or_else(|| format!("image {shown}")),
            is_signed: name.is_some(),
            id,
        });
    }
    let started = started(data_root)?;
    images.sort_by(|a, b| {
        let of = |image: &Image| started.get(image.id.as_str());
        of(b).cmp(&of(a)).then_with(|| a.name.cmp(&b.name))
    });
    Ok(images)
}

/// Returns apps and versions of all signed images, for example `hello 1.2`, by their IDs.
pub(crate) fn names(root: &Root, trust: &Trust) -> Result<BTreeMap<String, String>> {
    let names = signed(root, trust, None)?.into_iter();
    Ok(names.map(|(id, name)| (id.to_string(), name)).collect())
}

/// Returns the names of the images whose cached signatures are valid, by their IDs.
fn signed(root: &Root, trust: &Trust, app: Option<&str>) -> Result<BTreeMap<Digest, String>> {
    let mut names: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
    for digest in signatures::digests(root)? {
        let found =
            signatures::versions(root, trust, &digest).and_then(|f| f.context("it is gone"));
        let (versions, id) = match found {
            Ok(found) => found,
            Err(error) => {
                log::warn(format_args!(
                    "skipped {digest}, whose cached signature does not hold: {error:#}"
                ));
                continue;
            }
        };
        let annotations = versions.iter().map(|verified| &verified.annotations);
        let wanted = annotations.filter(|signed| app.is_none_or(|app| app == signed.app));
        for name in wanted.map(|s| format!("{} {}", s.app, s.version)) {
            names.entry(id.clone()).or_default().insert(name);
        }
    }
    let join = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(", ");
    Ok(names
        .into_iter()
        .map(|(id, names)| (id, join(names)))
        .collect())
}

/// Returns the time of the last start of a container of each image, by the image ID.
fn started(data_root: &Path) -> Result<BTreeMap<String, String>> {
    let mut started: BTreeMap<String, String> = BTreeMap::new();
    for directory in ["containers", "withheld"] {
        for path in disk::entries(&data_root.join(directory))? {
            // A container that cannot be read is the concern of the audit.
            let Ok(container) = files::read(&path) else {
                continue;
            };
            let time = container.config["State"]["StartedAt"].as_str();
            let time = time.unwrap_or_default().to_string();
            let newest = started.entry(container.image().into()).or_default();
            if *newest < time {
                *newest = time;
            }
        }
    }
    Ok(started)
}
