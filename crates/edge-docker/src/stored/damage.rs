//! Damaged layers that a check has found. Containers of an image that uses one do not
//! start until the image was pulled again, also after a reboot.
//!
//! The record names the directory of each layer, with its digest. An image that was removed and pulled again
//! has other directories, so nothing has to be told that it was repaired. The record proves
//! nothing: whoever removes it has the disk, and the next check finds the layer again.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use edge_common::{Root, file, log, time};
use edge_docker_policy::refusal::refuse;
use edge_signature::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::disk;
use super::images::{self, Image};
use super::layer::Layer;
use super::layers::Layers;
use crate::trust;

/// Record of the damaged layers.
const FILE: &str = "/data/config/edge-docker/damaged-layers.json";
/// Size limit of the record, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Length limit of a reason, in characters. Paths of a layer may be long.
const MAX_REASON_CHARS: usize = 300;

/// Damaged layers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Damage {
    v: u32,
    /// Damaged layers by their names, and images whose metadata are
    /// damaged by their IDs.
    #[serde(default)]
    layers: BTreeMap<String, Found>,
    /// IDs of the containers that a check has stopped: they start again once they are
    /// recreated.
    #[serde(default)]
    stopped: BTreeSet<String>,
    /// Fields of a later version.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Damage of one layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Found {
    /// Name of the image in which it was found.
    image: String,
    why: String,
    time: String,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Damage {
    /// Reads the record; without a valid one no layer counts as damaged.
    pub(super) fn load(root: &Root) -> Self {
        let path = root.path(FILE);
        let empty = Self {
            v: 1,
            layers: BTreeMap::new(),
            stopped: BTreeSet::new(),
            rest: Map::new(),
        };
        if std::fs::symlink_metadata(&path).is_err() {
            return empty;
        }
        let read = file::read(&path, MAX_FILE_BYTES);
        let parsed = read.and_then(|text| serde_json::from_slice(&text).context("parsing it"));
        parsed.unwrap_or_else(|error| {
            log::warn(format_args!(
                "{FILE} is ignored until the next check: {error:#}"
            ));
            empty
        })
    }

    /// Notes the result of the check of an image: faults by the name of the layer, or by
    /// `None` for its metadata. Writes the record if it changes.
    pub(super) fn note(
        &mut self,
        root: &Root,
        image: &Image,
        layers: &[Layer],
        faults: &[(Option<&str>, &str)],
    ) -> Result<()> {
        let before = self.layers.len();
        let key = |name: Option<&str>| name.unwrap_or(image.id.as_str()).to_string();
        let is_damaged = |of: &str| faults.iter().any(|(name, _)| key(*name) == of);
        let names = layers.iter().map(Layer::name);
        for key in names.chain([image.id.to_string()]) {
            if !is_damaged(&key) {
                self.layers.remove(&key);
            }
        }
        let mut is_changed = before != self.layers.len();
        for (name, why) in faults {
            let found = Found {
                image: image.name.clone(),
                why: why.chars().take(MAX_REASON_CHARS).collect(),
                time: time::now(),
                rest: Map::new(),
            };
            is_changed |= self.layers.insert(key(*name), found).is_none();
        }
        match is_changed {
            true => self.write(root),
            false => Ok(()),
        }
    }

    /// Removes what is known of layers that no image uses any more, and of containers that
    /// are gone.
    pub(super) fn retain(
        &mut self,
        root: &Root,
        is_used: impl Fn(&str) -> bool,
        exists: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let before = (self.layers.len(), self.stopped.len());
        self.layers.retain(|key, _| is_used(key));
        self.stopped.retain(|id| exists(id));
        match before == (self.layers.len(), self.stopped.len()) {
            true => Ok(()),
            false => self.write(root),
        }
    }

    fn write(&self, root: &Root) -> Result<()> {
        let path = root.path(FILE);
        file::create_directory(path.parent().unwrap_or(&path), 0o700)?;
        let text = serde_json::to_vec(self).context("writing the damaged layers")?;
        file::write(&path, &text, 0o600)
    }

    /// Returns why the image `id` must not run; `None` if no damage of it is known.
    pub(super) fn of(&self, layers: &mut Layers, id: &str) -> Option<String> {
        if self.layers.is_empty() {
            return None;
        }
        let digest: Digest = id.parse().ok()?;
        let current = layers
            .image(&digest)
            .and_then(|config| layers.of_image(&config));
        let found = match &current {
            Ok(current) => current.iter().find_map(|l| self.layers.get(&l.name())),
            Err(_) => self.layers.get(id),
        };
        found.map(|found| found.why.clone())
    }
}

/// Notes a container that is about to be stopped because its image is damaged.
pub(crate) fn note_stopped(root: &Root, id: &str) -> Result<()> {
    let mut damage = Damage::load(root);
    match damage.stopped.insert(id.into()) {
        true => damage.write(root),
        false => Ok(()),
    }
}

/// Returns whether a check has stopped the container `id`.
pub(super) fn was_stopped(root: &Root, id: &str) -> bool {
    Damage::load(root).stopped.contains(id)
}

/// Returns why the image `id` must not run; `None` if no damage of it is known.
pub(crate) fn reason(root: &Root, id: &str) -> Option<String> {
    let damage = Damage::load(root);
    let data_root = disk::data_root(root).ok()?;
    damage.of(&mut Layers::new(&data_root), id)
}

/// Refuses to start a container, named `name`, of an image with a damaged layer.
pub(crate) fn require_intact(root: &Root, verb: &str, name: &str, image: &str) -> Result<()> {
    let damage = Damage::load(root);
    if damage.layers.is_empty() {
        return Ok(());
    }
    match damage.of(&mut Layers::new(&disk::data_root(root)?), image) {
        None => Ok(()),
        Some(why) => Err(refuse(format_args!(
            "{verb} {name} is refused: its image is damaged ({why}): edge-docker pull it again"
        ))),
    }
}

/// Image with a damaged layer that another one uses, too.
pub(crate) struct SharedDamage {
    /// Image ID.
    pub(crate) id: Digest,
    /// Name for messages.
    pub(crate) name: String,
}

/// Returns the image `id` and all others that use its damaged layers; empty if it is not
/// damaged. The engine removes a layer with its last image only.
pub(crate) fn shared(root: &Root, id: &Digest) -> Result<Vec<SharedDamage>> {
    let damage = Damage::load(root);
    let data_root = disk::data_root(root)?;
    let mut layers = Layers::new(&data_root);
    if damage.of(&mut layers, id.as_str()).is_none() {
        return Ok(Vec::new());
    }
    let trust = trust::load(root)?;
    let mut of = |image: &Image| image.layers(&mut layers).unwrap_or_default();
    let mut images = images::all(root, &trust, &data_root, None)?;
    let own = images.iter().find(|image| image.id == *id).map(&mut of);
    let own: BTreeSet<_> = own.iter().flatten().map(Layer::name).collect();
    images.retain(|image| {
        let names = of(image);
        let mut names = names.iter().map(Layer::name);
        image.id == *id || names.any(|n| own.contains(&n) && damage.layers.contains_key(&n))
    });
    let shared = |image: Image| SharedDamage {
        id: image.id,
        name: image.name,
    };
    Ok(images.into_iter().map(shared).collect())
}

/// Fails if the image still has a layer that was damaged before it was pulled again: a
/// container that the engine does not show may use it.
pub(crate) fn require_repaired(root: &Root, id: &Digest) -> Result<()> {
    let mut layers = Layers::new(&disk::data_root(root)?);
    match Damage::load(root).of(&mut layers, id.as_str()) {
        None => Ok(()),
        Some(why) => bail!(
            "the engine kept the damaged layer ({why}), which something still uses: restart the \
             device, then pull again"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_stay_and_broken_records_count_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        let path = root.path(FILE);
        file::create_directory(path.parent().unwrap(), 0o700).unwrap();
        for broken in ["", "{", "[]", r#"{"v":1,"layers":7}"#] {
            file::write(&path, broken.as_bytes(), 0o600).unwrap();
            assert!(Damage::load(&root).layers.is_empty(), "{broken}");
        }
        let text = r#"{"v":2,"later":[1],"layers":{"a":{"image":"x","why":"w","time":"t","n":5},
            "b":{"image":"x","why":"w","time":"t"}}}"#;
        file::write(&path, text.as_bytes(), 0o600).unwrap();
        let mut damage = Damage::load(&root);
        damage.retain(&root, |key| key == "a", |_| true).unwrap();
        let text: Value = serde_json::from_slice(&file::read(&path, 4096).unwrap()).unwrap();
        assert_eq!(text["later"][0], 1);
        assert_eq!(text["layers"]["a"]["n"], 5);
        assert_eq!(
            (&text["v"], &text["layers"]["b"]),
            (&Value::from(2), &Value::Null)
        );
    }
}
