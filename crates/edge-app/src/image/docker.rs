//! Calls of the laptop's docker client. It is used instead of the engine's API because
//! only the client knows the contexts, remote engines and builders that the user has
//! configured.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use edge_common::Root;
use edge_common::exit::Failure;
use tokio::process::{Child, Command};

use crate::exit_code::CONFIGURATION;
use crate::image::platform::{self, Stated};
use crate::project::app::App;
use crate::project::config::Platform;
use crate::temporary;

fn docker() -> Result<Command> {
    let path = which::which("docker").map_err(|_| {
        let why = "docker is not installed: edge-app builds images with it; \
                   see docs.docker.com/engine/install";
        Failure::error(1, why)
    })?;
    let mut command = Command::from(Root::system().command(path));
    command.kill_on_drop(true).stdin(Stdio::null());
    Ok(command)
}

/// Builds the app's directory with docker and names the container image `image`. Docker's
/// output goes to standard error.
pub(crate) async fn build(app: &App, image: &str, platform: &Platform) -> Result<()> {
    if !app.directory.join("Dockerfile").is_file() {
        let why = format!("{} has no Dockerfile: write one to build the app", app.name);
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
        // Without --load, some builders leave the image in their own cache. Provenance
        // would add an index and a manifest with the build time, which changes the digest
        // of each build.
        command.args(["buildx", "build", "--load", "--provenance=false"]);
    } else {
        // Without the buildx plugin, `docker build` still tries BuildKit and fails,
        // unless DOCKER_BUILDKIT=0 selects the classic builder.
        command.arg("build").env("DOCKER_BUILDKIT", "0");
    }
    command.args(["--platform", &platform.0, "--tag", image, "--"]);
    command.arg(&app.directory).stdout(std::io::stderr());
    let status = command.status().await.context("starting docker")?;
    if !status.success() {
        bail!("docker did not build {}: see its output above", app.name);
    }
    platform::require(image, &stated_platform(image).await?, platform)
}

/// Runs `docker image inspect` and returns the image's platform.
async fn stated_platform(image: &str) -> Result<Stated> {
    let mut command = docker()?;
    command.args(["image", "inspect", "--format={{json .}}", "--", image]);
    let output = command.output().await.context("starting docker")?;
    check(image, output.status.success(), &output.stderr)?;
    let found = serde_json::from_slice(&output.stdout);
    Ok(Stated::of(
        &found.context("reading the output of docker image inspect")?,
    ))
}

/// Container image in the laptop's docker engine.
pub(crate) struct LocalImage {
    /// Image ID, for example `sha256:…`; depending on the engine's store the digest of
    /// the configuration or of the manifest.
    pub(crate) id: String,
    /// Size in bytes of the unpacked layers; some image stores report only an estimate.
    pub(crate) size: u64,
    /// Digests of the uncompressed layers (diff IDs), lowest first.
    pub(crate) layers: Vec<String>,
}

/// Runs `docker image inspect` and returns the image's ID, size and layers.
pub(crate) async fn inspect(image: &str) -> Result<LocalImage> {
    let mut command = docker()?;
    let format = "--format={{.Id}} {{.Size}}{{range .RootFS.Layers}} {{.}}{{end}}";
    command.args(["image", "inspect", format, "--", image]);
    let output = command.output().await.context("starting docker")?;
    check(image, output.status.success(), &output.stderr)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut fields = text.split_whitespace().map(String::from);
    Ok(LocalImage {
        id: fields
            .next()
            .context("docker image inspect returned no image ID")?,
        size: fields.next().and_then(|s| s.parse().ok()).unwrap_or(0),
        layers: fields.collect(),
    })
}

/// Runs `docker image inspect` and returns the image's user and declared volumes.
pub(crate) async fn properties(image: &str) -> Result<(String, Vec<String>)> {
    let mut command = docker()?;
    command.args(["image", "inspect", "--format={{json .Config}}", "--", image]);
    let output = command.output().await.context("starting docker")?;
    check(image, output.status.success(), &output.stderr)?;
    let config: Config = serde_json::from_slice(&output.stdout)?;
    let volumes = config.volumes.unwrap_or_default();
    Ok((config.user, volumes.into_keys().collect()))
}

/// Configuration of an image, as far as it is used here.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    user: String,
    volumes: Option<BTreeMap<String, serde::de::IgnoredAny>>,
}

/// Runs `docker image save` into an unnamed temporary file, which disappears even if
/// edge-app is killed.
pub(crate) async fn save(image: &str) -> Result<File> {
    let file = temporary::file(&format!("the layers of {image}"))?;
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

/// Starts `docker image save` and returns the process and the pipe to which it writes the
/// archive.
pub(crate) fn start_save(image: &str) -> Result<(Child, OwnedFd)> {
    let mut command = docker()?;
    command.args(["image", "save", "--", image]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("starting docker")?;
    let stdout = child.stdout.take().context("standard output")?;
    Ok((child, stdout.into_owned_fd()?))
}

/// Returns an error if `docker image save` or `inspect` failed; `output` is its standard
/// error.
pub(crate) fn check(image: &str, success: bool, output: &[u8]) -> Result<()> {
    if success {
        return Ok(());
    }
    let output = String::from_utf8_lossy(output);
    // docker exits with 1 for every error, so only the message, which differs between
    // versions, distinguishes a missing image from an engine that is down. The message is
    // used only to select the advice.
    if output.contains("No such image")
        || output.contains("no such image")
        || output.contains("reference does not exist")
    {
        bail!("there is no image {image} here: build it first with edge-app build");
    }
    bail!("docker image save {image}: {}", output.trim())
}
