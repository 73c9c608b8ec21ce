//! `list`: versions in the registry, who signed them, and where they run.

use std::fs;

use anyhow::{Context, Result};
use edge_common::log;
use edge_signature::{Keys, Registry, verify};
use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;

use crate::device::apps::{self, OnDevice};
use crate::exit_code::registry_error;
use crate::output::table;
use crate::project::config::Project;
use crate::project::signing::Signer;

/// Questions to the registry at a time.
const QUESTIONS: usize = 8;

/// A version of an app.
#[derive(Serialize)]
struct Version {
    app: String,
    /// Nothing for an app that was never pushed.
    version: Option<String>,
    digest: Option<String>,
    /// Seconds of Unix time at which it was signed.
    serial: Option<u64>,
    /// Digest of the key that signed, if the team's key did.
    signer: Option<String>,
    /// Why it is not known to be signed.
    problem: Option<String>,
    /// Devices that it runs on.
    devices: Vec<String>,
}

/// Prints the project's apps, their versions, and where these run.
///
/// # Errors
/// The registry.
pub(crate) async fn list(project: &Project, json: bool) -> Result<()> {
    let apps = local_apps(project)?;
    let registry = project.registry().await?;
    let mut tags = registry.tags().await.map_err(registry_error)?;
    tags.sort();
    let devices: Vec<_> = project.config.devices.keys().cloned().collect();
    let keys = keys(project).await;
    let versions = stream::iter(versions(&apps, &tags))
        .map(|version| look(project, &registry, keys.as_ref(), version))
        .buffered(QUESTIONS)
        .collect::<Vec<_>>();
    let (mut versions, told) = tokio::join!(versions, apps::on_all(project, &devices));
    for error in told.iter().filter_map(|t| t.error.as_ref()) {
        log::warn(error);
    }
    for version in &mut versions {
        version.devices = running(version, &told);
    }
    if json {
        return table::json(&versions);
    }
    print(&versions);
    Ok(())
}

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

/// The key that should have signed; without one nothing is verified.
async fn keys(project: &Project) -> Option<Keys> {
    project.config.signing_key.as_ref()?;
    let keys = async { Signer::of(project, None).await?.keys().await };
    keys.await
        .inspect_err(|error| log::warn(format_args!("signatures are not checked: {error:#}")))
        .ok()
}

fn versions(apps: &[String], tags: &[String]) -> Vec<Version> {
    let mut versions = Vec::new();
    for app in apps {
        // `a-b` and version `c`, or `a` and version `b-c`: the longer name counts.
        let longest = |tag: &str| {
            apps.iter()
                .filter(|a| behind(tag, a).is_some())
                .max_by_key(|a| a.len())
        };
        let mine: Vec<_> = tags
            .iter()
            .filter(|t| longest(t) == Some(app))
            .filter_map(|t| behind(t, app))
            .map(|v| Some(v.to_string()))
            .collect();
        let mine = if mine.is_empty() { vec![None] } else { mine };
        versions.extend(mine.into_iter().map(|version| Version {
            app: app.clone(),
            version,
            digest: None,
            serial: None,
            signer: None,
            problem: None,
            devices: Vec::new(),
        }));
    }
    versions
}

fn behind<'a>(tag: &'a str, app: &str) -> Option<&'a str> {
    tag.strip_prefix(app)?.strip_prefix('-')
}

/// Asks the registry for a version's digest and signature.
async fn look(
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
        let verified = verify(keys, registry.repository(), &digest, &signed);
        verified.map(Some).map_err(registry_error)
    };
    let verified: Result<_> = verified.await;
    match verified {
        Ok(Some(verified)) => {
            version.serial = Some(verified.annotations.serial);
            version.signer = Some(verified.signer);
        }
        Ok(None) => {}
        Err(error) => version.problem = Some(format!("{error:#}")),
    }
    version
}

fn running(version: &Version, told: &[OnDevice]) -> Vec<String> {
    let here = |device: &&OnDevice| {
        device
            .apps
            .iter()
            .any(|a| a.name == version.app && a.state == "running" && a.digest == version.digest)
    };
    let devices = told.iter().filter(|_| version.digest.is_some());
    devices.filter(here).map(|t| t.device.clone()).collect()
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
            text(version.serial.map(table::date)),
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
    fn the_longer_name_counts() {
        let texts = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
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
