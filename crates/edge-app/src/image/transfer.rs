//! An image to a device: the layers that it lacks, compressed, in one stream
//! through `edge-docker load`.

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
use crate::image::compression::{Codec, pack};
use crate::image::docker::{self, Local};
use crate::image::layer_filter::{self, Names};
use crate::output::progress::Progress;

/// How often a device is asked for its images.
const ATTEMPTS: u32 = 3;

/// Images of a device.
pub(crate) struct There(Vec<Image>);

struct Image {
    id: String,
    names: Vec<String>,
    layers: Vec<String>,
}

/// Asks a device for its images and their layers.
///
/// # Errors
/// Unreachable, refused, or the engine's: a device that does not tell is not
/// one that has nothing.
pub(crate) async fn there(device: &Device) -> Result<There> {
    for _ in 1..ATTEMPTS {
        match ask(device).await {
            // An image may go between the two questions; then it is not in the
            // first answer the next time.
            Err(error) if exit::code_of(&error) == 1 => {}
            other => return other,
        }
    }
    ask(device).await
}

async fn ask(device: &Device) -> Result<There> {
    let ids = edge_docker(&["images", "--quiet", "--no-trunc"]);
    let format =
        "--format={{.Id}} {{range .RepoTags}}{{.}},{{end}};{{range .RootFS.Layers}}{{.}} {{end}}";
    let inspect = edge_docker(&["inspect", "--type=image", format]);
    let line = format!("i=$({ids}) || exit; [ -z \"$i\" ] || {inspect} $i");
    let text = device.run_line(&line).await?;
    Ok(There::parse(&text))
}

impl There {
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

    /// Is `local` there under the name `image`?
    pub(crate) fn has(&self, image: &str, local: &Local) -> bool {
        let same = |i: &Image| i.id == local.id && i.names.iter().any(|n| n == image);
        self.0.iter().any(same)
    }

    /// How many of `layers`, from the lowest, the device has: an engine keeps a
    /// layer together with those below it.
    fn common(&self, layers: &[String]) -> usize {
        let common = |image: &Image| {
            let pairs = image.layers.iter().zip(layers);
            pairs.take_while(|(a, b)| a == b).count()
        };
        self.0.iter().map(common).max().unwrap_or(0)
    }
}

/// A line for the device's shell that removes the images without a name that the
/// device had of our apps, other than `new`; those that containers use stay.
pub(crate) fn tidy(new: &str, there: &There) -> String {
    let ours = |i: &&Image| i.id != new && i.names.iter().any(|n| n.starts_with("sandbox/"));
    let old: Vec<_> = there.0.iter().filter(ours).map(|i| i.id.as_str()).collect();
    let dangling = ["images", "--quiet", "--no-trunc", "--filter=dangling=true"];
    let (dangling, rmi) = (edge_docker(&dangling), edge_docker(&["rmi"]));
    format!(
        "for i in $({dangling}); do case {} in *\"$i\"*) {rmi} \"$i\";; esac; done >/dev/null 2>&1",
        quote([old.join(" ")].iter())
    )
}

/// Sends `image` under its name: what is missing, or the whole of it when the
/// engine misses a layer after all.
///
/// # Errors
/// Unreachable, refused, or docker's here or there.
pub(crate) async fn send(
    device: &Device,
    app: &str,
    image: &str,
    local: &Local,
    there: &There,
) -> Result<()> {
    let skip = there.common(&local.layers);
    match stream(device, app, image, local, skip).await {
        Err(error) if skip > 0 && [1, REFUSED].contains(&exit::code_of(&error)) => {
            log::warn(format_args!("{error:#}; sending the whole image"));
            stream(device, app, image, local, 0).await
        }
        result => result,
    }
}

async fn stream(device: &Device, app: &str, image: &str, local: &Local, skip: usize) -> Result<()> {
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
    let (mut save, from) = docker::save_from(image)?;
    let what = format!(
        "sending {} of {} layers",
        local.layers.len() - skip,
        local.layers.len()
    );
    let work = Work {
        from,
        to,
        progress: Progress::packed(what, local.size),
        layers: local.layers.clone(),
        skip,
        app: app.into(),
    };
    let sending = tokio::task::spawn_blocking(move || work.run());
    let (mut said, mut words) = (String::new(), String::new());
    let mut errors = (
        load.stderr.take().context("standard error")?,
        save.stderr.take().context("standard error")?,
    );
    let (sent, _, _) = tokio::join!(
        sending,
        errors.0.read_to_string(&mut said),
        errors.1.read_to_string(&mut words)
    );
    let sent = sent.map_err(|_| anyhow!("a thread ended"))?;
    let (loaded, saved) = (load.wait().await?, save.wait().await?);
    // An end that failed is the cause of a broken pipe in between.
    if !loaded.success() && (sent.is_err() || saved.success()) {
        device.judge(loaded, said.trim())?;
    }
    docker::check(image, saved.success(), words.as_bytes())?;
    sent
}

struct Work {
    from: OwnedFd,
    to: OwnedFd,
    progress: Progress,
    layers: Vec<String>,
    skip: usize,
    app: String,
}

impl Work {
    fn run(self) -> Result<()> {
        let mut sink = Counted {
            to: File::from(self.to),
            progress: &self.progress,
        };
        let from = Watched {
            from: File::from(self.from),
            progress: &self.progress,
        };
        let mut names = Names::of(&self.app);
        pack(Codec::Zstd, &mut sink, |to| {
            layer_filter::copy(from, to, &self.layers, self.skip, &mut names)
        })?;
        self.progress.done();
        Ok(())
    }
}

/// What is read, for the bar.
struct Watched<'a> {
    from: File,
    progress: &'a Progress,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.progress.read(length as u64);
        Ok(length)
    }
}

/// What is sent, in bytes.
struct Counted<'a> {
    to: File,
    progress: &'a Progress,
}

impl Write for Counted<'_> {
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
    fn what_a_device_has() {
        let there = There::parse(
            "sha256:1 sandbox/a:latest,sandbox/a:v1;base x\nsha256:2 ;base lib y\nwarning\n",
        );
        assert_eq!(there.common(&layers("base lib z")), 2);
        assert_eq!(there.common(&layers("base x")), 2);
        // A layer counts only with those below it.
        assert_eq!(there.common(&layers("lib y")), 0);
        let local = Local {
            id: "sha256:1".into(),
            size: 0,
            layers: Vec::new(),
        };
        assert!(there.has("sandbox/a:latest", &local) && there.has("sandbox/a:v1", &local));
        assert!(!there.has("sandbox/b:latest", &local));
    }
}
