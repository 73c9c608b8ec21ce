//! Transfer of a container image to a device: the layers that the device lacks,
//! compressed, in one stream to `edge-docker load`. No temporary file is created on
//! either side.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use anyhow::{Context, Result, anyhow};
use edge_app_spec::quote;
use edge_common::{exit, log};
use tokio::io::AsyncReadExt as _;

use crate::device::ssh::{Device, edge_docker};
use crate::exit_code::REFUSED;
use crate::image::change_archive::ChangeArchive;
use crate::image::compression::{Codec, compress};
use crate::image::docker::{self, LocalImage};
use crate::image::endpoint::{Arrived, Endpoint, Outcome, Target};
use crate::image::layer_cache;
use crate::image::layer_filter::{self, LayerNames};
use crate::output::progress::Progress;

/// Number of attempts to query the images of a device before the error is returned.
const QUERY_ATTEMPTS: u32 = 3;
/// Number of pushes of the engine: it is denied layers that the device lacks although an
/// earlier push went elsewhere.
const MAX_PUSHES: usize = 3;
/// Size limit in bytes of the compressed layers of a change, which are kept in memory: an
/// archive states the size of a layer before its content.
const MAX_CHANGE_BYTES: u64 = 256 * 1024 * 1024;

/// Container images that a device has, with names and layers.
pub(crate) struct DeviceImages(Vec<Image>);

struct Image {
    id: String,
    names: Vec<String>,
    layers: Vec<String>,
}

/// Queries the images of a device with their layers. An error is never treated as an
/// empty list, which would cause the transfer of the whole image.
pub(crate) async fn device_images(device: &Device) -> Result<DeviceImages> {
    for _ in 1..QUERY_ATTEMPTS {
        match query(device).await {
            // An image may be removed between the two commands of a query; the next query
            // does not list it any more.
            Err(error) if exit::code_of(&error) == 1 => {}
            other => return other,
        }
    }
    query(device).await
}

async fn query(device: &Device) -> Result<DeviceImages> {
    let ids = edge_docker(&["images", "--quiet", "--no-trunc"]);
    // `range` instead of `join`, which not every version of docker supports for these
    // lists.
    let format =
        "--format={{.Id}} {{range .RepoTags}}{{.}},{{end}};{{range .RootFS.Layers}}{{.}} {{end}}";
    let inspect = edge_docker(&["inspect", "--type=image", format]);
    // Both commands are in one command line, which saves a round trip to the device.
    let line = format!("i=$({ids}) || exit; [ -z \"$i\" ] || {inspect} $i");
    let text = device.run_line(&line).await?;
    Ok(DeviceImages::parse(&text))
}

impl DeviceImages {
    fn parse(text: &str) -> Self {
        let image = |line: &str| {
            let (head, layers) = line.split_once(';')?;
            let (id, names) = head.split_once(' ')?;
            Some(Image {
                id: id.into(),
                names: names.split(',').map(String::from).collect(),
                layers: layers.split_whitespace().map(String::from).collect(),
            })
        };
        Self(text.lines().filter_map(image).collect())
    }

    /// Returns whether the device has the image `local` under the name `image`.
    pub(crate) fn has(&self, image: &str, local: &LocalImage) -> bool {
        let same = |i: &Image| i.id == local.id && i.names.iter().any(|n| n == image);
        self.0.iter().any(same)
    }

    /// Returns the number of `layers`, counted from the lowest, that the device has in
    /// one image. Engines identify a layer together with all layers below it, so an equal
    /// layer on top of different layers does not count.
    fn common(&self, layers: &[String]) -> usize {
        let common = |image: &Image| {
            let pairs = image.layers.iter().zip(layers);
            pairs.take_while(|(a, b)| a == b).count()
        };
        self.0.iter().map(common).max().unwrap_or(0)
    }
}

/// Returns a command line for the device's shell that removes images of sandbox apps
/// which newer builds replaced: images that had a name in `before`, have none now, and
/// are not the image ID `new`. Each build leaves one, and they would fill the disk.
/// Images in use stay, since `rmi` without `--force` refuses to remove them.
pub(crate) fn remove_replaced(new: &str, before: &DeviceImages) -> String {
    let replaced = |i: &&Image| i.id != new && i.names.iter().any(|n| n.starts_with("sandbox/"));
    let old: Vec<_> = before
        .0
        .iter()
        .filter(replaced)
        .map(|i| i.id.as_str())
        .collect();
    let dangling = ["images", "--quiet", "--no-trunc", "--filter=dangling=true"];
    let (dangling, rmi) = (edge_docker(&dangling), edge_docker(&["rmi"]));
    format!(
        "for i in $({dangling}); do case {} in *\"$i\"*) {rmi} \"$i\";; esac; done >/dev/null 2>&1",
        quote([old.join(" ")].iter())
    )
}

/// Way in which an image was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Docker pushed the layers that changed.
    Change,
    /// Docker saved the whole image.
    Whole,
}

/// Sends `image` to the device: first only the missing layers, and after an error, for
/// example because a layer was removed since the query, the whole image.
pub(crate) async fn send(
    device: &Device,
    app: &str,
    image: &str,
    local: &LocalImage,
    on_device: &DeviceImages,
) -> Result<Sent> {
    let skip = on_device.common(&local.layers);
    let sent = match skip {
        // `docker image save` and compression on all cores are faster than the engine's
        // own compression if everything is new.
        0 => Ok(false),
        _ => change(device, image, local, skip).await,
    };
    let sent = match sent {
        Ok(false) => stream(device, app, image, local, skip)
            .await
            .map(|()| Sent::Whole),
        sent => sent.map(|_| Sent::Change),
    };
    match sent {
        Err(error) if skip > 0 && [1, REFUSED].contains(&exit::code_of(&error)) => {
            log::warn(format_args!("{error:#}; sending the whole image"));
            stream(device, app, image, local, 0).await?;
            Ok(Sent::Whole)
        }
        sent => sent,
    }
}

/// Lets the engine compute the digests of its layers, without sending them anywhere: it
/// then knows them when the image changes.
pub(crate) async fn prepare_next(local: &LocalImage) -> Result<()> {
    let endpoint = Endpoint::open(&local.id, Target::Discard).await?;
    if let Outcome::Arrived(image) = endpoint.receive(local).await? {
        remember(&image);
    }
    Ok(())
}

fn remember(image: &Arrived) {
    for layer in &image.layers {
        layer_cache::remember_diff_id(&layer.digest, &layer.diff_id);
    }
}

/// Sends the layers above the lowest `skip`, which docker pushes to an endpoint of edge-app.
/// Returns false if the engine does not reach it or if they are too large to be kept in
/// memory.
async fn change(device: &Device, name: &str, local: &LocalImage, skip: usize) -> Result<bool> {
    let target = Target::Memory {
        present: local.layers[..skip].iter().cloned().collect(),
        limit: MAX_CHANGE_BYTES,
    };
    let endpoint = Endpoint::open(&local.id, target).await?;
    for _ in 0..MAX_PUSHES {
        let Some(image) = endpoint.receive_if_possible(local).await? else {
            return Ok(false);
        };
        remember(&image);
        let new = image.layers[skip..].iter();
        let missing: Vec<_> = new
            .filter(|layer| layer.content.is_none())
            .map(|layer| layer.digest.clone())
            .collect();
        if missing.is_empty() {
            let archive = ChangeArchive {
                name: name.into(),
                image,
                skip,
            };
            return load(device, archive).await.map(|()| true);
        }
        endpoint.deny(missing);
    }
    Ok(false)
}

/// Sends an archive to `edge-docker load`.
async fn load(device: &Device, archive: ChangeArchive) -> Result<()> {
    let mut load = device.edge_docker(&["load"], false).await?;
    load.stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut load = load.spawn().context("starting ssh")?;
    let to = load.stdin.take().context("standard input")?;
    let to = to.into_owned_fd()?;
    let all = archive.image.layers.len();
    let label = format!("sending {} of {all} layers", all - archive.skip);
    let sending = tokio::task::spawn_blocking(move || {
        let progress = Progress::new(label, None);
        let mut sink = CountingWriter {
            to: File::from(to),
            progress: &progress,
        };
        compress(Codec::Zstd, &mut sink, |to| archive.write(to))?;
        progress.finish();
        Ok(())
    });
    let mut output = String::new();
    let mut stderr = load.stderr.take().context("standard error")?;
    let (sent, _) = tokio::join!(sending, stderr.read_to_string(&mut output));
    let sent = sent.map_err(|_| anyhow!("the transfer panicked"))?;
    device.check(load.wait().await?, output.trim())?;
    sent
}

async fn stream(
    device: &Device,
    app: &str,
    image: &str,
    local: &LocalImage,
    skip: usize,
) -> Result<()> {
    let mut load = device.edge_docker(&["load"], false).await?;
    load.stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut load = load.spawn().context("starting ssh")?;
    let to = load
        .stdin
        .take()
        .context("standard input")?
        .into_owned_fd()?;
    let (mut save, from) = docker::start_save(image)?;
    let label = format!(
        "sending {} of {} layers",
        local.layers.len() - skip,
        local.layers.len()
    );
    let transfer = Transfer {
        from,
        to,
        progress: Progress::compressed(label, local.size),
        layers: local.layers.clone(),
        skip,
        app: app.into(),
    };
    let sending = tokio::task::spawn_blocking(move || transfer.run());
    let (mut load_output, mut save_output) = (String::new(), String::new());
    let mut stderr = (
        load.stderr.take().context("standard error")?,
        save.stderr.take().context("standard error")?,
    );
    let (sent, _, _) = tokio::join!(
        sending,
        stderr.0.read_to_string(&mut load_output),
        stderr.1.read_to_string(&mut save_output)
    );
    let sent = sent.map_err(|_| anyhow!("the transfer panicked"))?;
    let (loaded, saved) = (load.wait().await?, save.wait().await?);
    // The process that failed is reported as the cause; the other process, and the copy
    // between them, fail only because of a broken pipe.
    if !loaded.success() && (sent.is_err() || saved.success()) {
        device.check(loaded, load_output.trim())?;
    }
    docker::check(image, saved.success(), save_output.as_bytes())?;
    sent
}

struct Transfer {
    from: OwnedFd,
    to: OwnedFd,
    progress: Progress,
    layers: Vec<String>,
    skip: usize,
    app: String,
}

impl Transfer {
    fn run(self) -> Result<()> {
        let mut sink = CountingWriter {
            to: File::from(self.to),
            progress: &self.progress,
        };
        let from = CountingReader {
            from: File::from(self.from),
            progress: &self.progress,
        };
        let mut names = LayerNames::load(&self.app);
        compress(Codec::Zstd, &mut sink, |to| {
            layer_filter::copy(from, to, &self.layers, self.skip, &mut names)
        })?;
        self.progress.finish();
        Ok(())
    }
}

/// Reader of `docker image save` that counts bytes for the progress bar.
struct CountingReader<'a> {
    from: File,
    progress: &'a Progress,
}

impl Read for CountingReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.progress.add_read(length as u64);
        Ok(length)
    }
}

/// Writer to `edge-docker load` that counts the compressed bytes that were sent.
struct CountingWriter<'a> {
    to: File,
    progress: &'a Progress,
}

impl Write for CountingWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = self.to.write(bytes)?;
        self.progress.add(length as u64);
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(text: &str) -> Vec<String> {
        text.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn layers_and_names_on_a_device() {
        let images = DeviceImages::parse(
            "sha256:1 sandbox/a:latest,sandbox/a:v1;base x\nsha256:2 ;base lib y\nwarning\n",
        );
        assert_eq!(images.common(&layers("base lib z")), 2);
        assert_eq!(images.common(&layers("base x")), 2);
        // A layer counts only together with all layers below it.
        assert_eq!(images.common(&layers("lib y")), 0);
        let local = LocalImage {
            id: "sha256:1".into(),
            size: 0,
            layers: Vec::new(),
        };
        assert!(images.has("sandbox/a:latest", &local) && images.has("sandbox/a:v1", &local));
        assert!(!images.has("sandbox/b:latest", &local));
    }
}
