//! Check of the directories that the engine's overlay2 driver combines into the file
//! system of a container: they must be exactly the layers of its image, in their order, an
//! init layer, and the container's own layer. `fsck` checks the content of the layers.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use edge_common::file;
use edge_signature::Digest;
use serde_json::Value;

use edge_docker_policy::stored::container::is_hex;

use super::disk;
use super::fault::Fault;
use super::layer::{ExpectedInit, Layer};

/// Size limit of `lower`, `link` and similar files of the engine, in bytes. `lower` is
/// the longest, with up to 128 layers of about 28 bytes each.
const MAX_LINK_FILE_BYTES: u64 = 8 * 1024;
/// Size limit of the configuration of an image, in bytes.
const MAX_IMAGE_CONFIG_BYTES: u64 = 8 * 1024 * 1024;
/// Rule that a link of a layer breaks.
const ELSEWHERE: &str = "the link of a layer leads elsewhere";

/// Storage of the engine's overlay2 driver, with its database of images and layers.
pub(super) struct Layers {
    /// `<data-root>/overlay2`: a directory for each layer.
    overlay: PathBuf,
    /// `<data-root>/image/overlay2`: configurations of images, and metadata of layers.
    images: PathBuf,
    /// Cache of checked images: overlay2 links of the layers, top layer first, by the
    /// chain ID of the top layer.
    checked: HashMap<String, Vec<String>>,
    /// Cache: init layer of a container of an image, by the chain ID of its top layer.
    expected: HashMap<String, ExpectedInit>,
    /// IDs of the checked containers, by the names of their own layers.
    owners: HashMap<String, String>,
    /// Cache: what the metadata of containers and images say of the directories of layers.
    claims: OnceCell<Claims>,
}

/// Directories of layers, by name, that metadata of the engine name.
struct Claims {
    /// Numbers of containers that write to the layer.
    containers: HashMap<String, u32>,
    /// Layers of images.
    images: HashSet<String>,
}

impl Layers {
    /// Returns the storage below `data_root`, the directory of the engine's data.
    pub(super) fn new(data_root: &Path) -> Self {
        Self {
            overlay: data_root.join("overlay2"),
            images: data_root.join("image/overlay2"),
            checked: HashMap::new(),
            expected: HashMap::new(),
            owners: HashMap::new(),
            claims: OnceCell::new(),
        }
    }

    /// Returns the IDs of all images.
    pub(super) fn images(&self) -> anyhow::Result<Vec<Digest>> {
        let paths = disk::entries(&self.images.join("imagedb/content/sha256"))?;
        let id = |path: PathBuf| {
            let hex = path.file_name()?.to_str()?;
            format!("sha256:{hex}").parse().ok()
        };
        Ok(paths.into_iter().filter_map(id).collect())
    }

    /// Returns whether the engine has the image `id`.
    pub(super) fn has(&self, id: &Digest) -> bool {
        let path = self.images.join("imagedb/content/sha256").join(id.hex());
        fs::symlink_metadata(path).is_ok()
    }

    /// Reads the configuration of the image `id` and checks that its digest is the image
    /// ID.
    pub(super) fn image(&self, id: &Digest) -> Result<Value, Fault> {
        let path = self.images.join("imagedb/content/sha256").join(id.hex());
        let bytes = file::read(&path, MAX_IMAGE_CONFIG_BYTES)
            .map_err(|e| Fault::of(&e.context("its image is not there")))?;
        if Digest::of(&bytes) != *id {
            return Err("its image's configuration was changed".into());
        }
        serde_json::from_slice(&bytes).map_err(|_| "its image's configuration is broken".into())
    }

    /// Checks that container `id` consists of the layers of its image, an init layer and
    /// its own layer. `image` is the configuration of the image.
    pub(super) fn check(&mut self, id: &str, image: &Value) -> Result<(), Fault> {
        let mount = self.images.join("layerdb/mounts").join(id);
        if matches!(fs::symlink_metadata(&mount), Err(e) if e.kind() == ErrorKind::NotFound) {
            return Err("its own layer is gone".into());
        }
        let chain = chain(image)?;
        let parent = optional_text(&mount.join("parent"))?;
        let top = chain.last().map_or("", |(chain, _)| chain.as_str());
        if parent != top {
            return Err("it lies on another image's layers".into());
        }
        let own = text(&mount.join("mount-id"))?;
        let init = text(&mount.join("init-id"))?;
        if !is_hex(&own) || init != format!("{own}-init") {
            return Err("its own layer is not named as the engine does".into());
        }
        if self.claims().images.contains(&own) {
            return Err("its own layer is one of an image".into());
        }
        let owner = self.owners.entry(own.clone()).or_insert(id.into());
        if owner != id {
            return Err("its own layer is another container's".into());
        }
        let below = self.links(&chain)?;
        let init_link = self.link(&init)?;
        let above = [&[init_link], &below[..]].concat().join(":");
        if text(&self.overlay.join(&own).join("lower"))? != above {
            return Err("other layers lie under it".into());
        }
        let init_lower = optional_text(&self.overlay.join(&init).join("lower"))?;
        if init_lower != below.join(":") {
            return Err("other layers lie under its first one".into());
        }
        for name in ["diff", "work", "merged"] {
            let path = self.overlay.join(&own).join(name);
            if name != "merged" || fs::symlink_metadata(&path).is_ok() {
                directory(&path)?;
            }
        }
        self.check_init(&chain, &self.overlay.join(&init).join("diff"))
    }

    /// Checks the init layer in the directory `init`, above the layers of `chain`.
    fn check_init(&mut self, chain: &[(String, Digest)], init: &Path) -> Result<(), Fault> {
        let top = chain.last().map_or("", |(chain, _)| chain.as_str());
        if !self.expected.contains_key(top) {
            let expected = ExpectedInit::above(&self.directories(chain)?)?;
            self.expected.insert(top.into(), expected);
        }
        self.expected[top].check(init)
    }

    /// Returns the directories of the layers of a checked image, beginning with the highest.
    fn directories(&self, chain: &[(String, Digest)]) -> Result<Vec<PathBuf>, Fault> {
        let directory = |(id, _): &(String, Digest)| {
            let cache = text(&self.metadata(id).join("cache-id"))?;
            Ok(self.overlay.join(cache).join("diff"))
        };
        chain.iter().rev().map(directory).collect()
    }

    /// Returns the directory of the layer that container `id` writes to, with `diff` and
    /// `merged` in it; `None` if the engine's metadata names none.
    pub(super) fn own(&self, id: &str) -> Option<PathBuf> {
        let mount = self.images.join("layerdb/mounts").join(id);
        let own = text(&mount.join("mount-id")).ok()?;
        is_hex(&own).then(|| self.overlay.join(own))
    }

    /// Returns the directory of the layer that container `id` writes to, as [`Self::own`]
    /// does; `None` if the metadata of another container or of an image name it, too. Edited
    /// metadata could otherwise make a repair of one app destroy another one.
    pub(super) fn exclusive(&self, id: &str) -> Option<PathBuf> {
        let own = self.own(id)?;
        let name = Layer::name_in(&own);
        let claims = self.claims();
        let is_shared = claims.containers.get(&name).is_some_and(|count| *count > 1);
        (!is_shared && !claims.images.contains(&name)).then_some(own)
    }

    /// Reads what metadata say of the directories of layers. What cannot be read names none.
    fn claims(&self) -> &Claims {
        self.claims.get_or_init(|| {
            let named = |directory: &str, file: &str| {
                let paths = disk::entries(&self.images.join(directory)).unwrap_or_default();
                let names = paths.iter().map(|path| text(&path.join(file)));
                names.filter_map(Result::ok).collect::<Vec<_>>()
            };
            let mut containers = HashMap::new();
            for name in named("layerdb/mounts", "mount-id") {
                *containers.entry(name).or_default() += 1;
            }
            let images = named("layerdb/sha256", "cache-id").into_iter().collect();
            Claims { containers, images }
        })
    }

    /// Removes the metadata of the layers of container `id`, and unless they are another's,
    /// its own layer and its init layer.
    pub(super) fn remove(&self, id: &str) -> io::Result<()> {
        let absent = |result: io::Result<()>| match result {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        };
        if let Some(own) = self.exclusive(id) {
            let name = Layer::name_in(&own);
            for name in [format!("{name}-init"), name] {
                let directory = self.overlay.join(&name);
                if let Ok(link) = Self::link_name(&directory)
                    && self.leads(&link, &name)
                {
                    absent(fs::remove_file(self.overlay.join("l").join(link)))?;
                }
                absent(fs::remove_dir_all(directory))?;
            }
        }
        absent(fs::remove_dir_all(
            self.images.join("layerdb/mounts").join(id),
        ))
    }

    /// Returns the layers of an image, beginning with the lowest.
    pub(super) fn of_image(&mut self, image: &Value) -> Result<Vec<Layer>, Fault> {
        let chain = chain(image)?;
        self.links(&chain)?;
        let layer = |(id, digest): &(String, Digest)| {
            let metadata = self.metadata(id);
            let cache = text(&metadata.join("cache-id"))?;
            Ok(Layer {
                digest: digest.clone(),
                directory: self.overlay.join(cache).join("diff"),
                description: metadata.join("tar-split.json.gz"),
            })
        };
        chain.iter().map(layer).collect()
    }

    /// Returns the directory of the engine's metadata of the layer with a chain ID.
    fn metadata(&self, chain: &str) -> PathBuf {
        let hex = chain.strip_prefix("sha256:").unwrap_or_default();
        self.images.join("layerdb/sha256").join(hex)
    }

    /// Checks the layers of an image in the engine's metadata; returns their overlay2
    /// links, beginning with the top layer.
    fn links(&mut self, chain: &[(String, Digest)]) -> Result<Vec<String>, Fault> {
        let top = chain
            .last()
            .map(|(chain, _)| chain.clone())
            .unwrap_or_default();
        if let Some(links) = self.checked.get(&top) {
            return Ok(links.clone());
        }
        let mut links = Vec::new();
        for (at, (id, diff)) in chain.iter().enumerate() {
            let layer = self.metadata(id);
            let below = at.checked_sub(1).map_or("", |b| chain[b].0.as_str());
            let parent = optional_text(&layer.join("parent"))?;
            if text(&layer.join("diff"))? != diff.as_str() || parent != below {
                return Err(format!("layer {} of its image is another", at + 1).into());
            }
            // With another size the engine would skip the layer, and containers on it.
            if text(&layer.join("size"))?.parse::<i64>().is_err() {
                return Err(
                    format!("the size of layer {} of its image is no number", at + 1).into(),
                );
            }
            let cache = text(&layer.join("cache-id"))?;
            if !is_hex(&cache) {
                return Err(format!("layer {} of its image lies elsewhere", at + 1).into());
            }
            // The engine puts it below each new container, without looking at the layers.
            let lower = optional_text(&self.overlay.join(&cache).join("lower"))?;
            if lower != links.join(":") {
                return Err(format!("other layers lie under layer {} of its image", at + 1).into());
            }
            links.insert(0, self.link(&cache)?);
        }
        self.checked.insert(top, links.clone());
        Ok(links)
    }

    fn link_name(directory: &Path) -> Result<String, Fault> {
        let link = text(&directory.join("link"))?;
        let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
        match !link.is_empty() && link.bytes().all(plain) {
            true => Ok(link),
            false => Err(ELSEWHERE.into()),
        }
    }

    /// Returns whether the link `l/LINK` leads to `NAME/diff`.
    fn leads(&self, link: &str, name: &str) -> bool {
        let target = fs::read_link(self.overlay.join("l").join(link));
        target.is_ok_and(|t| t == Path::new("..").join(name).join("diff"))
    }

    /// Returns the link `l/…` of the layer in the directory `name`, after checking that
    /// it leads to `NAME/diff`.
    fn link(&self, name: &str) -> Result<String, Fault> {
        let link = Self::link_name(&self.overlay.join(name))?;
        if !self.leads(&link, name) {
            return Err(ELSEWHERE.into());
        }
        directory(&self.overlay.join(name))?;
        directory(&self.overlay.join(name).join("diff"))?;
        Ok(format!("l/{link}"))
    }
}

/// Returns chain ID and diff ID of each layer in an image's configuration, beginning with
/// the lowest.
fn chain(image: &Value) -> Result<Vec<(String, Digest)>, Fault> {
    let mut chain: Vec<(String, Digest)> = Vec::new();
    for diff in image["rootfs"]["diff_ids"].as_array().into_iter().flatten() {
        let diff = diff.as_str().and_then(|d| d.parse::<Digest>().ok());
        let diff = diff.ok_or("its image names no layers")?;
        let id = match chain.last() {
            None => diff.to_string(),
            Some((below, _)) => Digest::of(format!("{below} {diff}").as_bytes()).to_string(),
        };
        chain.push((id, diff));
    }
    Ok(chain)
}

fn text(path: &Path) -> Result<String, Fault> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let missing = || format!("the engine's file {name} is missing");
    let data = fs::symlink_metadata(path).map_err(|e| Fault::io(&missing(), &e))?;
    if !data.is_file() {
        return Err(missing().into());
    }
    let text = file::read_text(path, MAX_LINK_FILE_BYTES);
    let text = text.map_err(|e| Fault::of(&e.context(missing())))?;
    Ok(text.trim_end().into())
}

/// Returns the text of a file that need not exist.
fn optional_text(path: &Path) -> Result<String, Fault> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        _ => text(path),
    }
}

fn directory(path: &Path) -> Result<(), Fault> {
    match fs::symlink_metadata(path) {
        Ok(data) if data.is_dir() => Ok(()),
        Ok(_) => Err("a link lies where a layer should be".into()),
        Err(error) => Err(Fault::io("a layer is missing", &error)),
    }
}
