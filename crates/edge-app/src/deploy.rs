//! What is done with an app on a device, all of it through `edge-docker`.

use std::io::IsTerminal;

use anyhow::Result;
use edge_common::log;

use crate::app::{App, check_name};
use crate::config::{Project, registry_error};
use crate::ssh::Device;

/// Runs a pushed version on a device: the verified pull comes first, and the
/// registry's login goes again whatever happens.
///
/// # Errors
/// As the exit codes say.
pub async fn deploy(project: &Project, app: &App, version: &str, device: &str) -> Result<()> {
    let device = Device::new(project, device)?;
    let registry = project.registry().await?;
    let image = project.image(&app.name, version).await?;
    let digest = registry
        .resolve(&image)
        .await
        .map_err(registry_error)?
        .digest;
    let image = format!("{}@{digest}", image.repository);
    let credentials = project.credentials(registry.repository()).await?;
    let host = registry.repository().host();
    let pulled = match credentials {
        Some(login) => {
            let words = [
                "login",
                "--username",
                &login.username,
                "--password-stdin",
                host,
            ];
            device.run(&words, Some(&login.password), false).await?;
            let pulled = device.run(&["pull", &image], None, true).await;
            device.run(&["logout", host], None, false).await?;
            pulled
        }
        None => device.run(&["pull", &image], None, true).await,
    };
    pulled?;
    start(&device, app, &image, &format!("/data/apps/{}", app.name)).await?;
    println!("{} {version} runs: {image}", app.name);
    Ok(())
}

/// Puts a new container in the place of the old one.
///
/// # Errors
/// As the exit codes say.
pub async fn start(device: &Device, app: &App, image: &str, data: &str) -> Result<()> {
    let name = &app.name;
    if exists(device, name).await? {
        log::info(format_args!("stopping the {name} that runs"));
        device.run(&["stop", name], None, false).await?;
        device.run(&["rm", name], None, false).await?;
    }
    let words = app.run_words(image, data);
    let words: Vec<_> = std::iter::once("run")
        .chain(words.iter().map(String::as_str))
        .collect();
    device.run(&words, None, false).await.map(|_| ())
}

async fn exists(device: &Device, name: &str) -> Result<bool> {
    let words = [
        "ps",
        "--all",
        "--filter",
        &format!("name=^{name}$"),
        "--quiet",
    ];
    Ok(!device.run(&words, None, false).await?.trim().is_empty())
}

/// Shows what an app printed.
///
/// # Errors
/// As the exit codes say.
pub async fn logs(
    project: &Project,
    name: &str,
    device: &str,
    follow: bool,
    tail: Option<u32>,
) -> Result<()> {
    check_name(name)?;
    let device = Device::new(project, device)?;
    let mut words = vec!["logs".to_string()];
    if follow {
        words.push("--follow".into());
    }
    words.extend(tail.map(|n| format!("--tail={n}")));
    words.push(name.into());
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    // With a terminal of its own the remote end goes when we go.
    let terminal = follow && std::io::stdout().is_terminal();
    let mut command = device.edge_docker(&words, terminal).await?;
    let status = command.status().await?;
    device.judge(status, "see its words above")
}

/// Stops an app.
///
/// # Errors
/// As the exit codes say.
pub async fn stop(project: &Project, name: &str, device: &str) -> Result<()> {
    check_name(name)?;
    let device = Device::new(project, device)?;
    device.run(&["stop", name], None, false).await.map(|_| ())
}

/// Removes an app's container; nothing to do is no error.
///
/// # Errors
/// As the exit codes say.
pub async fn remove(project: &Project, name: &str, device: &str) -> Result<()> {
    check_name(name)?;
    let device = Device::new(project, device)?;
    if !exists(&device, name).await? {
        log::info(format_args!("there is no container {name}"));
        return Ok(());
    }
    device.run(&["stop", name], None, false).await?;
    device.run(&["rm", name], None, false).await.map(|_| ())
}
