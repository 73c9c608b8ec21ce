//! `logs`, `start`, `restart`, `stop` and `remove`: commands for the containers of an app
//! on devices.

use std::io::IsTerminal;

use anyhow::Result;
use edge_common::contract::suffix;
use edge_common::log;
use serde_json::Value;

use crate::cli::args::AppOnDevices;
use crate::device::rollout::{self, Done};
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
    if print_kept_log(&device, name).await? {
        return Ok(());
    }
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

/// Action on the container of an app.
#[derive(Clone, Copy)]
pub(super) enum Action {
    /// Start of a container that is stopped.
    Start,
    /// Stop and start.
    Restart,
    /// Stop with the app's own signal.
    Stop,
    /// Removal, also of the old container that is kept for `rollback`.
    Remove,
}

/// Carries out an action on one or several devices.
pub(super) async fn act(project: &Project, apps: &AppOnDevices, action: Action) -> Result<()> {
    check_name(&apps.app)?;
    let names = apps.targets.names(project)?;
    for name in &names {
        Device::new(project, name)?;
    }
    let several = names.len() > 1;
    let work = |name: String| async move {
        let result = act_on(project, &apps.app, &name, action).await;
        rollout::log_result(several, &name, &result);
        result
    };
    rollout::report(rollout::run(&names, &apps.limits, work).await)
}

async fn act_on(project: &Project, app: &str, name: &str, action: Action) -> Result<Done> {
    let device = Device::new(project, name)?;
    let (command, step, done) = match action {
        Action::Start => ("start", "starting", "started"),
        Action::Restart => ("restart", "restarting", "restarted"),
        Action::Stop => ("stop", "stopping", "stopped"),
        Action::Remove => return remove(&device, app).await,
    };
    log::info(format_args!("{name}: {step} {app}"));
    device.run(&[command, app]).await?;
    Ok(Done::changed(format!("{app} {done}")))
}

/// Removes the container of an app and the old container that is kept for `rollback`.
/// Absent containers are not an error, so that a script may repeat the command.
async fn remove(device: &Device, app: &str) -> Result<Done> {
    let mut is_found = false;
    if exists(device, app).await? {
        is_found = true;
        log::info(format_args!("{}: stopping {app}", device.name()));
        // `stop` comes first, since `rm --force` sends SIGKILL, and an app may have to
        // write its data before it ends.
        device.run(&["stop", app]).await?;
        device.run(&["rm", app]).await?;
    }
    let previous = format!("{app}{}", suffix::PREVIOUS);
    if exists(device, &previous).await? {
        is_found = true;
        device.run(&["rm", &previous]).await?;
    }
    Ok(match is_found {
        true => Done::changed(format!("{app} removed; its data are kept")),
        false => Done::unchanged(format!("there is no container {app}")),
    })
}

/// Prints the log that a device keeps of a deployment that failed, if the app has no
/// container. Returns false without one.
async fn print_kept_log(device: &Device, app: &str) -> Result<bool> {
    if exists(device, app).await? {
        return Ok(false);
    }
    let status = device.run(&["replace", "--status", app]).await?;
    let journal: Value = serde_json::from_str(&status).unwrap_or_default();
    let text = |key: &str| journal[key].as_str().unwrap_or_default();
    let (kept, reason) = (text("log"), text("reason"));
    if kept.is_empty() && reason.is_empty() {
        return Ok(false);
    }
    log::warn(format_args!(
        "{app} does not run on {}; its last deployment: {reason}; its last lines:",
        device.name()
    ));
    for line in kept.lines() {
        println!("{}", log::printable(line));
    }
    Ok(true)
}

async fn exists(device: &Device, name: &str) -> Result<bool> {
    // The name is anchored with `^` and `$`: docker's filter also matches parts of a
    // name, so `hello` would find `hello-previous` as well.
    let filter = format!("name=^{name}$");
    let list = ["ps", "--all", "--filter", &filter, "--quiet"];
    Ok(!device.run(&list).await?.trim().is_empty())
}
