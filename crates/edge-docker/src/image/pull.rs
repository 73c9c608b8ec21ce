//! `pull`: resolve once, verify, pull by digest, compare, keep the proof.

use anyhow::Result;
use edge_common::{Root, log};
use edge_signature::{Credentials, Error, ImageRef, Proof, Registry, Verified};
use hyper::Method;

use edge_docker_policy::cli::args::{self, flag, value};
use edge_docker_policy::refusal::refuse;

use super::failure::failure;
use super::progress::{Downloads, print_progress};
use super::{login, release_numbers, signatures};
use crate::engine::client as engine;
use crate::trust::{self, Trust};

/// How a pull is done.
pub struct How {
    /// Prints no progress.
    pub quiet: bool,
    /// Takes a version that is older than one accepted before.
    pub allow_downgrade: bool,
    /// Logs in with these.
    pub login: Option<Credentials>,
}

/// `pull [-q] [--allow-downgrade] [--username NAME --password-stdin] IMAGE`;
/// such credentials are for this pull and are kept nowhere.
///
/// # Errors
/// Refused (125), cannot tell (124), or the engine's.
pub async fn command(root: &Root, words: &[&str]) -> Result<()> {
    let known = [
        flag('q', "quiet"),
        flag(' ', "allow-downgrade"),
        value('u', "username"),
        flag(' ', "password-stdin"),
    ];
    let parsed = args::parse(&known, words, true, |o| format!("pull takes no {o}"))?;
    let [word] = parsed.words[..] else {
        return Err(refuse("pull takes one image"));
    };
    let said = |name| {
        let last = parsed.options.iter().rev().find(|(o, _)| *o == name);
        last.is_some_and(|(_, value)| *value == "true")
    };
    let trust = trust::load(root)?;
    let image = ours(&trust, word)?;
    let given = login::given(&parsed)?;
    let how = How {
        quiet: said("quiet"),
        allow_downgrade: said("allow-downgrade"),
        login: given.or_else(|| login::credentials(root, image.repository.host())),
    };
    let (verified, _) = pull_as(root, &trust, &image, &how).await?;
    println!("{}@{}", image.repository, verified.digest);
    Ok(())
}

/// An image of the one repository, else refused.
///
/// # Errors
/// Refused, and what would do.
pub fn ours(trust: &Trust, word: &str) -> Result<ImageRef> {
    let wanted = &trust.repository;
    let image = word
        .parse::<ImageRef>()
        .map_err(|e| refuse(format_args!("{e}; only images of {wanted} are taken")))?;
    if image.repository != *wanted {
        return Err(refuse(format_args!(
            "{word} is refused: only images of {wanted} are taken"
        )));
    }
    Ok(image)
}

/// Verifies, pulls, compares and keeps the proof; gives the engine's image too.
/// Credentials are those that `login` kept.
///
/// # Errors
/// As [`command`].
pub async fn pull(
    root: &Root,
    trust: &Trust,
    image: &ImageRef,
    allow_downgrade: bool,
) -> Result<(Verified, Local)> {
    let how = How {
        quiet: true,
        allow_downgrade,
        login: login::credentials(root, image.repository.host()),
    };
    pull_as(root, trust, image, &how).await
}

async fn pull_as(
    root: &Root,
    trust: &Trust,
    image: &ImageRef,
    how: &How,
) -> Result<(Verified, Local)> {
    let proved = ask(trust, image, how.login.clone()).await;
    let (verified, proof) = proved.map_err(failure)?;
    let app = &verified.annotations;
    release_numbers::judge(root, &app.app, app.serial, how.allow_downgrade)?;
    log::info(format_args!(
        "{image}: signed as {} {}, by key {}",
        app.app,
        app.version,
        &verified.signer[..16]
    ));
    let local = fetch(root, image, &proof, how).await?;
    signatures::keep(root, image, &verified.digest, &proof)?;
    // Last: a pull that is cut off does not lock out the version that is here.
    release_numbers::check(root, &app.app, app.serial, how.allow_downgrade)?;
    if let (Some(tag), None) = (&image.tag, &image.digest) {
        let path = format!(
            "/images/{}/tag?repo={}&tag={tag}",
            local.id, image.repository
        );
        engine::ask(root, Method::POST, &path, None).await?;
    }
    Ok((verified, local))
}

/// Lets the engine fetch exactly what the proof is about, and compares.
async fn fetch(root: &Root, image: &ImageRef, proof: &Proof, how: &How) -> Result<Local> {
    let id = proof.image_id().map_err(failure)?;
    let digest = proof.image().map_err(failure)?.digest;
    let repository = &image.repository;
    let path = format!("/images/create?fromImage={repository}&tag={digest}");
    let auth = how.login.as_ref();
    let auth = auth.map(|l| login::encode(l, repository.host()));
    let mut downloads = Downloads::default();
    engine::follow(root, &path, auth.as_deref(), |line| {
        print_progress(line, how.quiet);
        if let Some((bytes, total)) = downloads.told(line).filter(|_| !how.quiet) {
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

/// Resolves and verifies; nothing is pulled.
///
/// # Errors
/// As [`command`].
pub async fn check(root: &Root, trust: &Trust, image: &ImageRef) -> Result<(Verified, Proof)> {
    let login = login::credentials(root, image.repository.host());
    ask(trust, image, login).await.map_err(failure)
}

async fn ask(
    trust: &Trust,
    image: &ImageRef,
    login: Option<Credentials>,
) -> Result<(Verified, Proof), Error> {
    let registry = Registry::new(&trust.repository, login, &[])?;
    registry.prove(&trust.keys, image).await
}

/// An image that the engine has.
pub struct Local {
    /// Its Id.
    pub id: String,
    /// The user that it names, or empty.
    pub user: String,
}

/// The engine's image; nothing if it has none of that name.
///
/// # Errors
/// No engine.
pub async fn local(root: &Root, name: &str) -> Result<Option<Local>> {
    match engine::ask(root, Method::GET, &format!("/images/{name}/json"), None).await {
        Ok(value) => Ok(value["Id"].as_str().map(|id| Local {
            id: id.into(),
            user: value["Config"]["User"].as_str().unwrap_or_default().into(),
        })),
        Err(error) if error.to_string().contains("(404)") => Ok(None),
        Err(error) => Err(error),
    }
}

/// `push IMAGE`: to the one repository and nowhere else.
///
/// # Errors
/// Refused, or the engine's.
pub async fn push(root: &Root, words: &[&str]) -> Result<()> {
    let parsed = args::parse(&[flag('q', "quiet")], words, true, |o| {
        format!("push takes no {o}")
    })?;
    let [word] = parsed.words[..] else {
        return Err(refuse("push takes one image"));
    };
    let trust = trust::load(root)?;
    let image = ours(&trust, word)?;
    let Some(tag) = image.tag.filter(|_| image.digest.is_none()) else {
        return Err(refuse("push takes REPOSITORY:TAG"));
    };
    let auth = login::header(root, image.repository.host()).unwrap_or_else(|| "e30=".into());
    let path = format!("/images/{}/push?tag={tag}", image.repository);
    engine::follow(root, &path, Some(&auth), |line| print_progress(line, false)).await
}
