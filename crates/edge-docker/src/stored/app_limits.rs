//! Limits of the storage of apps, applied to their stored containers: before a container
//! starts, at the boot audit, and when the last container of an app was removed.
//!
//! A limit that cannot be applied is a warning and no reason to leave the app down.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_common::contract::{label, path, suffix};
use edge_common::{Root, log};
use edge_docker_policy::stored::container::is_hex;
use edge_signature::valid_app;
use hyper::Method;
use serde_json::Value;

use super::disk;
use super::layers::Layers;
use crate::engine::{client, containers};
use crate::image::{identify, signatures};
use crate::storage::{Demand, FileSystem, Storage, Unavailable, Until};
use crate::trust::{self, Trust};

/// Container that the boot audit leaves to the engine.
pub(super) struct Held {
    /// Container ID.
    pub(super) id: String,
    /// Name of the container.
    pub(super) name: String,
    /// Storage that its app demands.
    pub(super) demand: Demand,
    /// Names of the volumes of its image.
    pub(super) volumes: Vec<String>,
}

/// Limits the storage of the app of container `id`, which was created, as [`apply_to`] does.
pub(crate) async fn apply(root: &Root, id: &str) {
    // Every `run` calls this: the engine is asked only if there is something to limit.
    if FileSystem::open(root).is_err() {
        return;
    }
    match containers::inspect(root, id).await {
        Ok(container) => apply_to(root, id, &container),
        Err(error) => log::warn(format_args!("the storage of {id}: {error:#}")),
    }
}

/// Limits the storage of the app of container `id`, which is about to start, to what its
/// signature states. `container` is the engine's `inspect` response. An error is logged.
pub(crate) fn apply_to(root: &Root, id: &str, container: &Value) {
    if let Err(error) = try_apply(root, id, container) {
        log::warn(format_args!(
            "the storage of {id} is not limited: {error:#}"
        ));
    }
}

/// Limits the app of a container that has started, or failed to, to what its signature
/// states, without the room of the start. An error is logged.
pub(crate) fn end_start(root: &Root, container: &Value) {
    let labels = &container["Config"]["Labels"];
    let ended = || -> Result<()> {
        if FileSystem::open(root).is_err() {
            return Ok(());
        }
        let trust = trust::load(root)?;
        let Some(demand) = demand(root, &trust, labels)? else {
            return Ok(());
        };
        let storage = Storage::open(root, trust.storage)?;
        storage.map_or(Ok(()), |mut storage| {
            storage.limit(root, &demand, Until::NextStart).map(drop)
        })
    };
    if let Err(error) = ended() {
        log::warn(format_args!("the room of a start stays: {error:#}"));
    }
}

fn try_apply(root: &Root, id: &str, container: &Value) -> Result<()> {
    if FileSystem::open(root).is_err() {
        return Ok(());
    }
    let trust = trust::load(root)?;
    let Some(demand) = demand(root, &trust, &container["Config"]["Labels"])? else {
        return Ok(());
    };
    let Some(mut storage) = Storage::open(root, trust.storage)? else {
        return Ok(());
    };
    let project = storage.limit(root, &demand, Until::Start)?;
    let data_root = disk::data_root(root)?;
    cover(
        &storage,
        project,
        &data_root,
        id,
        &volumes(&container["Mounts"]),
    )
}

/// Returns the demand of the app that the labels of a container name.
fn demand(root: &Root, trust: &Trust, labels: &Value) -> Result<Option<Demand>> {
    let sandbox = labels[label::SANDBOX].as_str().unwrap_or_default();
    if valid_app(sandbox) {
        let directory = format!("{}/{sandbox}", path::SANDBOX);
        return Ok(Some(Demand {
            directory,
            bytes: 0,
        }));
    }
    let signed = signatures::of_container(root, trust, labels)?;
    Ok(signed.map(|(verified, _)| {
        let identity = identify::signed_identity(&verified);
        Demand::of(&identity, Some(&verified))
    }))
}

/// Returns the names of the anonymous volumes among the mounts of a container, in the form
/// of the engine's API or of its files.
pub(super) fn volumes(mounts: &Value) -> Vec<String> {
    let list = mounts.as_array().into_iter().flatten();
    let map = mounts.as_object().into_iter().flat_map(|m| m.values());
    let names = list.chain(map).filter_map(|mount| mount["Name"].as_str());
    let hex = names.filter(|name| is_hex(name));
    hex.map(String::from).collect()
}

/// Adds the top layer of container `id` and its volumes to a project.
fn cover(
    storage: &Storage,
    project: u32,
    data_root: &Path,
    id: &str,
    volumes: &[String],
) -> Result<()> {
    if let Some(own) = Layers::new(data_root).own(id) {
        storage.cover_layer(project, &own).context("its layer")?;
    }
    for name in volumes {
        let directory = data_root.join("volumes").join(name);
        storage.cover(project, &directory).context("its volume")?;
    }
    Ok(())
}

/// Limits the apps of the containers that the engine gets at its start. Also those of
/// earlier images of the device, which had no limits.
pub(super) fn apply_all(root: &Root, trust: &Trust, data_root: &Path, held: &[Held]) {
    if let Err(error) = try_apply_all(root, trust, data_root, held) {
        log::warn(format_args!(
            "the storage of apps is not limited: {error:#}"
        ));
    }
}

fn try_apply_all(root: &Root, trust: &Trust, data_root: &Path, held: &[Held]) -> Result<()> {
    match FileSystem::open(root) {
        Ok(_) => {}
        // The steps that mount it report that.
        Err(Unavailable::NotMounted) => return Ok(()),
        Err(reason) => {
            log::info(format_args!(
                "apps run without a limit of storage: {reason}"
            ));
            return Ok(());
        }
    }
    let Some(mut storage) = Storage::open(root, trust.storage)? else {
        return Ok(());
    };
    let mut projects = BTreeMap::new();
    for demand in demands(held) {
        match storage.limit(root, demand, Until::Start) {
            Ok(id) => drop(projects.insert(&demand.directory, id)),
            Err(error) => log::warn(format_args!("{error:#}")),
        }
    }
    for held in held {
        let Some(project) = projects.get(&held.demand.directory) else {
            continue;
        };
        if let Err(error) = cover(&storage, *project, data_root, &held.id, &held.volumes) {
            log::warn(format_args!("the storage of {}: {error:#}", held.name));
        }
    }
    storage.give_room();
    Ok(())
}

/// Returns the demand of each app: that of its container in service, and without one the
/// largest of the others.
fn demands(held: &[Held]) -> Vec<&Demand> {
    let mut chosen: BTreeMap<&str, (bool, &Demand)> = BTreeMap::new();
    for held in held {
        let is_spare = suffix::RESERVED.iter().any(|s| held.name.ends_with(s));
        let demand = &held.demand;
        // No demand is the default, which is at least as large as most others.
        let size = |bytes: u64| if bytes == 0 { u64::MAX } else { bytes };
        let rank = |(in_service, demand): (bool, &Demand)| (in_service, size(demand.bytes));
        let new = (!is_spare, demand);
        let entry = chosen.entry(&demand.directory).or_insert(new);
        if rank(new) > rank(*entry) {
            *entry = new;
        }
    }
    chosen.into_values().map(|(_, demand)| demand).collect()
}

/// Removes the limits of apps that have no container any more. An error is logged.
pub(crate) async fn release(root: &Root) {
    if let Err(error) = try_release(root).await {
        log::warn(format_args!("the limits of removed apps stay: {error:#}"));
    }
}

async fn try_release(root: &Root) -> Result<()> {
    if FileSystem::open(root).is_err() {
        return Ok(());
    }
    let trust = trust::load(root)?;
    // Held while the engine is asked: a container that is created meanwhile waits.
    let Some(mut storage) = Storage::open(root, trust.storage)? else {
        return Ok(());
    };
    let all = client::request(root, Method::GET, "/containers/json?all=1", None).await?;
    let all = all.as_array().context("the engine's list is no list")?;
    let used: Vec<_> = all.iter().map(|c| directory_of(&c["Labels"])).collect();
    for directory in storage.directories() {
        if !used.iter().flatten().any(|used| *used == directory) {
            storage.release(root, &directory)?;
        }
    }
    Ok(())
}

/// Returns the directory of the app that the labels of a container name.
fn directory_of(labels: &Value) -> Option<String> {
    let names = [(label::SANDBOX, path::SANDBOX), (label::APP, path::APPS)];
    names.into_iter().find_map(|(label, parent)| {
        let app = labels[label].as_str().filter(|app| valid_app(app))?;
        Some(format!("{parent}/{app}"))
    })
}

/// Takes the content of top layers that were emptied at this boot out of the projects of
/// their apps. An error is logged.
pub(crate) fn disown_emptied(root: &Root, data_root: &Path) {
    let emptied: PathBuf = data_root.join("emptied/last");
    if let Err(error) = crate::storage::disown(root, &emptied) {
        log::warn(format_args!("emptied layers count as storage: {error:#}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn held(name: &str, bytes: u64) -> Held {
        Held {
            id: String::new(),
            name: name.into(),
            demand: Demand {
                directory: "/data/apps/a".into(),
                bytes,
            },
            volumes: Vec::new(),
        }
    }

    #[test]
    fn the_container_in_service_decides() {
        let bytes = |held: &[Held]| demands(held).iter().map(|d| d.bytes).collect::<Vec<_>>();
        assert_eq!(bytes(&[held("a", 5), held("a-previous", 9)]), [5]);
        assert_eq!(bytes(&[held("a-previous", 9), held("a", 0)]), [0]);
        assert_eq!(bytes(&[held("a-previous", 0), held("a", 5)]), [5]);
        assert_eq!(bytes(&[held("a-next", 5), held("a-previous", 9)]), [9]);
        assert_eq!(bytes(&[held("a", 5), held("b", 9)]), [9]);
        assert_eq!(bytes(&[]), [0; 0]);
    }

    #[test]
    fn volumes_and_directories_are_those_of_the_container() {
        let hex = "a".repeat(64);
        let list = json!([{ "Name": hex }, { "Name": "../x" }, { "Type": "bind" }]);
        assert_eq!(volumes(&list), ["a".repeat(64)]);
        assert_eq!(volumes(&json!({ "/v": { "Name": hex }, "/w": {} })), [hex]);
        assert!(volumes(&Value::Null).is_empty());
        let directory = |app: &str, sandbox: &str| {
            directory_of(&json!({ label::APP: app, label::SANDBOX: sandbox }))
        };
        assert_eq!(directory("a", ""), Some("/data/apps/a".into()));
        assert_eq!(directory("", "a"), Some("/data/sandbox/a".into()));
        assert_eq!(directory("../a", ""), None);
        assert_eq!(directory_of(&Value::Null), None);
    }
}
