//! `verify`: the signature of a pushed version.

use anyhow::{Context, Result};
use edge_common::exit::Failure;
use edge_signature::{Format, ImageRef};

use crate::exit_code::registry_error;
use crate::project::app::App;
use crate::project::config::Project;
use crate::project::signing::Signer;

/// The name of a pushed version, or of an image in the team's repository.
///
/// # Errors
/// A name that is none.
pub(crate) async fn named(project: &Project, app: &str, version: Option<&str>) -> Result<ImageRef> {
    if app.contains(['/', '@', ':']) {
        let image: ImageRef = app.parse().map_err(|e| Failure::error(2, e))?;
        let ours = project.repository().await?;
        if image.repository != ours {
            let why = format!("{app} is not in {ours}: edge-app push --from takes it there");
            return Err(Failure::error(2, why));
        }
        return Ok(image);
    }
    let app = App::load(project, app)?;
    let version = app.version(version).await?;
    project.image(&app.name, &version).await
}

/// Checks an image with the project's key and prints what the signature says.
///
/// # Errors
/// Not there, not signed, not by that key.
pub(crate) async fn verify(project: &Project, image: &ImageRef) -> Result<()> {
    let keys = Signer::of(project, None).await?.keys().await?;
    let registry = project.registry().await?;
    let family = registry.family(image).await.map_err(registry_error)?;
    let mut first = None;
    for manifest in &family {
        let formats = [Format::V2, Format::V3];
        let verified = registry.verified(&keys, &manifest.digest, &formats).await;
        let verified = verified.map_err(registry_error)?;
        first.get_or_insert(verified);
    }
    let verified = first.context("an image")?;
    let says = &verified.annotations;
    println!("image    {}@{}", image.repository, verified.digest);
    println!(
        "app      {}\nversion  {}\nserial   {}",
        says.app, says.version, says.serial
    );
    println!(
        "grants   {}\nsigner   {}",
        says.grants.join(","),
        verified.signer
    );
    if family.len() > 1 {
        println!("images   {}, each of them signed", family.len() - 1);
    }
    Ok(())
}
