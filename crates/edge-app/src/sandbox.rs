//! `sandbox`: the working copy, unsigned, on a device that allows it.

use std::process::Stdio;

use anyhow::{Context, Result};
use edge_common::log;

use crate::app::App;
use crate::config::Project;
use crate::ssh::Device;
use crate::{deploy, docker};

/// Builds the app, sends the image over ssh and runs it.
///
/// # Errors
/// As the exit codes say.
pub async fn run(project: &Project, app: &App, device: &str) -> Result<()> {
    let device = Device::new(project, device)?;
    let image = format!("sandbox/{}:latest", app.name);
    docker::build(app, &image, &project.config.platform).await?;
    log::info(format_args!("sending {image}"));
    let mut load = device.edge_docker(&["load"], false).await?;
    load.stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut load = load.spawn().context("starting ssh")?;
    let pipe: Stdio = load.stdin.take().context("standard input")?.try_into()?;
    let save = docker::save_to(&image, pipe)?;
    let (saved, loaded) = tokio::try_join!(save.wait_with_output(), load.wait_with_output())?;
    device.judge(loaded.status, &String::from_utf8_lossy(&loaded.stderr))?;
    docker::check(&image, saved.status.success(), &saved.stderr)?;
    let data = format!("/data/sandbox/{}", app.name);
    deploy::start(&device, app, &image, &data).await?;
    println!("{} runs: {image}", app.name);
    Ok(())
}
