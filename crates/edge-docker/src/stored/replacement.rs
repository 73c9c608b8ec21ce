//! Description of the container that takes the place of one that differs from its signed
//! specification.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use edge_common::Root;
use edge_common::contract::suffix;
use edge_docker_policy::cli::users;
use edge_docker_policy::mounts::CloneRecord;
use edge_docker_policy::stored::container::{Stored, is_hex};
use serde_json::Value;

use super::damage;
use super::expected::Expected;
use super::remake::Remake;
use crate::break_glass::AppState;
use crate::journal;
use crate::mounts::clones;
use crate::signed_app::SignedApp;

/// Describes the container that takes the place of one that differs, and clones its
/// mounts.
pub(super) fn describe(
    root: &Root,
    container: &Stored,
    app: &SignedApp,
    image: &Value,
) -> Result<Remake> {
    let name = match journal::base(container.name()) == app.spec.app {
        true => container.name(),
        false => &app.spec.app,
    };
    let user = image["config"]["User"].as_str().unwrap_or_default();
    let (body, key) = body(root, app, user)?;
    let policy = &body["HostConfig"]["RestartPolicy"]["Name"];
    let is_held_back = container.host["RestartPolicy"]["Name"] == "no" && *policy != "no";
    let volumes = volumes(container, &image["config"]);
    let was_stopped = damage::was_stopped(root, &container.id);
    let is_started =
        !is_held_back && (was_stopped || starts(container, policy.as_str().unwrap_or_default()));
    Ok(Remake {
        id: container.id.clone(),
        app: app.spec.app.clone(),
        name: name.into(),
        key,
        reference: app.reference.clone(),
        is_started,
        is_held_back,
        volumes,
        body,
    })
}

/// Describes the container of `app` that returns to the state `state` at the end of a
/// ticket, and clones its mounts.
pub(crate) fn of_app(root: &Root, app: &SignedApp, state: &AppState) -> Result<Remake> {
    let (body, key) = body(root, app, &app.image.user)?;
    Ok(Remake {
        id: state.id.clone(),
        app: app.spec.app.clone(),
        name: state.name.clone(),
        key,
        reference: app.reference.clone(),
        is_started: state.running,
        // The engine starts no previous version.
        is_held_back: state.name.ends_with(suffix::PREVIOUS),
        volumes: state.volumes.clone(),
        body,
    })
}

/// Returns the create body of an app with new mount clones, and their key, which is empty
/// if there are none. `user` is that of the image.
fn body(root: &Root, app: &SignedApp, user: &str) -> Result<(Value, String)> {
    let key = clones::new_key()?;
    let (body, below) = Expected::body(root, app, &key)?;
    if below.is_empty() {
        return Ok((body, String::new()));
    }
    let requested = body["User"].as_str().filter(|user| !user.is_empty());
    let owner = users::owner(requested.unwrap_or(user));
    let directory = app.image.identity.directory();
    let record = CloneRecord { directory, below };
    clones::create(root, &key, &record, owner, true).context("its mounts")?;
    Ok((body, key))
}

/// Returns whether the engine would start a stored container by itself, with the restart
/// policy `policy`.
fn starts(container: &Stored, policy: &str) -> bool {
    let state = &container.config["State"];
    let is_running = state["Running"] == true || state["Restarting"] == true;
    let has_run = is_running || container.config["HasBeenStartedBefore"] == true;
    let was_stopped = container.config["HasBeenManuallyStopped"] == true;
    match policy {
        "always" | "unless-stopped" => has_run && (is_running || !was_stopped),
        "on-failure" => is_running || has_run && !was_stopped && state["ExitCode"] != 0,
        _ => false,
    }
}

/// Returns the unnamed volumes of a container at the paths where its image declares
/// volumes.
fn volumes(container: &Stored, image: &Value) -> BTreeMap<String, String> {
    let points = container.config["MountPoints"].as_object();
    let points = points.into_iter().flatten().filter_map(|(target, point)| {
        let name = point["Name"].as_str().filter(|name| is_hex(name))?;
        let is_declared = !image["Volumes"][target].is_null();
        (is_declared && point["Type"] == "volume").then(|| (target.clone(), name.to_string()))
    });
    points.collect()
}
