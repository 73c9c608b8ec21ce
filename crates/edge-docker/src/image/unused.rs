//! Images that no container needs, and their removal.
//!
//! An image stays if a container was created from it, if a deployment record or a release
//! set names it, or while a deployment is under way, whose image has no container yet.

use std::collections::BTreeSet;

use anyhow::Result;
use edge_common::{Root, log};
use edge_signature::Verified;
use hyper::Method;
use serde::Deserialize;

use super::{release_numbers, signatures};
use crate::engine::client;
use crate::engine::error::EngineError;
use crate::journal;
use crate::set;
use crate::trust;

/// Element of the engine's list of images.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    // Go encodes a list that was never filled as `null`.
    repo_tags: Option<Vec<String>>,
    repo_digests: Option<Vec<String>>,
    size: u64,
}

impl Listed {
    /// Returns the names of the image: tags first, because with the last tag of a
    /// repository the engine removes its digests.
    fn names(&self) -> impl Iterator<Item = &String> {
        let both = [&self.repo_tags, &self.repo_digests];
        let names = both.into_iter().flatten().flatten();
        names.filter(|name| !name.starts_with("<none>"))
    }
}

/// Element of the engine's list of containers.
#[derive(Deserialize)]
struct Container {
    #[serde(rename = "Id")]
    id: String,
    #[serde(rename = "ImageID")]
    image: String,
}

/// Images that a removal selects.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Images without a name, and signed versions that may not start any more because a
    /// newer one was accepted.
    Outdated,
    /// All images that nothing needs.
    All,
}

/// Removes images that nothing needs, and prints the name and size of each with `report`.
/// Leaves all of them while another deployment than that of `own` is under way.
pub(crate) async fn remove(
    root: &Root,
    which: Which,
    own: Option<&str>,
    mut report: impl FnMut(&str),
) -> Result<()> {
    if let Some(name) = journal::locked_names(root)?.iter().find(|n| own != Some(n)) {
        // Its image may have been pulled, and has no container yet.
        log::info(format_args!(
            "a deployment of {name} is under way: images stay until it has ended"
        ));
        return Ok(());
    }
    let needed = needed(root).await?;
    let outdated = outdated(root)?;
    for image in list(root).await? {
        let is_selected =
            which == Which::All || outdated.contains(&image.id) || image.names().next().is_none();
        if is_selected && !needed.contains(&image.id) {
            remove_one(root, &image, &mut report).await?;
        }
    }
    Ok(())
}

async fn list(root: &Root) -> Result<Vec<Listed>> {
    let images = client::request(root, Method::GET, "/images/json", None).await?;
    Ok(serde_json::from_value(images)?)
}

/// Returns the IDs of the images of all containers, of all deployment records, and of the
/// release sets that may still be carried out: they bring back lower release numbers.
async fn needed(root: &Root) -> Result<BTreeSet<String>> {
    let containers = containers(root).await?;
    let mut needed: BTreeSet<_> = containers.into_iter().map(|c| c.image).collect();
    for journal in journal::all(root) {
        needed.extend(journal.images().map(String::from));
    }
    let named = set::named(root)?;
    needed.extend(named.iter().filter_map(|d| signatures::image_id(root, d)));
    Ok(needed)
}

async fn containers(root: &Root) -> Result<Vec<Container>> {
    let list = client::request(root, Method::GET, "/containers/json?all=1", None).await?;
    Ok(serde_json::from_value(list)?)
}

/// Returns the name of the deployment whose record needs an image, or `None`.
pub(crate) async fn needed_by(root: &Root, image: &str) -> Result<Option<String>> {
    let containers = containers(root).await?;
    let is_of = |id: &str| containers.iter().any(|c| c.id == id && c.image == image);
    let needs =
        |j: &journal::Journal| j.images().any(|i| i == image) || j.ids().into_iter().any(is_of);
    Ok(journal::all(root).into_iter().find(needs).map(|j| j.name))
}

/// Returns the IDs of the signed images whose release number is too low for a start.
fn outdated(root: &Root) -> Result<BTreeSet<String>> {
    let trust = trust::load(root)?;
    let mut outdated = BTreeSet::new();
    for digest in signatures::digests(root)? {
        // An image with an invalid signature is no older version, and stays.
        let Ok(Some((versions, id))) = signatures::versions(root, &trust, &digest) else {
            continue;
        };
        let is_outdated = |v: &Verified| release_numbers::is_outdated(root, v);
        if !versions.is_empty() && versions.iter().all(is_outdated) {
            outdated.insert(id.to_string());
        }
    }
    Ok(outdated)
}

/// Removes an image by its names, without force: the engine then refuses to remove one
/// from which a container was created meanwhile.
async fn remove_one(root: &Root, image: &Listed, report: &mut impl FnMut(&str)) -> Result<()> {
    for name in image.names().chain([&image.id]) {
        let path = format!("/images/{name}");
        match client::request(root, Method::DELETE, &path, None).await {
            Err(error) if EngineError::is_not_found(&error) => {}
            Err(error) if EngineError::is_conflict(&error) => {
                log::info(format_args!("{name} stays: {error:#}"));
                return Ok(());
            }
            response => drop(response?),
        }
    }
    let name = image.names().next().unwrap_or(&image.id);
    report(&format!("{name} ({})", megabytes(image.size)));
    Ok(())
}

/// Returns a size for people, in decimal megabytes as docker prints it.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
}
