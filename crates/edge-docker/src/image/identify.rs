//! Identification of an image: the app that its verified signature names, or a sandbox.

use anyhow::Result;
use edge_common::Root;
use edge_common::contract::label;
use edge_docker_policy::cli::values;
use edge_docker_policy::identity::{Identity, sandbox_app};
use edge_docker_policy::refusal::refuse;
use edge_signature::{Digest, ImageRef, Verified};
use hyper::Method;
use serde_json::Value;

use super::pull::{self, Local};
use super::{failure, release_numbers, signatures};
use crate::engine::client;
use crate::trust::Trust;

/// Image that may run, as the engine has it.
pub(crate) struct Image {
    /// Identity of the image.
    pub(crate) identity: Identity,
    /// ID at the engine.
    pub(crate) id: String,
    /// User that the image names, or empty.
    pub(crate) user: String,
    /// Verified signature; none of a sandbox.
    pub(crate) verified: Option<Verified>,
}

impl Image {
    fn signed(verified: Verified, local: Local) -> Self {
        Self {
            identity: signed_identity(&verified),
            id: local.id,
            user: local.user,
            verified: Some(verified),
        }
    }
}

/// Identifies the image of a reference; pulls a signed image that is not here yet, or
/// whose cached signature no longer holds.
pub(crate) async fn find(
    root: &Root,
    trust: &Trust,
    reference: &str,
    allow_downgrade: bool,
) -> Result<Image> {
    if reference.starts_with("sandbox/") {
        return sandbox(root, trust, reference).await;
    }
    let image = pull::require_repository(trust, reference)?;
    let (damage, cached) = match signatures::verified(root, trust, &image) {
        Ok(cached) => (None, with_local(root, cached).await?),
        Err(damage) => (Some(damage), None),
    };
    let (verified, local) = match cached {
        Some(cached) => cached,
        None => {
            let pulled = pull::pull(root, trust, &image, allow_downgrade).await;
            pulled.map_err(|e| failure::after_damage(damage, e))?
        }
    };
    let annotations = &verified.annotations;
    let number = annotations.serial;
    release_numbers::accept(root, &annotations.app, number, allow_downgrade)?;
    Ok(Image::signed(verified, local))
}

/// Identifies an image as [`find`] does, but pulls nothing: without a cached signature
/// the registry is asked for one.
pub(crate) async fn look_up(root: &Root, trust: &Trust, reference: &str) -> Result<Image> {
    if reference.starts_with("sandbox/") {
        return sandbox(root, trust, reference).await;
    }
    let image = pull::require_repository(trust, reference)?;
    let (verified, local) = match cached(root, trust, &image).await? {
        Some(cached) => cached,
        None => {
            let (verified, proof) = pull::verify(root, trust, &image).await?;
            let id = proof.image_id().map_err(failure::of)?.to_string();
            // Only the image's configuration, which is not here, names a user.
            let user = String::new();
            (verified, Local { id, user })
        }
    };
    Ok(Image::signed(verified, local))
}

/// Returns the identity that a signature names.
pub(crate) fn signed_identity(verified: &Verified) -> Identity {
    let annotations = verified.annotations.clone();
    Identity::Signed {
        app: annotations.app,
        version: annotations.version,
        grants: annotations.grants,
        digest: verified.digest.clone(),
    }
}

/// Returns a cached signature that holds, with the image that the engine has of it.
async fn cached(root: &Root, trust: &Trust, image: &ImageRef) -> Result<Option<(Verified, Local)>> {
    with_local(root, signatures::verified(root, trust, image)?).await
}

/// Adds the image of the engine, if it has the very one that was signed.
async fn with_local(
    root: &Root,
    cached: Option<(Verified, Digest)>,
) -> Result<Option<(Verified, Local)>> {
    let Some((verified, id)) = cached else {
        return Ok(None);
    };
    let local = pull::local(root, id.as_str()).await?;
    let local = local.filter(|local| local.id == id.as_str());
    Ok(local.map(|local| (verified, local)))
}

async fn sandbox(root: &Root, trust: &Trust, reference: &str) -> Result<Image> {
    let app = sandbox_app(reference)
        .ok_or_else(|| refuse(format_args!("{reference:?} is not sandbox/APP[:TAG]")))?;
    trust.sandbox_allowed(reference)?;
    let local = pull::local(root, reference).await?;
    let local = local.ok_or_else(|| failure::no_such_image(reference))?;
    Ok(Image {
        identity: Identity::Sandbox { app: app.into() },
        id: local.id,
        user: local.user,
        verified: None,
    })
}

/// Refuses a container that edge-docker did not create, or whose image is no longer
/// verified: a key may have been withdrawn since, or sandboxes forbidden.
pub(crate) async fn verified(root: &Root, trust: &Trust, verb: &str, name: &str) -> Result<()> {
    let found = created(root, verb, name).await?;
    let labels = &found["Config"]["Labels"];
    if labels[label::SANDBOX].is_string() {
        return trust.sandbox_allowed(name);
    }
    let digest = labels[label::DIGEST].as_str().unwrap_or_default();
    let image = pull::require_repository(trust, &format!("{}@{digest}", trust.repository))?;
    // A label alone proves nothing: the image itself must be the signed one.
    let is_same = |(verified, local): &(Verified, Local)| {
        found["Image"] == local.id.as_str()
            && labels[label::APP] == verified.annotations.app.as_str()
    };
    match cached(root, trust, &image).await? {
        Some(cached) if is_same(&cached) => Ok(()),
        _ => Err(refuse(format_args!(
            "{verb} {name} is refused: its image is not verified; run it again"
        ))),
    }
}

/// Returns the engine's description of a container; refuses one that edge-docker did not
/// create.
pub(crate) async fn created(root: &Root, verb: &str, name: &str) -> Result<Value> {
    let name = values::name(verb, name)?;
    let path = format!("/containers/{name}/json");
    let found = client::request(root, Method::GET, &path, None).await?;
    let labels = &found["Config"]["Labels"];
    if labels[label::APP].is_string() || labels[label::SANDBOX].is_string() {
        return Ok(found);
    }
    Err(refuse(format_args!(
        "{verb} {name} is refused: edge-docker did not make it"
    )))
}
