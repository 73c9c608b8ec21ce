//! The laptop's docker, asked through its own client.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use edge_common::Root;
use edge_common::exit::Failure;
use tokio::process::{Child, Command};

use crate::exit_code::CONFIGURATION;
use crate::project::app::App;
use crate::project::config::Platform;

fn docker() -> Result<Command> {
    let path = which::which("docker").map_err(|_| {
        Failure::error(1, "docker is not installed: edge-app builds images with it; see docs.docker.com/engine/install")
    })?;
    let mut command = Command::from(Root::system().command(path));
    command.kill_on_drop(true).stdin(Stdio::null());
    Ok(command)
}

/// Builds the app as `image`. Docker's words go to standard error.
///
/// # Errors
/// docker failing.
pub(crate) async fn build(app: &App, image: &str, platform: &Platform) -> Result<()> {
    if !app.directory.join("Dockerfile").is_file() {
        let why = format!("{} has no Dockerfile: an app is built from one", app.name);
        return Err(Failure::error(CONFIGURATION, why));
    }
    let mut probe = docker()?;
    probe
        .args(["buildx", "version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let buildx = probe.status().await.context("starting docker")?.success();
    let mut command = docker()?;
    if buildx {
        command.args(["buildx", "build", "--load", "--provenance=false"]);
    } else {
        command.arg("build").env("DOCKER_BUILDKIT", "0");
    }
    command.args(["--platform", &platform.0, "--tag", image, "--"]);
    command.arg(&app.directory).stdout(std::io::stderr());
    let status = command.status().await.context("starting docker")?;
    if !status.success() {
        bail!("docker did not build {}: see its words above", app.name);
    }
    Ok(())
}

/// An image of the laptop's engine.
pub(crate) struct Local {
    /// Its Id.
    pub(crate) id: String,
    /// Bytes of its layers, unpacked; about that, for some stores.
    pub(crate) size: u64,
    /// Digests of its layers, unpacked, lowest first.
    pub(crate) layers: Vec<String>,
}

/// `docker image inspect`.
///
/// # Errors
/// No such image, or docker's words.
pub(crate) async fn inspect(image: &str) -> Result<Local> {
    let mut command = docker()?;
    let format = "--format={{.Id}} {{.Size}}{{range .RootFS.Layers}} {{.}}{{end}}";
    command.args(["image", "inspect", format, "--", image]);
    let output = command.output().await.context("starting docker")?;
    check(image, output.status.success(), &output.stderr)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace().map(String::from);
    Ok(Local {
        id: words.next().context("docker told no Id")?,
        size: words.next().and_then(|w| w.parse().ok()).unwrap_or(0),
        layers: words.collect(),
    })
}

/// `docker image save`, into a file without a name.
///
/// # Errors
/// No such image, or docker's words.
pub(crate) async fn save(image: &str) -> Result<File> {
    let file = tempfile::tempfile().context("making a temporary file")?;
    let mut command = docker()?;
    command.args(["image", "save", "--", image]);
    command.stdout(file.try_clone()?).stderr(Stdio::piped());
    let output = command
        .spawn()
        .context("starting docker")?
        .wait_with_output()
        .await?;
    check(image, output.status.success(), &output.stderr)?;
    Ok(file)
}

/// `docker image save`, and what it writes.
///
/// # Errors
/// docker cannot be started.
pub(crate) fn save_from(image: &str) -> Result<(Child, OwnedFd)> {
    let mut command = docker()?;
    command.args(["image", "save", "--", image]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("starting docker")?;
    let stdout = child.stdout.take().context("standard output")?;
    Ok((child, stdout.into_owned_fd()?))
}

/// What a failed `save` means.
///
/// # Errors
/// It failed.
pub(crate) fn check(image: &str, success: bool, words: &[u8]) -> Result<()> {
    if success {
        return Ok(());
    }
    let words = String::from_utf8_lossy(words);
    if words.contains("No such image")
        || words.contains("no such image")
        || words.contains("reference does not exist")
    {
        bail!("there is no image {image} here: build it first with edge-app build");
    }
    bail!("docker image save {image}: {}", words.trim())
}
