//! Create requests that edge-docker sent, stored for the comparison with the engine's
//! files. They are on `/data` and prove nothing, so the boot audit checks them against
//! the policy again.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use edge_common::contract::label;
use edge_common::{Root, file};
use serde_json::{Map, Value};

use edge_docker_policy::bounds::MAX_CONTAINERS;
use edge_docker_policy::refusal::refuse;
use edge_docker_policy::strict_json;

use super::disk;

/// Version of the format. A record of an earlier version of edge-docker states none.
const VERSION: u64 = 1;
const DIRECTORY: &str = "/data/config/edge-docker/containers";
/// Size limit of a stored create request, in bytes.
const MAX_REQUEST_BYTES: u64 = 4 * 1024 * 1024;
/// Number of stored create requests from which on those without a container are removed.
const TIDY_THRESHOLD: usize = 100;

/// Stores the create request of the container `id`, before the container is started. With
/// `durable` the file survives a power loss.
pub(crate) fn write(root: &Root, id: &str, body: &[u8], durable: bool) -> Result<()> {
    file::create_directory(&root.path(DIRECTORY), 0o700)?;
    tidy(root)?;
    let body = serde_json::from_slice(body).context("reading the create request")?;
    let record = Map::from_iter([("v".to_string(), VERSION.into())]);
    let record: Map<String, Value> = record.into_iter().chain::<Map<_, _>>(body).collect();
    let record = serde_json::to_vec(&record).context("writing the create request")?;
    let write_file = if durable { file::write } else { file::put };
    write_file(&path(root, id), &record, 0o600)
}

/// Returns the stored create request of the container `id`, or `None` if there is none:
/// edge-docker did not create the container.
pub(crate) fn find(root: &Root, id: &str) -> Result<Option<Value>> {
    let path = path(root, id);
    if fs::symlink_metadata(&path).is_err() {
        return Ok(None);
    }
    let body = file::read(&path, MAX_REQUEST_BYTES)?;
    let context = || format!("reading the record of {id}");
    let mut value = strict_json::parse(&body).with_context(context)?;
    let version = value.as_object_mut().and_then(|record| record.remove("v"));
    match version {
        None => {}
        Some(version) if version == VERSION => {}
        Some(version) if version.as_u64() > Some(VERSION) => {
            // Not damaged: a later device image can read it.
            let text = format!("its version {version} is that of a later device image");
            return Err(io::Error::new(io::ErrorKind::Unsupported, text)).with_context(context);
        }
        Some(_) => bail!("the record of {id} has no valid version"),
    }
    Ok(Some(value))
}

/// Refuses another container if the engine has as many as a device may have. Processes
/// that create containers at the same time may each add one.
pub(crate) fn require_room(root: &Root) -> Result<()> {
    let containers = disk::data_root(root)?.join("containers");
    let count = fs::read_dir(containers).map_or(0, Iterator::count);
    if count >= MAX_CONTAINERS {
        return Err(refuse(format_args!(
            "{count} containers exist, a device has at most {MAX_CONTAINERS}: remove some with \
             edge-docker rm, or all that are stopped with edge-docker system prune"
        )));
    }
    Ok(())
}

/// Removes the create requests of containers that the engine no longer has, if there are
/// many. They accumulate because a container with `--rm` is removed by the engine alone.
fn tidy(root: &Root) -> Result<()> {
    if fs::read_dir(root.path(DIRECTORY)).map_or(0, Iterator::count) < TIDY_THRESHOLD {
        return Ok(());
    }
    forget_absent(root)
}

/// Removes the create requests of containers that the engine has removed. A boot audit that
/// finds one reports its container as lost.
pub(crate) fn forget_absent(root: &Root) -> Result<()> {
    let data_root = disk::data_root(root)?;
    let places = ["containers", "withheld"].map(|name| data_root.join(name));
    // The engine stores a container before this record is written, so none is removed too
    // early.
    forget(root, |id| places.iter().any(|p| p.join(id).exists()))
}

/// Removes the create request of the container `id`, which no longer exists.
pub(crate) fn remove(root: &Root, id: &str) {
    // An error is ignored: the next audit removes what is left.
    let _ = fs::remove_file(path(root, id));
}

/// Returns the ID of each container that is not in `kept` but has a create request and
/// should run by itself, with the app: edge-docker removes a request with its container.
pub(super) fn lost(root: &Root, kept: &BTreeSet<String>) -> Result<Vec<(String, String)>> {
    let mut lost = Vec::new();
    for path in disk::entries(&root.path(DIRECTORY))? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if kept.contains(&*name) {
            continue;
        }
        let Ok(Some(request)) = find(root, &name) else {
            continue;
        };
        let policy = request["HostConfig"]["RestartPolicy"]["Name"].as_str();
        if matches!(policy, Some("always" | "unless-stopped")) {
            let labels = [label::APP, label::SANDBOX].map(|key| request["Labels"][key].as_str());
            let app = labels.into_iter().flatten().find(|app| !app.is_empty());
            lost.push((name.to_string(), app.unwrap_or_default().to_string()));
        }
    }
    Ok(lost)
}

/// Removes the create requests of all containers whose ID is not in `kept`.
pub(super) fn forget_others(root: &Root, kept: &BTreeSet<String>) -> Result<()> {
    forget(root, |id| kept.contains(id))
}

fn forget(root: &Root, is_kept: impl Fn(&str) -> bool) -> Result<()> {
    let Ok(entries) = fs::read_dir(root.path(DIRECTORY)) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("reading {DIRECTORY}"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !is_kept(name.strip_suffix(".json").unwrap_or(&name)) {
            // An error is ignored: another process may have removed the file already.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn path(root: &Root, id: &str) -> PathBuf {
    root.path(DIRECTORY).join(format!("{id}.json"))
}
