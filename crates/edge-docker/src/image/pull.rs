//! `pull`: resolves the tag once, verifies the manifest with that digest, lets the engine
//! fetch this digest, compares the image that it has then, and caches the signature.
//!
//! A verified tag is worth nothing: it may name other content a moment later.

use anyhow::Result;
use edge_common::{Root, log};
use edge_docker_policy::cli::args::Parsed;
use edge_docker_policy::refusal::refuse;
use edge_signature::{CachedSignature, Credentials, Error, ImageRef, Registry, Verified};
use hyper::Method;

use super::progress::{Downloads, print_progress};
use super::{failure, login, release_numbers, signatures};
use crate::engine::client;
use crate::trust::{self, Trust};

/// Digits of the signer's key that are logged.
const SHOWN_KEY_DIGITS: usize = 16;

/// Options of a pull.
struct Options {
    /// Print no progress.
    quiet: bool,
    /// Accept a release number below the highest accepted one.
    allow_downgrade: bool,
    /// Credentials for the registry.
    login: Option<Credentials>,
}

/// Carries out `pull [-q] [--allow-downgrade] [--username NAME --password-stdin] IMAGE`.
/// Credentials of the command line are for this pull and are stored nowhere: edge-app
/// passes those of the developer, who must not leave them on a device.
pub(crate) async fn run(root: &Root, parsed: &Parsed<'_>) -> Result<()> {
    let [reference] = parsed.arguments[..] else {
        return Err(refuse("pull takes one image"));
    };
    let trust = trust::load(root)?;
    let image = require_repository(&trust, reference)?;
    let login = login::from_command_line(parsed)?;
    let options = Options {
        quiet: parsed.is_set("quiet"),
        allow_downgrade: parsed.is_set("allow-downgrade"),
        login: login.or_else(|| login::credentials(root, image.repository.host())),
    };
    let (verified, _) = pull_with(root, &trust, &image, &options).await?;
    println!("{}@{}", image.repository, verified.digest);
    Ok(())
}

/// Parses a reference to an image of the one trusted repository; refuses others.
pub(crate) fn require_repository(trust: &Trust, reference: &str) -> Result<ImageRef> {
    let repository = &trust.repository;
    let image = reference.parse::<ImageRef>().map_err(|e| {
        refuse(format_args!(
            "{e}; only images of {repository} are permitted"
        ))
    })?;
    // Parsed and compared, not by prefix: hosts may look alike, and a name without a host
    // is one of the public hub.
    if image.repository != *repository {
        return Err(refuse(format_args!(
            "{reference} is refused: only images of {repository} are permitted"
        )));
    }
    Ok(image)
}

/// Pulls an image with the credentials that `login` stored; returns the content of its
/// signature and the engine's image.
pub(super) async fn pull(
    root: &Root,
    trust: &Trust,
    image: &ImageRef,
    allow_downgrade: bool,
) -> Result<(Verified, Local)> {
    let options = Options {
        quiet: true,
        allow_downgrade,
        login: login::credentials(root, image.repository.host()),
    };
    pull_with(root, trust, image, &options).await
}

async fn pull_with(
    root: &Root,
    trust: &Trust,
    image: &ImageRef,
    options: &Options,
) -> Result<(Verified, Local)> {
    let proved = prove(trust, image, options.login.clone()).await;
    let (verified, proof) = proved.map_err(failure::of)?;
    let annotations = &verified.annotations;
    let (app, number) = (&annotations.app, annotations.release_number);
    // Before the download, which may take minutes and fill the disk.
    release_numbers::check(root, app, number, options.allow_downgrade)?;
    log::info(format_args!(
        "{image}: signed as {app} {}, by key {}",
        annotations.version,
        &verified.signer[..SHOWN_KEY_DIGITS]
    ));
    let local = fetch(root, image, &proof, options).await?;
    signatures::store(root, image, &verified.digest, &proof)?;
    // Last: a pull that is interrupted must not lock out the version that is here.
    release_numbers::accept(root, app, number, options.allow_downgrade)?;
    // The engine gives no tag to an image that was pulled by digest, but people look for
    // it in `docker images`.
    if let (Some(tag), None) = (&image.tag, &image.digest) {
        let (id, repository) = (&local.id, &image.repository);
        let path = format!("/images/{id}/tag?repo={repository}&tag={tag}");
        client::request(root, Method::POST, &path, None).await?;
    }
    Ok((verified, local))
}

/// Lets the engine fetch the image that was verified, and compares the image ID.
async fn fetch(
    root: &Root,
    image: &ImageRef,
    proof: &CachedSignature,
    options: &Options,
) -> Result<Local> {
    let id = proof.image_id().map_err(failure::of)?;
    // Of an index, the digest of the image for this platform: the engine would choose by
    // rules of its own.
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
    // The image ID proves what will run; the request for the right digest does not.
    local
        .filter(|local| local.id == id.as_str())
        .ok_or_else(|| {
            refuse(format_args!(
                "{image} is refused: the image of the engine is not the signed one"
            ))
        })
}

/// Resolves and verifies an image at the registry; pulls nothing.
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

/// Image that the engine has.
pub(crate) struct Local {
    /// Image ID: the digest of the configuration, which names every layer.
    pub(super) id: String,
    /// User in the image's configuration, or empty.
    pub(super) user: String,
}

/// Returns the engine's image of that name or ID, if it has one.
pub(crate) async fn local(root: &Root, name: &str) -> Result<Option<Local>> {
    let found = client::find(root, &format!("/images/{name}/json")).await?;
    Ok(found.and_then(|image| {
        Some(Local {
            id: image["Id"].as_str()?.into(),
            user: image["Config"]["User"].as_str().unwrap_or_default().into(),
        })
    }))
}
