//! `pull`: resolve once, verify, pull by digest, compare, cache the signature.

use anyhow::Result;
use edge_common::{Root, log};
use edge_docker_policy::cli::args::Parsed;
use edge_docker_policy::refusal::refuse;
use edge_signature::{Credentials, Error, ImageRef, Proof, Registry, Verified};
use hyper::Method;

use super::progress::{Downloads, print_progress};
use super::{failure, login, release_numbers, signatures};
use crate::engine::client;
use crate::trust::{self, Trust};

/// Digits of a key that are shown.
const SHOWN_KEY_DIGITS: usize = 16;

/// Options of a pull.
struct Options {
    /// No progress is printed.
    quiet: bool,
    /// A version older than one accepted before is accepted.
    allow_downgrade: bool,
    /// Credentials for the registry.
    login: Option<Credentials>,
}

/// `pull [-q] [--allow-downgrade] [--username NAME --password-stdin] IMAGE`; such
/// credentials are for this pull and are kept nowhere.
pub(crate) async fn run(root: &Root, parsed: &Parsed<'_>) -> Result<()> {
    let [reference] = parsed.arguments[..] else {
        return Err(refuse("pull takes one image"));
    };
    let trust = trust::load(root)?;
    let image = require_repository(&trust, reference)?;
    let given = login::given(parsed)?;
    let options = Options {
        quiet: parsed.is_set("quiet"),
        allow_downgrade: parsed.is_set("allow-downgrade"),
        login: given.or_else(|| login::credentials(root, image.repository.host())),
    };
    let (verified, _) = pull_with(root, &trust, &image, &options).await?;
    println!("{}@{}", image.repository, verified.digest);
    Ok(())
}

/// Parses an image reference; refuses every repository but the one.
pub(crate) fn require_repository(trust: &Trust, reference: &str) -> Result<ImageRef> {
    let repository = &trust.repository;
    let image = reference
        .parse::<ImageRef>()
        .map_err(|e| refuse(format_args!("{e}; only images of {repository} are taken")))?;
    if image.repository != *repository {
        return Err(refuse(format_args!(
            "{reference} is refused: only images of {repository} are taken"
        )));
    }
    Ok(image)
}

/// Verifies, pulls, compares and caches the signature, with the credentials that `login`
/// kept; returns the signature and the engine's image.
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
    let (app, number) = (&annotations.app, annotations.serial);
    release_numbers::judge(root, app, number, options.allow_downgrade)?;
    log::info(format_args!(
        "{image}: signed as {app} {}, by key {}",
        annotations.version,
        &verified.signer[..SHOWN_KEY_DIGITS]
    ));
    let local = fetch(root, image, &proof, options).await?;
    signatures::keep(root, image, &verified.digest, &proof)?;
    // Last: a pull that is interrupted does not lock out the version that is here.
    release_numbers::accept(root, app, number, options.allow_downgrade)?;
    if let (Some(tag), None) = (&image.tag, &image.digest) {
        let (id, repository) = (&local.id, &image.repository);
        let path = format!("/images/{id}/tag?repo={repository}&tag={tag}");
        client::request(root, Method::POST, &path, None).await?;
    }
    Ok((verified, local))
}

/// Has the engine fetch exactly the image that was verified, and compares.
async fn fetch(root: &Root, image: &ImageRef, proof: &Proof, options: &Options) -> Result<Local> {
    let id = proof.image_id().map_err(failure::of)?;
    // By digest: a tag could name another image by now.
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
    local
        .filter(|local| local.id == id.as_str())
        .ok_or_else(|| {
            refuse(format_args!(
                "{image}: the engine holds other content than what was signed"
            ))
        })
}

/// Resolves and verifies an image; nothing is pulled.
pub(super) async fn verify(
    root: &Root,
    trust: &Trust,
    image: &ImageRef,
) -> Result<(Verified, Proof)> {
    let login = login::credentials(root, image.repository.host());
    prove(trust, image, login).await.map_err(failure::of)
}

async fn prove(
    trust: &Trust,
    image: &ImageRef,
    login: Option<Credentials>,
) -> Result<(Verified, Proof), Error> {
    let registry = Registry::new(&trust.repository, login, &[])?;
    registry.prove(&trust.keys, image).await
}

/// Image that the engine has.
pub(crate) struct Local {
    /// ID of the image.
    pub(super) id: String,
    /// User that the image names, or empty.
    pub(super) user: String,
}

/// Returns the engine's image of a name or ID, if it has one.
pub(crate) async fn local(root: &Root, name: &str) -> Result<Option<Local>> {
    let found = client::find(root, &format!("/images/{name}/json")).await?;
    Ok(found.and_then(|image| {
        Some(Local {
            id: image["Id"].as_str()?.into(),
            user: image["Config"]["User"].as_str().unwrap_or_default().into(),
        })
    }))
}
