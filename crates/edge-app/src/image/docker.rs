//! Calls of the laptop's docker client. It is used instead of the engine's API because
//! only the client knows the contexts, remote engines and builders that the user has
//! configured.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use edge_common::Root;
use edge_common::exit::Failure;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::exit_code::CONFIGURATION;
use crate::image::config_labels;
use crate::image::platform::{self, Stated};
use crate::project::app::App;
use crate::project::config::Platform;

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
    let status = match buildx {
        true => command.status().await,
        false => without_advice(command).await,
    };
    let status = status.context("starting docker")?;
    if !status.success() {
        bail!("docker did not build {}: see its output above", app.name);
    }
    platform::require(image, &stated_platform(image).await?, platform)
}

/// Runs `docker build` and forwards its messages, except for the paragraph that advises
/// against the builder which edge-app selected.
async fn without_advice(mut command: Command) -> std::io::Result<ExitStatus> {
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    if let Some(messages) = child.stderr.take() {
        let mut messages = BufReader::new(messages);
        let (mut line, mut advice) = (Vec::new(), false);
        while messages.read_until(b'\n', &mut line).await? > 0 {
            advice |= line.starts_with(b"DEPRECATED: The legacy builder");
            if !advice {
                std::io::stderr().write_all(&line)?;
            }
            advice &= !line.trim_ascii().is_empty();
            line.clear();
        }
    }
    child.wait().await
}

/// Runs `docker image inspect` and returns the image's platform.
async fn stated_platform(image: &str) -> Result<Stated> {
    Ok(Stated::of(&inspected(image).await?))
}

async fn inspected(image: &str) -> Result<Value> {
    let mut command = docker()?;
    command.args(["image", "inspect", "--format={{json .}}", "--", image]);
    let output = command.output().await.context("starting docker")?;
    check(image, output.status.success(), &output.stderr)?;
    serde_json::from_slice(&output.stdout).context("reading the output of docker image inspect")
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

/// Compares the labels and the platform of an image with what may be pushed, before the
/// image is sent. The configuration that arrives is checked again.
pub(super) async fn check_before_push(image: &str, platform: &Platform) -> Result<()> {
    let found = inspected(image).await?;
    let config = serde_json::json!({ "config": found["Config"] });
    config_labels::require_none(config.to_string().as_bytes())?;
    platform::require(image, &Stated::of(&found), platform)
}

/// Tag for a push, which is removed when this value is dropped.
pub(crate) struct Tag(String);

impl Drop for Tag {
    fn drop(&mut self) {
        let Ok(path) = which::which("docker") else {
            return;
        };
        let mut command = Root::system().command(path);
        command.args(["image", "rm", "--no-prune", "--", &self.0]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        // An error is ignored: a tag that stays is only a name.
        let _ = command.stderr(Stdio::null()).status();
    }
}

/// Gives an image the name `name` until the result is dropped.
pub(crate) async fn tag(image: &str, name: &str) -> Result<Tag> {
    let mut command = docker()?;
    command.args(["image", "tag", "--", image, name]);
    let tag = Tag(name.into());
    let output = command.output().await.context("starting docker")?;
    check(image, output.status.success(), &output.stderr)?;
    Ok(tag)
}

/// Runs `docker push`; the inner error is docker's message.
pub(crate) async fn push(name: &str) -> Result<Result<(), String>> {
    let mut command = docker()?;
    command.args(["push", "--", name]).stdout(Stdio::null());
    // The endpoint has no signatures for docker's own scheme.
    command.env("DOCKER_CONTENT_TRUST", "0");
    let output = command.output().await.context("starting docker")?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Ok(Err(message
        .trim()
        .lines()
        .last()
        .unwrap_or_default()
        .into()))
}

/// Returns the address of an engine on another computer; `None` for one on this computer,
/// also in a virtual machine of it.
pub(crate) async fn remote_host() -> Option<String> {
    let mut command = docker().ok()?;
    let format = "--format={{.Endpoints.docker.Host}}";
    command.args(["context", "inspect", format]);
    let output = command.output().await.ok()?;
    let host = String::from_utf8_lossy(&output.stdout).trim().to_string();
    let local = ["unix://", "npipe://", "fd://"];
    let remote = output.status.success() && !local.iter().any(|l| host.starts_with(l));
    (remote && !host.is_empty()).then_some(host)
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
