//! Identification of container images: by the app that the verified signature names, or
//! as a sandbox app.
//!
//! Tags and labels are not used: a tag such as `foo-evil-1.0` is ambiguous, and labels
//! are written by the author of the Dockerfile or inherited from the base image.

use anyhow::Result;
use edge_common::Root;
use edge_common::contract::label;
use edge_docker_policy::cli::values;
use edge_docker_policy::identity::{Identity, sandbox_app};
use edge_docker_policy::refusal::refuse;
use edge_docker_policy::run_spec::RunSpec;
use edge_signature::{Digest, ImageRef, Verified, reserved_suffix};
use hyper::Method;
use serde_json::Value;

use super::pull::{self, Local};
use super::signatures::{self, Cached};
use super::{failure, release_numbers};
use crate::engine::client;
use crate::trust::{self, Trust};

/// Container image that may run, with its verified identity.
pub(crate) struct Image {
    /// App, version, grants and digest of a signed image, or the name of a sandbox app.
    pub(crate) identity: Identity,
    /// Image ID, from which the container is created: the name may refer to another image
    /// by then.
    pub(crate) id: String,
    /// User from the configuration of the image; empty if none is set or known.
    pub(crate) user: String,
    /// Content of the verified signature; `None` for a sandbox image.
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

/// Identifies the image of a new container and checks its release number. Pulls a signed
/// image if the engine does not have it, or if its cached signature is damaged or
/// invalid.
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
    let (damage, cached) = match signatures::verified(root, trust, &image)? {
        // A pull replaces the damaged signature. Otherwise anybody who damages the cache
        // could keep the app from starting until somebody pulls the image by hand.
        Cached::Damaged(damage) => (Some(damage), None),
        cached => (None, with_local(root, cached.valid()?).await?),
    };
    let (verified, local) = match cached {
        Some(cached) => cached,
        None => {
            let pulled = pull::pull(root, trust, &image, allow_downgrade).await;
            pulled.map_err(|e| failure::after_damage(damage, e))?
        }
    };
    // Checked even if the image was not pulled now: a higher number may have been
    // accepted since.
    release_numbers::check(root, &verified, allow_downgrade)?;
    Ok(Image::signed(verified, local))
}

/// Refuses an image that would have to be pulled, because the engine or the cache of
/// signatures does not have it (`run --pull never`).
pub(crate) async fn require_local(root: &Root, trust: &Trust, reference: &str) -> Result<()> {
    if reference.starts_with("sandbox/") {
        return Ok(());
    }
    let image = pull::require_repository(trust, reference)?;
    match cached(root, trust, &image).await? {
        Some(_) => Ok(()),
        None => Err(failure::no_such_image(reference)),
    }
}

/// Identifies an image for `explain` without pulling it. If no signature is cached, the
/// image is verified at the registry.
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
            // Unknown: the user is in the configuration of the image, which was not
            // pulled.
            let user = String::new();
            (verified, Local { id, user })
        }
    };
    Ok(Image::signed(verified, local))
}

/// Returns the identity of a signed image, from the annotations and the digest of its
/// verified signature.
pub(crate) fn signed_identity(verified: &Verified) -> Identity {
    let annotations = verified.annotations.clone();
    // A missing or invalid specification accepts nothing; `run APP-VERSION` names the
    // mistake.
    let spec = verified.run.as_deref().map(RunSpec::parse);
    let spec = spec.and_then(Result::ok);
    let root = spec.filter(|spec| spec.app == annotations.app);
    Identity::Signed {
        app: annotations.app,
        version: annotations.version,
        grants: annotations.grants,
        root: root.map(|spec| spec.root).unwrap_or_default(),
        digest: verified.digest.clone(),
    }
}

/// Verifies the cached signature of an image. Returns its content and the engine's image,
/// or `None` if either of them is absent.
async fn cached(root: &Root, trust: &Trust, image: &ImageRef) -> Result<Option<(Verified, Local)>> {
    let cached = signatures::verified(root, trust, image)?.valid()?;
    with_local(root, cached).await
}

/// Adds the engine's image to the content of a verified signature; `None` if the engine
/// does not have the signed image.
async fn with_local(
    root: &Root,
    cached: Option<(Verified, Digest)>,
) -> Result<Option<(Verified, Local)>> {
    let Some((verified, id)) = cached else {
        return Ok(None);
    };
    let local = pull::local(root, id.as_str()).await?;
    // The engine also accepts names and shortened IDs in place of an image ID.
    let local = local.filter(|local| local.id == id.as_str());
    Ok(local.map(|local| (verified, local)))
}

async fn sandbox(root: &Root, trust: &Trust, reference: &str) -> Result<Image> {
    let app = sandbox_app(reference).ok_or_else(|| {
        match reserved_suffix(reference.split(':').next().unwrap_or_default()) {
            Some(suffix) => refuse(format_args!(
                "{reference} is refused: names of apps ending in {suffix} are reserved"
            )),
            None => refuse(format_args!("{reference:?} is not sandbox/APP[:TAG]")),
        }
    })?;
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

/// Container that may be started, or in which a command may be executed.
pub(crate) struct Judged {
    /// Container ID, on which the caller has to act: the name could refer to another
    /// container by then.
    pub(crate) id: String,
    /// Content of the verified signature; `None` for a sandbox app.
    pub(crate) verified: Option<Verified>,
    /// The engine's `inspect` response.
    pub(crate) found: Value,
}

/// Refuses a container that edge-docker did not create, whose image is no longer
/// verified, or whose release number is too low: a key may have been withdrawn since,
/// sandboxes forbidden, or a newer version accepted.
pub(crate) async fn verified(root: &Root, trust: &Trust, verb: &str, name: &str) -> Result<Judged> {
    let found = created(root, verb, name).await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let (id, image) = (text(&found["Id"]), text(&found["Image"]));
    let labels = &found["Config"]["Labels"];
    if is_set(&labels[label::SANDBOX]) {
        trust.sandbox_allowed(name)?;
        let verified = None;
        return Ok(Judged {
            id,
            verified,
            found,
        });
    }
    let cached = signatures::of_container(root, trust, labels)?;
    // The labels only locate the signature; image ID and app have to agree with its
    // content. The engine need not have the image any more: a container has its own
    // reference to the layers.
    let is_same = |(verified, signed): &(Verified, Digest)| {
        image == signed.as_str() && labels[label::APP] == verified.annotations.app.as_str()
    };
    let (verified, _) = cached.filter(is_same).ok_or_else(|| {
        refuse(format_args!(
            "{verb} {name} is refused: its image is not verified; create it again with \
             edge-docker run"
        ))
    })?;
    release_numbers::check_container(root, &verified, &id)?;
    let verified = Some(verified);
    Ok(Judged {
        id,
        verified,
        found,
    })
}

impl Judged {
    /// Returns the signed run specification that the container was created from; `None` if
    /// it was created from options.
    pub(crate) fn spec(&self) -> Result<Option<RunSpec>> {
        let verified = self.verified.as_ref();
        verified.map_or(Ok(None), |verified| spec_of(verified, &self.found))
    }
}

/// Returns the signed run specification of a container, from its `inspect` response;
/// `None` if it was created from options, or its signature is not cached.
pub(crate) fn container_spec(root: &Root, found: &Value) -> Result<Option<RunSpec>> {
    let labels = &found["Config"]["Labels"];
    if !is_set(&labels[label::RUN]) || !is_set(&labels[label::DIGEST]) {
        return Ok(None);
    }
    let cached = signatures::of_container(root, &trust::load(root)?, labels)?;
    // The labels only locate the signature; the image ID has to agree with its content.
    match cached.filter(|(_, id)| found["Image"] == id.as_str()) {
        Some((verified, _)) => spec_of(&verified, found),
        None => Ok(None),
    }
}

/// Returns the run specification of a verified signature, if the label of the container
/// says that it was created from this one.
fn spec_of(verified: &Verified, found: &Value) -> Result<Option<RunSpec>> {
    let signed = verified.annotations.run.as_ref().map(Digest::as_str);
    let label = found["Config"]["Labels"][label::RUN].as_str();
    match &verified.run {
        Some(bytes) if label == signed => RunSpec::parse(bytes).map(Some),
        _ => Ok(None),
    }
}

/// Returns the `inspect` response of a container. Refuses a container that edge-docker
/// did not create, because the policy has not judged its options.
pub(crate) async fn created(root: &Root, verb: &str, name: &str) -> Result<Value> {
    let name = values::name(verb, name)?;
    let path = format!("/containers/{name}/json");
    let found = client::request(root, Method::GET, &path, None).await?;
    let labels = &found["Config"]["Labels"];
    // Only edge-docker can set these labels: a create request needs a ticket, and
    // `--label` refuses the prefix `edge.`.
    if is_set(&labels[label::APP]) || is_set(&labels[label::SANDBOX]) {
        return Ok(found);
    }
    Err(refuse(format_args!(
        "{verb} {name} is refused: edge-docker did not create it"
    )))
}

/// Returns whether a label applies: one that does not is empty.
fn is_set(label: &Value) -> bool {
    label.as_str().is_some_and(|value| !value.is_empty())
}
