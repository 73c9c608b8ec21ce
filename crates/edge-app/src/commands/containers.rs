//! `logs`, `stop` and `remove`: an app's container on a device.

use std::io::IsTerminal;

use anyhow::Result;
use edge_common::contract::suffix;
use edge_common::log;

use crate::device::ssh::Device;
use crate::project::app::check_name;
use crate::project::config::Project;

async fn exists(device: &Device, name: &str) -> Result<bool> {
    let words = [
        "ps",
        "--all",
        "--filter",
        &format!("name=^{name}$"),
        "--quiet",
    ];
    Ok(!device.run(&words).await?.trim().is_empty())
}

/// Shows what an app printed.
///
/// # Errors
/// As the exit codes say.
pub(crate) async fn logs(
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
pub(crate) async fn stop(project: &Project, name: &str, device: &str) -> Result<()> {
    check_name(name)?;
    let device = Device::new(project, device)?;
    device.run(&["stop", name]).await.map(|_| ())
}

/// Removes an app's container and the one before it; nothing to do is no error.
///
/// # Errors
/// As the exit codes say.
pub(crate) async fn remove(project: &Project, name: &str, device: &str) -> Result<()> {
    check_name(name)?;
    let device = Device::new(project, device)?;
    if exists(&device, name).await? {
        device.run(&["stop", name]).await?;
        device.run(&["rm", name]).await?;
    } else {
        log::info(format_args!("there is no container {name}"));
    }
    let previous = format!("{name}{}", suffix::PREVIOUS);
    if exists(&device, &previous).await? {
        device.run(&["rm", &previous]).await?;
    }
    Ok(())
}
