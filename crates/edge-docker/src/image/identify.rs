//! Identification of images: the app that the verified signature names, or a sandbox app.
//!
//! Never by tag or label: tags such as `foo-evil-1.0` are ambiguous, and labels are
//! written by the author of the Dockerfile or inherited from its base image.

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

/// Image that may run, with its verified identity.
pub(crate) struct Image {
    /// App, version and grants, or the sandbox app.
    pub(crate) identity: Identity,
    /// Image ID, by which it is run: its name may be given to another image meanwhile.
    pub(crate) id: String,
    /// User in the image's configuration, or empty.
    pub(crate) user: String,
    /// Content of the verified signature; `None` for a sandbox app.
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

/// Identifies an image that is to run. Pulls a signed image that the engine does not
/// have, or whose cached signature is damaged or invalid.
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
        // A pull replaces it. Otherwise whoever damages the cache could keep the app
        // from starting until somebody pulls by hand.
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
    let number = annotations.release_number;
    // Also of an image that is here already: a higher number may have been accepted since.
    release_numbers::accept(root, &annotations.app, number, allow_downgrade)?;
    Ok(Image::signed(verified, local))
}

/// Identifies an image for `explain`. Pulls nothing: without a cached signature it is
/// verified at the registry.
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
            // The image's configuration, which names the user, has not been pulled.
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

/// Verifies the cached signature of an image; returns its content with the engine's
/// image, or `None` if one of both is absent.
async fn cached(root: &Root, trust: &Trust, image: &ImageRef) -> Result<Option<(Verified, Local)>> {
    with_local(root, signatures::verified(root, trust, image)?).await
}

/// Adds the engine's image to a verified signature, if it is the image that was signed.
async fn with_local(
    root: &Root,
    cached: Option<(Verified, Digest)>,
) -> Result<Option<(Verified, Local)>> {
    let Some((verified, id)) = cached else {
        return Ok(None);
    };
    let local = pull::local(root, id.as_str()).await?;
    // The engine looks up names and short IDs too.
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
    // The labels only say where to look; they have to agree with the signature.
    let is_same = |(verified, local): &(Verified, Local)| {
        found["Image"] == local.id.as_str()
            && labels[label::APP] == verified.annotations.app.as_str()
    };
    match cached(root, trust, &image).await? {
        Some(cached) if is_same(&cached) => Ok(()),
        _ => Err(refuse(format_args!(
            "{verb} {name} is refused: its image is not verified; create it again with \
             edge-docker run"
        ))),
    }
}

/// Returns the engine's description of a container; refuses one that edge-docker did not
/// create, because no policy has judged its options.
pub(crate) async fn created(root: &Root, verb: &str, name: &str) -> Result<Value> {
    let name = values::name(verb, name)?;
    let path = format!("/containers/{name}/json");
    let found = client::request(root, Method::GET, &path, None).await?;
    let labels = &found["Config"]["Labels"];
    // Nobody else can set them: a create request needs a ticket, and `--label` refuses
    // the prefix `edge.`.
    if labels[label::APP].is_string() || labels[label::SANDBOX].is_string() {
        return Ok(found);
    }
    Err(refuse(format_args!(
        "{verb} {name} is refused: edge-docker did not create it"
    )))
}
