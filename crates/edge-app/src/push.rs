//! `push`: upload, sign, fetch back and verify.

use std::io::{BufRead, IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use edge_common::exit::Failure;
use edge_common::log;
use edge_signature::{
    Annotations, Digest, Error, ImageRef, Keys, Registry, Signed, Verified, payload,
    verify as check,
};
use serde_json::json;

use crate::app::{App, Word};
use crate::config::{Project, registry_error};
use crate::layers::Saved;
use crate::sign::Signer;
use crate::{REGISTRY, SIGNATURE, docker};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Pushes and signs a version of an app; prints its name with the digest.
///
/// # Errors
/// As the exit codes say.
pub async fn push(project: &Project, app: &App, version: &str, yes: bool) -> Result<()> {
    let signer = Signer::of(project).await?;
    let keys = signer.keys().await?;
    let grants: Vec<_> = app.spec.grants.iter().map(|Word(g)| g.clone()).collect();
    confirm(app, &grants, yes)?;
    let image = project.image(&app.name, version).await?;
    let registry = project.registry().await?;
    let saved = Saved::open(docker::save(&image.to_string()).await?)?;
    let digest = upload(&registry, &image, &saved).await?;
    if let Ok(verified) = fetched(&registry, &keys, &digest).await {
        if verified.annotations.grants == grants {
            log::info("already signed by this key");
            println!("{}@{digest}", image.repository);
            return Ok(());
        }
    }
    let annotations = Annotations {
        app: app.name.clone(),
        version: version.into(),
        serial: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        grants,
    };
    let payload = payload(&image, &digest, &annotations);
    let signature = signer.sign(&payload).await?;
    let signed = Signed::new(payload, signature);
    let itself = check(
        &keys,
        &image.repository,
        &digest,
        std::slice::from_ref(&signed),
    );
    itself.map_err(|e| Failure::error(SIGNATURE, format_args!("the new signature: {e}")))?;
    registry
        .append_signature(&digest, &signed)
        .await
        .map_err(registry_error)?;
    let verified = fetched(&registry, &keys, &digest)
        .await
        .map_err(registry_error)?;
    log::info(format_args!(
        "signed as {} {version}, serial {}, by key {}",
        app.name,
        verified.annotations.serial,
        &verified.signer[..16]
    ));
    println!("{}@{digest}", image.repository);
    Ok(())
}

/// What the registry says of the signatures of `digest`.
async fn fetched(registry: &Registry, keys: &Keys, digest: &Digest) -> Result<Verified, Error> {
    let signed = registry.signatures(digest).await?;
    check(keys, registry.repository(), digest, &signed)
}

/// Grants go into the signature only when somebody has seen them.
fn confirm(app: &App, grants: &[String], yes: bool) -> Result<()> {
    if grants.is_empty() {
        return Ok(());
    }
    log::info(format_args!(
        "{} asks for grants: {}",
        app.name,
        grants.join(", ")
    ));
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::error(
            2,
            "sign these grants with --yes, or at a terminal",
        ));
    }
    eprint!("Sign them? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("not signed");
    }
    Ok(())
}

/// Uploads what the registry lacks. A tag never moves to other content.
async fn upload(registry: &Registry, image: &ImageRef, saved: &Saved) -> Result<Digest> {
    let (config, paths) = saved.image()?;
    let tag = image.tag.as_deref().context("an image without a tag")?;
    let mut layers = Vec::new();
    for (number, path) in paths.iter().enumerate() {
        // Compressing takes a core for seconds: say where it stands.
        let layer = saved.layer(path)?;
        let size = layer.bytes.len();
        log::info(format_args!(
            "layer {} of {}: {:.1} MB",
            number + 1,
            paths.len(),
            size as f64 / 1e6
        ));
        let digest = registry
            .push_blob(layer.bytes)
            .await
            .map_err(registry_error)?;
        layers.push(json!({ "mediaType": layer.kind, "size": size, "digest": digest }));
    }
    let size = config.len();
    let config = registry.push_blob(config).await.map_err(registry_error)?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": { "mediaType": CONFIG, "size": size, "digest": config },
        "layers": layers,
    });
    let bytes = serde_json::to_vec(&manifest)?;
    let digest = Digest::of(&bytes);
    match registry.resolve(image).await {
        Ok(old) if old.digest == digest => Ok(digest),
        Ok(old) => Err(Failure::error(
            REGISTRY,
            format_args!(
                "{image} is there with other content ({}): take another --version",
                old.digest
            ),
        )),
        Err(Error::NotFound(_)) => registry
            .push_manifest(tag, bytes, MANIFEST)
            .await
            .map_err(registry_error),
        Err(error) => Err(registry_error(error)),
    }
}

/// Checks a pushed version with the project's key and prints what it says.
///
/// # Errors
/// Not there, not signed, not by that key.
pub async fn verify(project: &Project, app: &App, version: &str) -> Result<()> {
    let keys = Signer::of(project).await?.keys().await?;
    let image = project.image(&app.name, version).await?;
    let registry = project.registry().await?;
    let manifest = registry.resolve(&image).await.map_err(registry_error)?;
    let verified = fetched(&registry, &keys, &manifest.digest)
        .await
        .map_err(registry_error)?;
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
    Ok(())
}
