//! systemd units of apps in `/data/services`: written when a version of an app with `unit`
//! in its run specification is in service, removed with its container.

use anyhow::{Context, Result};
use edge_common::command::CommandExt as _;
use edge_common::contract::label;
use edge_common::contract::path::SERVICES;
use edge_common::{Root, file, log};
use edge_docker_policy::run_spec::UnitFiles;
use edge_signature::valid_app;
use hyper::Method;

use crate::engine::{client, containers};
use crate::image::identify;

/// First line of each unit, by which edge-docker knows its own ones.
const HEAD: &str = "# Written by edge-docker from the signed run specification of the app.\n";
/// Size limit of an existing unit; a larger one is not edge-docker's.
const MAX_UNIT_BYTES: u64 = 64 * 1024;

/// Writes or removes the units of the app `app`, as its container in service demands. An
/// error is only logged: the container runs, or is gone.
pub(crate) async fn update(root: &Root, app: &str) {
    if !valid_app(app) {
        return;
    }
    if let Err(error) = try_update(root, app).await {
        log::warn(format_args!("units of {app}: {error:#}"));
    }
}

async fn try_update(root: &Root, app: &str) -> Result<()> {
    let wanted = wanted(root, app).await?;
    let (service, timer) = match wanted {
        Some(files) => (Some(files.service), files.timer),
        None => (None, None),
    };
    let timed = timer.is_some();
    let name = format!("{app}.timer");
    let services = root.path(SERVICES);
    if service.is_some() {
        file::create_directory(&services, 0o755)?;
    }
    let changed = [
        write(root, &format!("{app}.service"), service)?,
        write(root, &name, timer)?,
    ];
    if changed == [false, false] {
        return Ok(());
    }
    systemctl(root, &["daemon-reload"])?;
    // Without `start`, a timer would begin at the next boot only.
    match (timed, changed[1]) {
        (true, _) => systemctl(root, &["restart", &name]),
        (false, true) => systemctl(root, &["stop", &name]),
        (false, false) => Ok(()),
    }
}

/// Returns the units that the container of `app` demands.
async fn wanted(root: &Root, app: &str) -> Result<Option<UnitFiles>> {
    let Some(container) = containers::named(root, app).await? else {
        return Ok(None);
    };
    let path = format!("/containers/{}/json", container.id);
    let found = client::request(root, Method::GET, &path, None).await?;
    let unit = identify::container_spec(root, &found)?.and_then(|spec| spec.unit);
    let version = found["Config"]["Labels"][label::VERSION].as_str();
    let version = version.unwrap_or_default();
    unit.map(|unit| unit.files(app, version)).transpose()
}

/// Writes the unit `name`, or removes it without `text`. Returns whether the file changed.
fn write(root: &Root, name: &str, text: Option<String>) -> Result<bool> {
    let path = root.path(SERVICES).join(name);
    let exists = std::fs::symlink_metadata(&path).is_ok();
    let old = file::read_text(&path, MAX_UNIT_BYTES).unwrap_or_default();
    if exists && !old.starts_with(HEAD) {
        // The unit of a person is neither replaced nor removed.
        if text.is_some() {
            log::warn(format_args!(
                "{SERVICES}/{name} was not written by edge-docker: remove it, then the unit of \
                 the app takes its place"
            ));
        }
        return Ok(false);
    }
    match text {
        Some(text) => file::ensure(&path, format!("{HEAD}{text}").as_bytes(), 0o644),
        None if exists => file::remove(&path),
        None => Ok(false),
    }
}

fn systemctl(root: &Root, args: &[&str]) -> Result<()> {
    let mut command = root.command("/usr/bin/systemctl");
    command.args(args).run().context("reloading systemd")
}
