//! Content of a group's release set, from `edge-app.yaml` and the registry.

use std::collections::BTreeMap;

use anyhow::Result;
use edge_common::exit::Failure;
use edge_signature::set::{ReleaseSet, SetApp};
use edge_signature::{Format, ImageRef, Keys, Registry, Select};

use super::window;
use crate::exit_code::{CONFIGURATION, SIGNATURE, registry_error};
use crate::project::config::{Group, GroupRelease, Project};
use crate::project::signing::Signer;

/// Time for which all apps have to be healthy, in seconds.
const DEFAULT_SETTLE: u32 = 60;

/// Returns the group of `edge-app.yaml` with what a release needs.
pub(super) fn find<'a>(project: &'a Project, name: &str) -> Result<&'a GroupRelease> {
    match project.group(name, CONFIGURATION)? {
        Some(Group::Release(group)) => Ok(group),
        _ => Err(configuration(format!(
            "group {name} has no apps: write {name}: {{devices: […], apps: {{APP: VERSION}}}}"
        ))),
    }
}

/// Fills the set of a group: versions from the signatures in the registry, and the apps of
/// the last set that are gone.
pub(super) async fn fill(
    project: &Project,
    registry: &Registry,
    group: &GroupRelease,
    last: Option<&ReleaseSet>,
    set: &mut ReleaseSet,
) -> Result<()> {
    let keys = Signer::new(project, None).await?.keys().await?;
    for (name, version) in &group.apps {
        let mut app = signed(registry, &keys, name, version).await?;
        app.timeout = group.timeouts.get(name).copied();
        set.apps.push(app);
    }
    if let Some(name) = group.timeouts.keys().find(|n| set.app(n).is_none()) {
        let why = format!("timeouts names {name}, which is no app of the group");
        return Err(configuration(why));
    }
    // Its name is not enough: whoever may change the group in AWS would choose the devices.
    set.things = things(project, group)?;
    set.order.clone_from(&group.order);
    set.requires.clone_from(&group.requires);
    set.settle = group.settle.unwrap_or(DEFAULT_SETTLE);
    set.window = group.window.as_deref().map(window::parse).transpose()?;
    let before = last.map_or(&[][..], |last| &last.apps).iter();
    let gone = before.map(|app| &app.name);
    // What was removed once stays so for devices that have missed a set.
    let gone = gone.chain(last.map_or(&[][..], |last| &last.remove));
    let mut remove: Vec<_> = gone.filter(|n| set.app(n).is_none()).cloned().collect();
    remove.sort();
    remove.dedup();
    set.remove = remove;
    Ok(())
}

/// Returns the patterns of thing names, sorted.
fn things(project: &Project, group: &GroupRelease) -> Result<Vec<String>> {
    let mut things = group.things.clone();
    if things.is_empty() {
        for name in &group.devices {
            let device = project.config.devices.get(name).and_then(Option::as_ref);
            let thing = device.and_then(|device| device.thing.clone());
            things.push(thing.ok_or_else(|| {
                configuration(format!(
                    "device {name} has no thing: write devices: {{{name}: {{thing: \
                     edge-ai-SERIAL}}}}, or things of the group"
                ))
            })?);
        }
    }
    things.sort();
    things.dedup();
    Ok(things)
}

/// Returns the entry of a version, from its own signature.
async fn signed(registry: &Registry, keys: &Keys, name: &str, version: &str) -> Result<SetApp> {
    let image = ImageRef {
        repository: registry.repository().clone(),
        tag: Some(format!("{name}-{version}")),
        digest: None,
    };
    let digest = registry
        .resolve(&image)
        .await
        .map_err(registry_error)?
        .digest;
    let formats = [Format::V2, Format::V3];
    let verified = registry.verify_digest(
        keys,
        &digest,
        &formats,
        Select::Version { app: name, version },
    );
    let annotations = verified.await.map_err(registry_error)?.annotations;
    let run = annotations.run.ok_or_else(|| {
        let why = format!("{name} {version} has no signed run specification: push it again");
        Failure::error(SIGNATURE, why)
    })?;
    Ok(SetApp {
        digest,
        name: annotations.app,
        run,
        serial: annotations.release_number,
        timeout: None,
        version: annotations.version,
    })
}

/// Returns a line for each difference to the last set.
pub(super) fn changes(last: Option<&ReleaseSet>, set: &ReleaseSet) -> Vec<String> {
    let mut lines = Vec::new();
    let old: BTreeMap<_, _> = last
        .map_or(&[][..], |last| &last.apps)
        .iter()
        .map(|app| (&app.name, app))
        .collect();
    for app in set.ordered() {
        let (name, version) = (&app.name, &app.version);
        lines.push(match old.get(name) {
            None => format!("new      {name} {version}"),
            Some(old) if old.digest == app.digest && old.run == app.run => {
                format!("same     {name} {version}")
            }
            Some(old) => format!("changed  {name} {} -> {version}", old.version),
        });
    }
    lines.extend(set.remove.iter().map(|name| format!("removed  {name}")));
    lines
}

/// Returns the lines that show a whole set.
pub(super) fn content(set: &ReleaseSet) -> Vec<String> {
    let apps = set.ordered().into_iter();
    let apps = apps.map(|app| format!("app      {} {}  {}", app.name, app.version, app.digest));
    let removed = set.remove.iter().map(|name| format!("removed  {name}"));
    let revoked = set.revoked.iter().map(|d| format!("revoked  {d}"));
    let restored = set.restored.iter().map(|d| format!("restored {d}"));
    apps.chain(removed).chain(revoked).chain(restored).collect()
}

fn configuration(why: String) -> anyhow::Error {
    Failure::error(CONFIGURATION, why)
}
