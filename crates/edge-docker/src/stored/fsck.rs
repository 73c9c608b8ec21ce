//! `fsck [APP]`: checks that the image layers on the disk are those that were signed.

use std::collections::BTreeMap;

use anyhow::Result;
use edge_common::contract::exit_code::REFUSED;
use edge_common::exit::Failure;
use edge_common::{Root, log};
use edge_docker_policy::refusal::refuse;

use super::disk;
use super::fault::Fault;
use super::images::{self, Image};
use super::layer::Layer;
use super::layers::Layers;
use crate::trust;

/// Exit code of `fsck` if a layer differs from the signed one.
const DAMAGED: u8 = 3;

/// Carries out `fsck`: checks the images of one app or of all apps, and reports every
/// damaged layer.
pub(crate) fn run(root: &Root, args: &[&str]) -> Result<()> {
    let app = match args {
        [] => None,
        [app] => Some(*app),
        _ => return Err(refuse("fsck takes one app, or none for all")),
    };
    let trust = trust::load(root)?;
    let data_root = disk::data_root(root)?;
    let images = images::all(root, &trust, &data_root, app)?;
    if let (Some(app), true) = (app, images.is_empty()) {
        let message = format_args!("fsck: no image of app {app:?} is here");
        return Err(Failure::error(REFUSED, message));
    }
    let mut checker = Checker::new(Layers::new(&data_root));
    let (mut damaged, mut unchecked) = (0, 0);
    for image in images {
        let report = checker.check(&image);
        report.print(&image);
        damaged += report.damaged.len();
        unchecked += report.unchecked.len();
    }
    match (damaged, unchecked) {
        (0, 0) => Ok(()),
        (0, count) => Err(anyhow::anyhow!(
            "{count} layers could not be read: look at the journal of the kernel for errors of \
             the disk"
        )),
        (count, _) => Err(Failure::error(
            DAMAGED,
            format_args!("{count} layers are not what was signed: pull the image again"),
        )),
    }
}

/// Check of several images: a layer that they share is read once.
pub(super) struct Checker {
    layers: Layers,
    /// Faults of the layers that were read. Not by their directories: an edit of the disk
    /// can lead two layers to the directory of one.
    read: BTreeMap<Layer, Option<(bool, String)>>,
}

/// Result of the check of an image.
#[derive(Default)]
pub(super) struct Report {
    count: usize,
    /// Layers that are not what was signed.
    pub(super) damaged: Vec<FaultyLayer>,
    /// Layers that could not be read.
    pub(super) unchecked: Vec<FaultyLayer>,
}

/// Layer with its fault.
pub(super) struct FaultyLayer {
    /// Name of the layer; `None` for metadata of the image.
    name: Option<String>,
    why: String,
}

impl Checker {
    /// Returns a check that has read no layer yet.
    pub(super) fn new(layers: Layers) -> Self {
        let read = BTreeMap::new();
        Self { layers, read }
    }

    /// Checks all layers of an image.
    pub(super) fn check(&mut self, image: &Image) -> Report {
        let mut report = Report::default();
        let layers = match image.layers(&mut self.layers) {
            Ok(layers) => layers,
            Err(fault) => {
                report.add(None, is_damage(&fault), fault.to_string());
                return report;
            }
        };
        report.count = layers.len();
        for (layer, at) in layers.iter().zip(1..) {
            let fault = self.read.entry(layer.clone()).or_insert_with(|| {
                let fault = layer.check().err()?;
                Some((is_damage(&fault), fault.to_string()))
            });
            if let Some((is_damaged, why)) = fault {
                let (count, digest) = (layers.len(), &layer.digest);
                let why = format!("layer {at} of {count} ({digest}): {why}");
                report.add(Some(layer.name()), *is_damaged, why);
            }
        }
        report
    }
}

impl Report {
    fn add(&mut self, name: Option<String>, is_damaged: bool, why: String) {
        let list = match is_damaged {
            true => &mut self.damaged,
            false => &mut self.unchecked,
        };
        list.push(FaultyLayer { name, why });
    }

    /// Returns the first fault; empty if there is none.
    pub(super) fn first(&self) -> String {
        let mut all = self.damaged.iter().chain(&self.unchecked);
        all.next().map_or(String::new(), |layer| layer.why.clone())
    }

    /// Returns name and fault of each damaged layer.
    pub(super) fn faults(&self) -> Vec<(Option<&str>, &str)> {
        let mut faults = Vec::new();
        for FaultyLayer { name, why } in &self.damaged {
            faults.push((name.as_deref(), why.as_str()));
        }
        faults
    }

    fn print(&self, image: &Image) {
        let name = &image.name;
        for layer in self.damaged.iter().chain(&self.unchecked) {
            log::error(format_args!("{name}: {}", layer.why));
        }
        if self.damaged.is_empty() && self.unchecked.is_empty() {
            let origin = if image.is_signed { "signed" } else { "loaded" };
            println!("{name}: {} layers as {origin}", self.count);
        }
    }
}

fn is_damage(fault: &Fault) -> bool {
    !matches!(fault, Fault::Unreadable(_))
}
