//! `verify`: verifies the signature of a pushed version and prints what was signed.

use anyhow::{Context, Result};
use edge_common::exit::Failure;
use edge_signature::{Format, ImageRef, Select};

use crate::exit_code::registry_error;
use crate::project::app::App;
use crate::project::config::Project;
use crate::project::signing::Signer;

/// Returns the image to verify: `app` itself if it is an image reference, which must be
/// in the project's repository, or else the image of the app's version.
pub(crate) async fn image(project: &Project, app: &str, version: Option<&str>) -> Result<ImageRef> {
    if app.contains(['/', '@', ':']) {
        let image: ImageRef = app.parse().map_err(|e| Failure::error(2, e))?;
        // Devices accept images of the project's repository only, so a valid signature in
        // another repository would be misleading.
        let repository = project.repository().await?;
        if image.repository != repository {
            let why =
                format!("{app} is not in {repository}: copy it there with edge-app push --from");
            return Err(Failure::error(2, why));
        }
        return Ok(image);
    }
    let app = App::load(project, app)?;
    let version = app.version(version).await?;
    project.image(&app.name, &version).await
}

/// Verifies an image, including all its platforms, with the project's key and prints the
/// signed annotations.
pub(crate) async fn verify(project: &Project, image: &ImageRef) -> Result<()> {
    let keys = Signer::new(project, None).await?.keys().await?;
    let registry = project.registry().await?;
    let manifests = registry.resolve_all(image).await.map_err(registry_error)?;
    let mut first = None;
    // Both the index and the manifests of its platforms must be signed: podman and skopeo
    // verify the manifest of the platform instead of the index.
    for manifest in &manifests {
        let formats = [Format::V2, Format::V3];
        let verified = registry
            .verify_digest(&keys, &manifest.digest, &formats, Select::of(image))
            .await;
        let verified = verified.map_err(registry_error)?;
        first.get_or_insert(verified);
    }
    let verified = first.context("the registry returned no manifest")?;
    let signed = &verified.annotations;
    println!("image    {}@{}", image.repository, verified.digest);
    println!("app      {}\nversion  {}", signed.app, signed.version);
    println!("release  {}", signed.release_number);
    println!("grants   {}", signed.grants.join(","));
    if let Some(digest) = &signed.run {
        println!("run      {digest}");
    }
    println!("signer   {}", verified.signer);
    if manifests.len() > 1 {
        println!("images   {}, each of them signed", manifests.len() - 1);
    }
    Ok(())
}
