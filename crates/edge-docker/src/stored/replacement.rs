//! Description of the container that takes the place of one that differs from its signed
//! specification.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use edge_common::Root;
use edge_docker_policy::cli::users;
use edge_docker_policy::mounts::CloneRecord;
use edge_docker_policy::stored::container::{Stored, is_hex};
use serde_json::Value;

use super::expected::Expected;
use super::remake::Remake;
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
    let key = clones::new_key()?;
    let (body, below) = Expected::body(root, app, &key)?;
    let has_clones = !below.is_empty();
    if has_clones {
        let user = body["User"].as_str().filter(|user| !user.is_empty());
        let user = user
            .or(image["config"]["User"].as_str())
            .unwrap_or_default();
        let directory = app.image.identity.directory();
        let record = CloneRecord { directory, below };
        clones::create(root, &key, &record, users::owner(user), true).context("its mounts")?;
    }
    let policy = &body["HostConfig"]["RestartPolicy"]["Name"];
    let is_held_back = container.host["RestartPolicy"]["Name"] == "no" && *policy != "no";
    let volumes = volumes(container, &image["config"]);
    let is_started = !is_held_back && starts(container, policy.as_str().unwrap_or_default());
    Ok(Remake {
        id: container.id.clone(),
        app: app.spec.app.clone(),
        name: name.into(),
        key: if has_clones { key } else { String::new() },
        reference: app.reference.clone(),
        is_started,
        is_held_back,
        volumes,
        body,
    })
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
