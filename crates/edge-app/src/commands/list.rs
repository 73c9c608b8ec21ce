//! `list`: shows versions in the registry, their signers, and the devices that run them.

use std::fs;

use anyhow::{Context, Result};
use edge_common::log;
use edge_signature::{Keys, Registry, Select, verify};
use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;

use crate::device::apps::{self, DeviceApps};
use crate::exit_code::registry_error;
use crate::output::table;
use crate::project::config::Project;
use crate::project::signing::Signer;

/// Maximum number of parallel requests to the registry. One at a time, the requests for a
/// hundred versions take a minute over a slow link; but registries limit the request
/// rate.
const PARALLEL_REQUESTS: usize = 8;

/// Row of the list: a version of an app with its signature and its devices.
#[derive(Serialize)]
struct Version {
    app: String,
    /// Version from the tag in the registry; `None` for an app that was never pushed.
    version: Option<String>,
    digest: Option<String>,
    /// Signed release number, normally the Unix time of the signature in seconds.
    #[serde(rename = "serial")]
    release_number: Option<u64>,
    /// Digest of the project's public key if the signature verifies with that key.
    signer: Option<String>,
    /// Error of the registry or of the verification; `None` if there is none, or if there
    /// is no key to verify with.
    problem: Option<String>,
    /// Names of the devices on which a container with this digest is running.
    devices: Vec<String>,
}

/// Prints each version of the project's apps with its signer and its devices, as a table
/// or as JSON.
pub(super) async fn list(project: &Project, json: bool) -> Result<()> {
    let apps = local_apps(project)?;
    let registry = project.registry().await?;
    let mut tags = registry.tags().await.map_err(registry_error)?;
    tags.sort();
    let devices: Vec<_> = project.config.devices.keys().cloned().collect();
    let keys = keys(project).await;
    let versions = stream::iter(versions(&apps, &tags))
        .map(|version| look_up(project, &registry, keys.as_ref(), version))
        .buffered(PARALLEL_REQUESTS)
        .collect::<Vec<_>>();
    let (mut versions, on_devices) = tokio::join!(versions, apps::on_all(project, &devices));
    // An unreachable device causes only a warning: the versions in the registry are
    // listed all the same.
    for error in on_devices.iter().filter_map(|d| d.error.as_ref()) {
        log::warn(error);
    }
    for version in &mut versions {
        version.devices = running(version, &on_devices);
    }
    if json {
        return table::print_json(&versions);
    }
    print(&versions);
    Ok(())
}

/// Returns the names of the project's subdirectories with an `app.yaml`. The files are
/// not parsed: one malformed `app.yaml` must not hide the other apps.
fn local_apps(project: &Project) -> Result<Vec<String>> {
    let directory = &project.directory;
    let mut apps = Vec::new();
    for entry in
        fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?
    {
        let path = entry?.path();
        if path.join("app.yaml").exists() {
            apps.extend(path.file_name().map(|n| n.to_string_lossy().into_owned()));
        }
    }
    apps.sort();
    Ok(apps)
}

/// Returns the project's public key. `None` if there is none or it cannot be read:
/// versions are then listed unverified, since not every user of a project has access to
/// its key.
async fn keys(project: &Project) -> Option<Keys> {
    project.config.signing_key.as_ref()?;
    let keys = async { Signer::new(project, None).await?.keys().await };
    keys.await
        .inspect_err(|error| log::warn(format_args!("signatures are not verified: {error:#}")))
        .ok()
}

fn versions(apps: &[String], tags: &[String]) -> Vec<Version> {
    let mut versions = Vec::new();
    for app in apps {
        // Tag `a-b-c` is version `c` of app `a-b` or version `b-c` of app `a`, since
        // names and versions may contain `-`. The longest name that exists as an app is
        // chosen.
        let owner = |tag: &str| {
            apps.iter()
                .filter(|a| version_in(tag, a).is_some())
                .max_by_key(|a| a.len())
        };
        let found: Vec<_> = tags
            .iter()
            .filter(|t| owner(t) == Some(app))
            .filter_map(|t| version_in(t, app))
            .map(|v| Some(v.to_string()))
            .collect();
        let found = if found.is_empty() { vec![None] } else { found };
        versions.extend(found.into_iter().map(|version| Version {
            app: app.clone(),
            version,
            digest: None,
            release_number: None,
            signer: None,
            problem: None,
            devices: Vec::new(),
        }));
    }
    versions
}

fn version_in<'a>(tag: &'a str, app: &str) -> Option<&'a str> {
    tag.strip_prefix(app)?.strip_prefix('-')
}

/// Completes a version with its digest, release number and signer from the registry, or
/// with the error in `problem`.
async fn look_up(
    project: &Project,
    registry: &Registry,
    keys: Option<&Keys>,
    mut version: Version,
) -> Version {
    let Some(text) = &version.version else {
        return version;
    };
    let verified = async {
        let image = project.image(&version.app, text).await?;
        let digest = registry
            .resolve(&image)
            .await
            .map_err(registry_error)?
            .digest;
        version.digest = Some(digest.to_string());
        let Some(keys) = keys else {
            return Ok(None);
        };
        let signed = registry.signatures(&digest).await.map_err(registry_error)?;
        let select = Select::of(&image);
        let verified = verify(keys, registry.repository(), &digest, &signed, select);
        verified.map(Some).map_err(registry_error)
    };
    let verified: Result<_> = verified.await;
    match verified {
        Ok(Some(verified)) => {
            // A tag can be read as that of another app whose name is shorter or longer.
            version.app = verified.annotations.app;
            version.version = Some(verified.annotations.version);
            version.release_number = Some(verified.annotations.release_number);
            version.signer = Some(verified.signer);
        }
        Ok(None) => {}
        Err(error) => version.problem = Some(format!("{error:#}")),
    }
    version
}

/// Returns the devices that run this digest. A comparison of the app's name alone would
/// be wrong, since a sandbox app may have the same name.
fn running(version: &Version, on_devices: &[DeviceApps]) -> Vec<String> {
    let runs = |device: &&DeviceApps| {
        device
            .apps
            .iter()
            .any(|a| a.name == version.app && a.state == "running" && a.digest == version.digest)
    };
    let devices = on_devices.iter().filter(|_| version.digest.is_some());
    devices.filter(runs).map(|d| d.device.clone()).collect()
}

fn print(versions: &[Version]) {
    let row = |version: &Version| {
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        let signer = version.signer.as_deref().map(table::short);
        let signer = signer.or_else(|| version.problem.clone());
        vec![
            version.app.clone(),
            text(version.version.clone()),
            text(version.digest.as_deref().map(table::short)),
            text(version.release_number.map(table::date)),
            text(Some(version.devices.join(" ")).filter(|d| !d.is_empty())),
            text(signer),
        ]
    };
    let rows: Vec<_> = versions.iter().map(row).collect();
    let head = [
        "APP",
        "VERSION",
        "DIGEST",
        "SIGNED (UTC)",
        "RUNS ON",
        "SIGNER",
    ];
    table::print(&head, &rows);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_belongs_to_the_longest_name() {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let found = versions(
            &texts(&["a", "a-b", "new"]),
            &texts(&["a-1", "a-b-1", "z-1"]),
        );
        let pairs: Vec<_> = found
            .iter()
            .map(|v| (v.app.as_str(), v.version.as_deref()))
            .collect();
        assert_eq!(pairs, [("a", Some("1")), ("a-b", Some("1")), ("new", None)]);
    }
}
