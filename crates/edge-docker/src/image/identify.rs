//! Who an image is: the app that its verified signature names, or a sandbox.

use anyhow::Result;
use edge_common::Root;
use edge_common::contract::label;
use edge_signature::{Digest, ImageRef, Verified};
use hyper::Method;
use serde_json::Value;

use edge_docker_policy::cli::values;
use edge_docker_policy::identity::{Identity, sandbox_app};
use edge_docker_policy::refusal::refuse;

use super::pull::{self, Local};
use super::{failure, release_numbers, signatures};
use crate::engine::client as engine;
use crate::trust::Trust;

/// An image that may run, as the engine has it.
pub struct Image {
    /// Whose it is.
    pub identity: Identity,
    /// The engine's Id.
    pub id: String,
    /// The user that it names, or empty.
    pub user: String,
    /// Who signed; nothing for a sandbox.
    pub verified: Option<Verified>,
}

impl Image {
    fn signed(verified: Verified, local: Local) -> Self {
        Self {
            identity: signed(&verified),
            id: local.id,
            user: local.user,
            verified: Some(verified),
        }
    }
}

/// Who `word` is; pulled if a signed image is not here yet, or if its proof is
/// no good any more.
///
/// # Errors
/// Refused (125), cannot tell (124), or the engine's.
pub async fn find(root: &Root, trust: &Trust, word: &str, allow_downgrade: bool) -> Result<Image> {
    if word.starts_with("sandbox/") {
        return sandbox(root, trust, word).await;
    }
    let image = pull::ours(trust, word)?;
    let (damage, kept) = match signatures::verified(root, trust, &image) {
        Ok(kept) => (None, here(root, kept).await?),
        Err(damage) => (Some(damage), None),
    };
    let (verified, local) = match kept {
        Some(kept) => kept,
        None => {
            let pulled = pull::pull(root, trust, &image, allow_downgrade).await;
            pulled.map_err(|e| failure::unmended(damage, e))?
        }
    };
    let app = &verified.annotations;
    release_numbers::check(root, &app.app, app.serial, allow_downgrade)?;
    Ok(Image::signed(verified, local))
}

/// As [`find`], but nothing is pulled: the registry is asked for the signature.
///
/// # Errors
/// As [`find`].
pub async fn look(root: &Root, trust: &Trust, word: &str) -> Result<Image> {
    if word.starts_with("sandbox/") {
        return sandbox(root, trust, word).await;
    }
    let image = pull::ours(trust, word)?;
    let (verified, local) = match kept(root, trust, &image).await? {
        Some(kept) => kept,
        None => {
            let (verified, proof) = pull::check(root, trust, &image).await?;
            let id = proof.image_id().map_err(failure::failure)?.to_string();
            // Its configuration is not here to name one.
            let user = String::new();
            (verified, Local { id, user })
        }
    };
    Ok(Image::signed(verified, local))
}

/// The subject that a signature names.
pub fn signed(verified: &Verified) -> Identity {
    let annotations = verified.annotations.clone();
    Identity::Signed {
        app: annotations.app,
        version: annotations.version,
        grants: annotations.grants,
        digest: verified.digest.clone(),
    }
}

/// A proof that is kept and holds, for an image that the engine has.
async fn kept(root: &Root, trust: &Trust, image: &ImageRef) -> Result<Option<(Verified, Local)>> {
    here(root, signatures::verified(root, trust, image)?).await
}

/// If the engine has that very image.
async fn here(root: &Root, kept: Option<(Verified, Digest)>) -> Result<Option<(Verified, Local)>> {
    let Some((verified, id)) = kept else {
        return Ok(None);
    };
    let local = pull::local(root, id.as_str()).await?;
    let local = local.filter(|local| local.id == id.as_str());
    Ok(local.map(|local| (verified, local)))
}

async fn sandbox(root: &Root, trust: &Trust, word: &str) -> Result<Image> {
    let app = sandbox_app(word)
        .ok_or_else(|| refuse(format_args!("{word:?} is not sandbox/APP[:TAG]")))?;
    trust.sandbox_allowed(word)?;
    let local = pull::local(root, word).await?;
    let local = local.ok_or_else(|| {
        refuse(format_args!(
            "{word}: no such image; load or build it first"
        ))
    })?;
    Ok(Image {
        identity: Identity::Sandbox { app: app.into() },
        id: local.id,
        user: local.user,
        verified: None,
    })
}

/// The container `name`, if edge-docker made it and what it made still holds:
/// its image is verified again. Gives its Id.
///
/// # Errors
/// Refused, or the engine's.
pub async fn held(root: &Root, trust: &Trust, verb: &str, name: &str) -> Result<String> {
    let found = made(root, verb, name).await?;
    let labels = &found["Config"]["Labels"];
    if labels[label::SANDBOX].is_string() {
        trust.sandbox_allowed(name)?;
    } else {
        let digest = labels[label::DIGEST].as_str().unwrap_or_default();
        let image = pull::ours(trust, &format!("{}@{digest}", trust.repository))?;
        let kept = kept(root, trust, &image).await?;
        let same = |(verified, local): &(Verified, Local)| {
            found["Image"] == local.id.as_str()
                && labels[label::APP] == verified.annotations.app.as_str()
        };
        if !kept.is_some_and(|k| same(&k)) {
            return Err(refuse(format_args!(
                "{verb} {name} is refused: its image is not verified; run it anew"
            )));
        }
    }
    Ok(found["Id"].as_str().unwrap_or_default().to_string())
}

/// What the engine says of a container that edge-docker made.
///
/// # Errors
/// Refused if another made it, or the engine's.
pub async fn made(root: &Root, verb: &str, name: &str) -> Result<Value> {
    let name = values::name(verb, name)?;
    let found = engine::ask(root, Method::GET, &format!("/containers/{name}/json"), None).await?;
    let labels = &found["Config"]["Labels"];
    if labels[label::APP].is_string() || labels[label::SANDBOX].is_string() {
        return Ok(found);
    }
    Err(refuse(format_args!(
        "{verb} {name} is refused: edge-docker did not make it"
    )))
}
