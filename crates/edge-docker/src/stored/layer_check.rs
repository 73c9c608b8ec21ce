//! Check of the layers of all images after each boot: in the background, or before the
//! engine's first start if the policy demands that.
//!
//! Each result is written at once, so that a check goes on where it was interrupted.

use std::path::Path;

use anyhow::{Context, Result};
use edge_common::contract::path::LAYERS_CHECKED;
use edge_common::{Root, boot, file, log, time};
use serde::{Deserialize, Serialize};

use super::damage::Damage;
use super::disk;
use super::fsck::Checker;
use super::images::{self, Image};
use super::layers::Layers;
use crate::trust;

/// Size limit of the results of a boot, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Length limit of a reason in the results, in characters.
const MAX_REASON_CHARS: usize = 200;

/// Results of this boot: the content of [`LAYERS_CHECKED`], which edge-heartbeat reports.
#[derive(Serialize, Deserialize)]
struct Results {
    v: u32,
    /// Boot in which the layers were checked.
    boot_id: String,
    images: Vec<ImageResult>,
}

#[derive(Clone, Serialize, Deserialize)]
struct ImageResult {
    /// Image ID.
    id: String,
    name: String,
    state: State,
    /// Time of the check, RFC 3339; empty until then.
    #[serde(default)]
    time: String,
    /// First fault.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    why: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Damaged,
    /// Not checked yet, or not readable.
    Unchecked,
}

impl Results {
    /// Reads the results of this boot, empty if there are none.
    fn load(root: &Root) -> Self {
        let boot_id = boot::id(root);
        let text = file::read(&root.path(LAYERS_CHECKED), MAX_FILE_BYTES);
        let read = text
            .ok()
            .and_then(|t| serde_json::from_slice::<Self>(&t).ok());
        let same = read.filter(|results| results.boot_id == boot_id);
        same.unwrap_or(Self {
            v: 1,
            boot_id,
            images: Vec::new(),
        })
    }

    fn write(&self, root: &Root) -> Result<()> {
        let path = root.path(LAYERS_CHECKED);
        file::create_directory(path.parent().unwrap_or(&path), 0o755)?;
        let text = serde_json::to_vec(self).context("writing the results of the check")?;
        file::put(&path, &text, 0o644)
    }

    /// Exchanges the list of images, and keeps the results of those that are still there.
    fn exchange(&mut self, images: &[Image]) {
        let old = std::mem::take(&mut self.images);
        let result = |image: &Image| {
            let known = old.iter().find(|r| r.id == image.id.as_str());
            known.cloned().unwrap_or(ImageResult {
                id: image.id.to_string(),
                name: image.name.clone(),
                state: State::Unchecked,
                time: String::new(),
                why: String::new(),
            })
        };
        self.images = images.iter().map(result).collect();
    }
}

/// Checks the images that this boot has not found intact, and calls `damaged` for each
/// damaged one. Returns the results of this boot.
fn check(root: &Root, data_root: &Path, mut damaged: impl FnMut(&Image, &str)) -> Result<Results> {
    let trust = trust::load(root)?;
    let images = images::all(root, &trust, data_root, None)?;
    let mut results = Results::load(root);
    results.exchange(&images);
    warn(results.write(root));
    let mut damage = Damage::load(root);
    let mut checker = Checker::new(Layers::new(data_root));
    let mut used: Vec<String> = Vec::new();
    for (at, image) in images.iter().enumerate() {
        let mut layers = Layers::new(data_root);
        let of_image = image.layers(&mut layers).unwrap_or_default();
        used.extend(of_image.iter().map(super::layer::Layer::name));
        used.push(image.id.to_string());
        if results.images[at].state == State::Ok {
            continue;
        }
        let report = checker.check(image);
        // Removed meanwhile: that its files are gone says nothing.
        if !layers.has(&image.id) {
            continue;
        }
        let state = match (report.damaged.is_empty(), report.unchecked.is_empty()) {
            (false, _) => State::Damaged,
            (true, false) => State::Unchecked,
            (true, true) => State::Ok,
        };
        let why = report.first();
        let short = why.chars().take(MAX_REASON_CHARS).collect();
        let result = &mut results.images[at];
        (result.state, result.time, result.why) = (state, time::now(), short);
        // The damage first: with the other order a power loss could lose it.
        if state != State::Unchecked {
            warn(damage.note(root, image, &of_image, &report.faults()));
        }
        warn(results.write(root));
        if state != State::Ok {
            log::error(format_args!("{}: {why}", image.name));
        }
        if state == State::Damaged {
            damaged(image, &why);
        }
    }
    let exists = |id: &str| {
        let directories = ["containers", "withheld"];
        let mut places = directories
            .map(|name| data_root.join(name).join(id))
            .into_iter();
        places.any(|place| place.exists())
    };
    let is_used = |key: &str| used.iter().any(|used| used == key);
    warn(damage.retain(root, is_used, exists));
    Ok(results)
}

/// Logs that a result could not be written: on a full disk, too, a damaged image must not
/// run.
fn warn(written: Result<()>) {
    if let Err(error) = written {
        log::warn(format_args!("{error:#}"));
    }
}

/// Carries out `check-layers`: checks all images in the background. Returns the damaged
/// images, with the reasons.
pub(crate) fn in_background(root: &Root) -> Result<Vec<(String, String)>> {
    let data_root = disk::data_root(root)?;
    let mut found = Vec::new();
    check(root, &data_root, |image, why| {
        found.push((image.id.to_string(), why.to_string()));
    })?;
    Ok(found)
}

/// Verdict on images by the checks of this boot and earlier ones.
pub(super) struct Verdicts {
    damage: Damage,
    layers: Layers,
    /// Results of this boot, if only what was found intact may run.
    required: Option<Results>,
}

impl Verdicts {
    /// Reads the verdicts. If a check is required, it is carried out first.
    pub(super) fn load(root: &Root, data_root: &Path, is_required: bool) -> Result<Self> {
        let required = match is_required {
            true => Some(check(root, data_root, |_, _| {})?),
            false => None,
        };
        Ok(Self {
            damage: Damage::load(root),
            layers: Layers::new(data_root),
            required,
        })
    }

    /// Returns why a container of the image must not run, and whether the image is known to
    /// be damaged.
    pub(super) fn of(&mut self, image: &str) -> Option<(String, bool)> {
        if let Some(why) = self.damage.of(&mut self.layers, image) {
            let next = "edge-docker pull it again";
            return Some((format!("its image is damaged ({why}): {next}"), true));
        }
        let results = &self.required.as_ref()?.images;
        let why = match results.iter().find(|result| result.id == image) {
            Some(result) if result.state == State::Ok => return None,
            Some(result) => format!("its image was not found intact: {}", result.why),
            None => "its image is not there: edge-docker pull it again".into(),
        };
        Some((why, false))
    }
}
