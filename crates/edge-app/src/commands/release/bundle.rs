//! `bundle`: a release set and its images in one file, without the layers that devices have.

use std::io::{Seek as _, Write};
use std::path::Path;

use anyhow::{Context, Result};
use edge_common::exit::Failure;
use edge_common::file;
use edge_signature::{Descriptor, Digest, Error, ImageRef, Layout, Manifest, Registry};
use serde::Deserialize;
use serde_json::json;
use tar::Header;
use tempfile::NamedTempFile;

use super::Releasing;
use crate::cli::output::Formats;
use crate::cli::release::{BundleOptions, ReleaseOptions};
use crate::exit_code::{CONFIGURATION, registry_error};
use crate::project::config::Project;

/// Size limit of a report, in bytes.
const MAX_REPORT_BYTES: u64 = 16 * 1024 * 1024;
/// Size to which files in an archive are padded.
const BLOCK: u64 = 512;

/// Writes the bundle of the last release set of a group, or of the one with `--number`.
pub(crate) async fn bundle(project: &Project, name: &str, options: &BundleOptions) -> Result<()> {
    // The set key says which sets are the team's; nothing is signed.
    let unused = ReleaseOptions {
        sign: None,
        days: 1,
        yes: false,
        key: options.key.clone(),
        format: Formats::default(),
        output: crate::cli::output::Output { json: false },
    };
    let releasing = Releasing::new(project, &unused).await?;
    let registry = &releasing.registry;
    let number = match options.number {
        Some(number) => number,
        None => {
            let (last, _) = releasing.last(name).await?;
            let why = format!("group {name} has no release set: edge-app release {name}");
            last.ok_or_else(|| Failure::error(CONFIGURATION, why))?
                .serial
        }
    };
    let digest = releasing.digest(name, number).await?;
    let platform = &project.config.platform.0;
    let architecture = platform.rsplit('/').next().unwrap_or_default();
    let read = registry.bundle(&releasing.trusted, &digest, architecture);
    let (layout, images) = read.await.map_err(registry_error)?;
    let devices = match &options.since {
        Some(report) => on_devices(registry, &report_of(report)?, architecture).await?,
        None => Vec::new(),
    };
    let (layers, omitted) = missing(&images, &devices)?;
    let bytes = write(registry, &layout, &layers, &options.file).await?;
    let (written, left_out) = (layers.len(), omitted);
    match options.output.json {
        true => println!(
            "{}",
            json!({ "set": format!("{}@{digest}", registry.repository()), "name": name,
                "number": number, "file": options.file, "bytes": bytes, "layers": written,
                "omitted": left_out })
        ),
        false => println!(
            "{}: set {name} {number}, {written} layers, {left_out} that the devices have, {bytes} \
             bytes",
            options.file.display()
        ),
    }
    Ok(())
}

/// Device in the output of `edge-app status --json`.
#[derive(Deserialize)]
struct Reported {
    device: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    apps: Vec<ReportedApp>,
}

#[derive(Deserialize)]
struct ReportedApp {
    digest: Option<Digest>,
}

/// Reads the digests of the images on each device.
fn report_of(path: &Path) -> Result<Vec<Vec<Digest>>> {
    let wrong = |why: String| {
        let why = format!("{}: {why}", path.display());
        Failure::error(CONFIGURATION, why)
    };
    let text = file::read(path, MAX_REPORT_BYTES).map_err(|e| Failure::wrap(CONFIGURATION, e))?;
    let devices: Vec<Reported> = serde_json::from_slice(&text)
        .map_err(|e| wrong(format!("not the output of edge-app status --json: {e}")))?;
    if devices.is_empty() {
        return Err(wrong("it reports no device".into()));
    }
    // What a silent device has is not known, so its bundle may omit nothing.
    if let Some(silent) = devices.iter().find(|device| device.error.is_some()) {
        let name = &silent.device;
        return Err(wrong(format!("{name} did not report: leave --since out")));
    }
    let digests = |device: Reported| device.apps.into_iter().filter_map(|app| app.digest);
    Ok(devices
        .into_iter()
        .map(|device| digests(device).collect())
        .collect())
}

/// Layers of each image on each device.
type Devices = Vec<Vec<Vec<Digest>>>;

async fn on_devices(
    registry: &Registry,
    reported: &[Vec<Digest>],
    architecture: &str,
) -> Result<Devices> {
    let mut devices = Vec::new();
    for digests in reported {
        let mut images = Vec::new();
        for digest in digests {
            let image = ImageRef {
                repository: registry.repository().clone(),
                tag: None,
                digest: Some(digest.clone()),
            };
            match registry.resolve_for(&image, architecture).await {
                Ok(manifest) => images.push(layers_of(&manifest)?),
                // A sandbox image, or one that the registry has removed.
                Err(Error::NotFound(_)) => {}
                Err(error) => return Err(registry_error(error)),
            }
        }
        devices.push(images);
    }
    Ok(devices)
}

fn layers_of(manifest: &Manifest) -> Result<Vec<Digest>> {
    let layers = manifest.layers().map_err(registry_error)?;
    Ok(layers.into_iter().map(|layer| layer.digest).collect())
}

/// Returns the layers that some device lacks, each once, and the number of the others.
/// Engines identify a layer together with all layers below it.
fn missing(images: &[Manifest], devices: &Devices) -> Result<(Vec<Descriptor>, usize)> {
    let (mut missing, mut omitted) = (Vec::<Descriptor>::new(), 0);
    for image in images {
        let layers = image.layers().map_err(registry_error)?;
        let common = |on_device: &Vec<Digest>| {
            let pairs = on_device.iter().zip(&layers);
            pairs.take_while(|(a, b)| **a == b.digest).count()
        };
        let most = |images: &Vec<Vec<Digest>>| images.iter().map(common).max().unwrap_or(0);
        let skip = devices.iter().map(most).min().unwrap_or(0);
        omitted += skip;
        for layer in layers.into_iter().skip(skip) {
            if missing.iter().all(|other| other.digest != layer.digest) {
                missing.push(layer);
            }
        }
    }
    Ok((missing, omitted))
}

/// Writes the archive whole or not at all; returns its size.
async fn write(
    registry: &Registry,
    layout: &Layout,
    layers: &[Descriptor],
    path: &Path,
) -> Result<u64> {
    let context = || format!("writing {}", path.display());
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let mut file = NamedTempFile::new_in(parent.unwrap_or(Path::new("."))).with_context(context)?;
    let version = br#"{"imageLayoutVersion":"1.0.0"}"#;
    let index = layout.index();
    append(&mut file, "oci-layout", version).with_context(context)?;
    append(&mut file, "index.json", &index).with_context(context)?;
    for (digest, bytes) in layout.blobs() {
        append(&mut file, &blob(digest), bytes).with_context(context)?;
    }
    for layer in layers {
        let header = header(&blob(&layer.digest), layer.size)?;
        file.write_all(header.as_bytes()).with_context(context)?;
        let copied = registry.download(layer, |piece| file.write_all(piece));
        copied.await.map_err(registry_error)?;
        pad(&mut file, layer.size).with_context(context)?;
    }
    file.write_all(&[0; 1024]).with_context(context)?;
    file.as_file().sync_all().with_context(context)?;
    let size = file.stream_position().with_context(context)?;
    file.persist(path).with_context(context)?;
    Ok(size)
}

fn append(file: &mut impl Write, name: &str, bytes: &[u8]) -> Result<()> {
    let size = bytes.len() as u64;
    file.write_all(header(name, size)?.as_bytes())?;
    file.write_all(bytes)?;
    Ok(pad(file, size)?)
}

fn pad(file: &mut impl Write, size: u64) -> std::io::Result<()> {
    let padding = size.next_multiple_of(BLOCK) - size;
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), padding), file).map(drop)
}

fn header(name: &str, size: u64) -> Result<Header> {
    let mut header = Header::new_gnu();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    Ok(header)
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(layers: &[&str]) -> Manifest {
        let descriptor =
            |text: &&str| json!({ "digest": Digest::of(text.as_bytes()), "size": text.len() });
        let layers: Vec<_> = layers.iter().map(descriptor).collect();
        let manifest = json!({ "schemaVersion": 2, "config": descriptor(&"c"), "layers": layers });
        Manifest::new(manifest.to_string().into_bytes())
    }

    #[test]
    fn layers_are_omitted_that_all_devices_have_in_this_order() {
        let digests = |layers: &[&str]| -> Vec<Digest> {
            layers.iter().map(|l| Digest::of(l.as_bytes())).collect()
        };
        let images = [image(&["a", "b", "c"]), image(&["x", "c"])];
        for (devices, expected, number) in [
            (vec![], &["a", "b", "c", "x"][..], 0),
            (vec![vec![]], &["a", "b", "c", "x"], 0),
            (vec![vec![digests(&["a", "b", "d"])]], &["c", "x"], 2),
            (vec![vec![digests(&["b", "a"])]], &["a", "b", "c", "x"], 0),
            (
                vec![
                    vec![digests(&["a", "b"])],
                    vec![digests(&["a"]), digests(&["x", "c"])],
                ],
                &["b", "c", "x"],
                1,
            ),
            (
                vec![vec![digests(&["a", "b", "c"]), digests(&["x", "c"])]],
                &[],
                5,
            ),
        ] {
            let (missing, omitted) = missing(&images, &devices).unwrap();
            let missing: Vec<_> = missing.into_iter().map(|layer| layer.digest).collect();
            assert_eq!((missing, omitted), (digests(expected), number));
        }
    }
}
