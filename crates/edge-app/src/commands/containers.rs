//! `logs`, `stop` and `remove`: commands for the containers of an app on a device.

use std::io::IsTerminal;

use anyhow::Result;
use edge_common::contract::suffix;
use edge_common::log;

use crate::device::ssh::Device;
use crate::project::app::check_name;
use crate::project::config::Project;

/// Prints the container log of an app on a device: only the last `tail` lines if that is
/// given, and with `follow` also new lines as they arrive.
pub(crate) async fn logs(
    project: &Project,
    name: &str,
    device: &str,
    follow: bool,
    tail: Option<u32>,
) -> Result<()> {
    check_name(name)?;
    let device = Device::new(project, device)?;
    let mut arguments = vec!["logs".to_string()];
    if follow {
        arguments.push("--follow".into());
    }
    arguments.extend(tail.map(|n| format!("--tail={n}")));
    arguments.push(name.into());
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    // `logs --follow` runs as long as the container. With a terminal of its own, the
    // remote process receives SIGHUP when ssh disconnects; without a terminal it would
    // stay on the device.
    let terminal = follow && std::io::stdout().is_terminal();
    let mut command = device.edge_docker(&arguments, terminal).await?;
    let status = command.status().await?;
    device.check(status, "see its output above")
}

/// Stops the container of an app on a device with `edge-docker stop`.
pub(crate) async fn stop(project: &Project, name: &str, device: &str) -> Result<()> {
    check_name(name)?;
    let device = Device::new(project, device)?;
    device.run(&["stop", name]).await.map(|_| ())
}

/// Removes the container of an app and the old container that is kept for `rollback`.
/// Absent containers are not an error, so that a script may repeat the command.
pub(crate) async fn remove(project: &Project, name: &str, device: &str) -> Result<()> {
    check_name(name)?;
    let device = Device::new(project, device)?;
    if exists(&device, name).await? {
        // `stop` comes first, since `rm --force` sends SIGKILL, and an app may have to
        // write its data before it ends.
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

async fn exists(device: &Device, name: &str) -> Result<bool> {
    // The name is anchored with `^` and `$`: docker's filter also matches parts of a
    // name, so `hello` would find `hello-previous` as well.
    let filter = format!("name=^{name}$");
    let list = ["ps", "--all", "--filter", &filter, "--quiet"];
    Ok(!device.run(&list).await?.trim().is_empty())
}
