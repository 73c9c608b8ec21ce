//! `pull`: pulls a signed image of the trusted repository.
//!
//! The tag is resolved once, and the signature of this digest is verified. The engine
//! pulls the digest, its image ID is compared with the signed one, and the signature is
//! cached. A tag alone cannot be verified, because it may refer to other content a moment
//! later.

use anyhow::{Context, Result};
use edge_common::{Root, log};
use edge_docker_policy::cli::args::Parsed;
use edge_docker_policy::refusal::refuse;
use edge_signature::{
    CachedSignature, Credentials, Digest, Error, ImageRef, Registry, SHOWN_KEY_DIGITS, Select,
    Verified,
};
use hyper::Method;

use super::progress::{Downloads, print_progress};
use super::signatures::Cached;
use super::{failure, login, release_numbers, signatures};
use crate::break_glass;
use crate::engine::client;
use crate::ledger;
use crate::set::{self, Named};
use crate::trust::{self, Trust};

/// Options of `pull`, and of the pull that `run` and other commands start when needed.
struct Options {
    /// `--quiet`: no progress is printed.
    quiet: bool,
    /// `--allow-downgrade`: a release number below the highest accepted one is accepted
    /// too.
    allow_downgrade: bool,
    /// `--set`: version that a release set names, which may have a lower release number.
    named: Option<Named>,
    /// Credentials for the registry, from the command line or from `login`.
    login: Option<Credentials>,
}

/// Carries out `pull [-q] [--allow-downgrade] [--username NAME --password-stdin] IMAGE`, or
/// with `--set HEX` in the place of `--allow-downgrade`, where IMAGE is APP-VERSION.
/// Credentials of the command line are used only for this pull and are not stored:
/// edge-app passes the credentials of the developer, which must not stay on a device.
///
/// `prepare` is called with the ID of the verified image before the engine pulls it. Returns
/// that ID.
pub(crate) async fn run(
    root: &Root,
    parsed: &Parsed<'_>,
    prepare: impl AsyncFnOnce(&Digest) -> Result<()>,
) -> Result<Digest> {
    let [reference] = parsed.arguments[..] else {
        return Err(refuse("pull takes one image"));
    };
    let trust = trust::load(root)?;
    let named = match parsed.last("set") {
        Some(_) if parsed.is_set("allow-downgrade") => {
            return Err(refuse("--set and --allow-downgrade exclude each other"));
        }
        Some(set) => Some(Named::find(root, set, reference)?),
        None => None,
    };
    let reference = match &named {
        Some(named) => &format!("{}:{}", trust.repository, named.image),
        None => reference,
    };
    let image = require_repository(&trust, reference)?;
    let login = login::from_command_line(parsed)?;
    let options = Options {
        quiet: parsed.is_set("quiet"),
        allow_downgrade: parsed.is_set("allow-downgrade"),
        named,
        login: login.or_else(|| login::credentials(root, image.repository.host())),
    };
    let (verified, local) = pull_with(root, &trust, &image, &options, prepare).await?;
    println!("{}@{}", image.repository, verified.digest);
    local.id.parse().context("the engine's image ID")
}

/// Returns the ID of an image that `pull --set` names, if the device has it with its
/// signatures: a bundle may have brought it, and then there may be no network.
pub(crate) async fn kept(root: &Root, parsed: &Parsed<'_>) -> Result<Option<Digest>> {
    let ([reference], Some(set), false) = (
        &parsed.arguments[..],
        parsed.last("set"),
        parsed.is_set("allow-downgrade"),
    ) else {
        return Ok(None);
    };
    let trust = trust::load(root)?;
    let named = Named::find(root, set, reference)?;
    let image = require_repository(&trust, &format!("{}:{}", trust.repository, named.image))?;
    let Cached::Valid(verified, id) = signatures::verified(root, &trust, &image)? else {
        return Ok(None);
    };
    let found = local(root, id.as_str()).await?;
    if found.is_none_or(|local| local.id != id.as_str()) {
        return Ok(None);
    }
    named.require_same(&verified)?;
    release_numbers::check(root, &verified, true)?;
    Ok(Some(id))
}

/// Parses an image reference; refuses an image of any other than the trusted repository.
pub(crate) fn require_repository(trust: &Trust, reference: &str) -> Result<ImageRef> {
    let repository = &trust.repository;
    let image = reference.parse::<ImageRef>().map_err(|e| {
        refuse(format_args!(
            "{e}; only images of {repository} are permitted"
        ))
    })?;
    // The parsed repositories are compared, not prefixes: host names may look alike, and
    // a name without a host refers to Docker Hub.
    if image.repository != *repository {
        return Err(refuse(format_args!(
            "{reference} is refused: only images of {repository} are permitted"
        )));
    }
    Ok(image)
}

/// Pulls an image with the stored credentials. Returns the content of its signature and
/// the engine's image.
pub(super) async fn pull(
    root: &Root,
    trust: &Trust,
    image: &ImageRef,
    allow_downgrade: bool,
) -> Result<(Verified, Local)> {
    let options = Options {
        quiet: true,
        allow_downgrade,
        named: None,
        login: login::credentials(root, image.repository.host()),
    };
    pull_with(root, trust, image, &options, async |_| Ok(())).await
}

async fn pull_with(
    root: &Root,
    trust: &Trust,
    image: &ImageRef,
    options: &Options,
    prepare: impl AsyncFnOnce(&Digest) -> Result<()>,
) -> Result<(Verified, Local)> {
    let proved = prove(trust, image, options.login.clone()).await;
    let proved = proved.map_err(failure::of)?;
    let named = options.named.as_ref();
    let (verified, proof) = judge(root, trust, image, named, options.allow_downgrade, proved)?;
    prepare(&proof.image_id().map_err(failure::of)?).await?;
    let local = fetch(root, image, &proof, options).await?;
    signatures::store(root, image, &verified.digest, &proof)?;
    if options.allow_downgrade {
        let annotations = &verified.annotations;
        release_numbers::allow(root, &annotations.app, annotations.release_number)?;
    }
    // The engine sets no tag on an image that was pulled by digest, but people expect the
    // tag in `docker images`.
    if let (Some(tag), None) = (&image.tag, &image.digest) {
        let (id, repository) = (&local.id, &image.repository);
        let path = format!("/images/{id}/tag?repo={repository}&tag={tag}");
        client::request(root, Method::POST, &path, None).await?;
    }
    Ok((verified, local))
}

/// Refuses a proved image that this device may not have, and records the others in the
/// ledger. Returns the signature that counts, and the proof with the signatures that were
/// cached before.
pub(super) fn judge(
    root: &Root,
    trust: &Trust,
    image: &ImageRef,
    named: Option<&Named>,
    allow_downgrade: bool,
    (verified, proof): (Verified, CachedSignature),
) -> Result<(Verified, CachedSignature)> {
    let proof = signatures::merge(root, trust, &verified, proof);
    // The merged one may contain a newer signature of the same version.
    let (keys, select) = (&trust.keys, Select::of(image));
    let verified = proof.verify_for(keys, &trust.repository, select);
    let verified = verified.map_err(failure::of)?;
    let annotations = &verified.annotations;
    let app = &annotations.app;
    break_glass::require_app(app)?;
    // Checked before the download, which may take minutes and fill the disk.
    let child = proof.image().map_err(failure::of)?.digest;
    set::require_not_revoked(root, &verified, [verified.digest.clone(), child])?;
    if let Some(named) = named {
        named.require_same(&verified)?;
    }
    let allow = allow_downgrade || named.is_some();
    release_numbers::check(root, &verified, allow)?;
    log::info(format_args!(
        "{image}: signed as {app} {}, by key {}",
        annotations.version,
        &verified.signer[..SHOWN_KEY_DIGITS]
    ));
    ledger::record_pull(root, &image.to_string(), &verified)?;
    Ok((verified, proof))
}

/// Requests the engine to pull the verified digest, and refuses the image if its ID is
/// not the signed one.
async fn fetch(
    root: &Root,
    image: &ImageRef,
    proof: &CachedSignature,
    options: &Options,
) -> Result<Local> {
    let id = proof.image_id().map_err(failure::of)?;
    // For an index, this is the digest of the image for this platform; the engine would
    // choose one by its own rules.
    let digest = proof.image().map_err(failure::of)?.digest;
    let repository = &image.repository;
    let path = format!("/images/create?fromImage={repository}&tag={digest}");
    let auth = options.login.as_ref();
    let auth = auth.map(|l| login::encode(l, repository.host()));
    let mut downloads = Downloads::default();
    client::follow(root, &path, auth.as_deref(), |line| {
        print_progress(line, options.quiet);
        if let Some((bytes, total)) = downloads.update(line).filter(|_| !options.quiet) {
            println!("downloading {bytes} of {total}");
        }
    })
    .await?;
    let local = local(root, &format!("{repository}@{digest}")).await?;
    // Only the image ID proves which content will run; the digest in the request does
    // not.
    local
        .filter(|local| local.id == id.as_str())
        .ok_or_else(|| {
            refuse(format_args!(
                "{image} is refused: the image of the engine is not the signed one"
            ))
        })
}

/// Resolves and verifies an image at the registry with the stored credentials, without
/// pulling it.
pub(super) async fn verify(
    root: &Root,
    trust: &Trust,
    image: &ImageRef,
) -> Result<(Verified, CachedSignature)> {
    let login = login::credentials(root, image.repository.host());
    prove(trust, image, login).await.map_err(failure::of)
}

async fn prove(
    trust: &Trust,
    image: &ImageRef,
    login: Option<Credentials>,
) -> Result<(Verified, CachedSignature), Error> {
    let registry = Registry::new(&trust.repository, login, &[])?;
    registry.verify(&trust.keys, image).await
}

/// Container image in the engine's storage.
pub(crate) struct Local {
    /// Image ID: the digest of the configuration, which names every layer.
    pub(super) id: String,
    /// User from the configuration of the image, or empty.
    pub(super) user: String,
}

impl Local {
    /// Returns the image ID.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

/// Returns the engine's image with a name or ID, or `None` if it has no such image.
pub(crate) async fn local(root: &Root, name: &str) -> Result<Option<Local>> {
    let found = client::find(root, &format!("/images/{name}/json")).await?;
    Ok(found.and_then(|image| {
        Some(Local {
            id: image["Id"].as_str()?.into(),
            user: image["Config"]["User"].as_str().unwrap_or_default().into(),
        })
    }))
}
