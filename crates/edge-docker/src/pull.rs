//! `pull`: resolve once, verify, pull by digest, compare, keep the proof.

use anyhow::Result;
use edge_common::exit::Failure;
use edge_common::{Root, log};
use edge_signature::{Digest, Error, ImageRef, Proof, Registry, Verified, verify};
use hyper::Method;
use serde_json::Value;

use crate::grammar::{self, flag};
use crate::trust::{self, Trust};
use crate::{CANNOT_TELL, engine, login, proofs, refuse};

/// `pull [-q] IMAGE`.
///
/// # Errors
/// Refused (125), cannot tell (124), or the engine's.
pub async fn command(root: &Root, words: &[&str]) -> Result<()> {
    let parsed = grammar::parse(&[flag('q', "quiet")], words, true, |o| {
        format!("pull takes no {o}")
    })?;
    let [word] = parsed.words[..] else {
        return Err(refuse("pull takes one image"));
    };
    let quiet = parsed.options.contains(&("quiet", "true"));
    let trust = trust::load(root)?;
    let image = ours(&trust, word)?;
    let (verified, _) = pull(root, &trust, &image, quiet).await?;
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

/// Verifies, pulls, compares and keeps the proof; gives the image's Id too.
///
/// # Errors
/// As [`command`].
pub async fn pull(
    root: &Root,
    trust: &Trust,
    image: &ImageRef,
    quiet: bool,
) -> Result<(Verified, Digest)> {
    let (verified, proof) = check(root, trust, image).await?;
    let app = &verified.annotations;
    log::info(format_args!(
        "{image}: signed as {} {}, by key {}",
        app.app,
        app.version,
        &verified.signer[..16]
    ));
    let id = proof.image_id().map_err(failure)?;
    let name = format!("{}@{}", image.repository, verified.digest);
    let path = format!(
        "/images/create?fromImage={}&tag={}",
        image.repository, verified.digest
    );
    let auth = login::header(root, image.repository.host())?;
    engine::follow(root, &path, auth.as_deref(), |line| {
        print_progress(line, quiet)
    })
    .await?;
    let local = image_id(root, &name).await?;
    if local.as_deref() != Some(id.as_str()) {
        return Err(refuse(format_args!(
            "{image}: the engine holds other content than what was signed"
        )));
    }
    proofs::keep(root, image, &verified.digest, &proof)?;
    if let Some(tag) = &image.tag {
        let path = format!("/images/{id}/tag?repo={}&tag={tag}", image.repository);
        engine::ask(root, Method::POST, &path, None).await?;
    }
    Ok((verified, id))
}

/// Resolves and verifies; nothing is pulled.
///
/// # Errors
/// As [`command`].
pub async fn check(root: &Root, trust: &Trust, image: &ImageRef) -> Result<(Verified, Proof)> {
    ask(root, trust, image).await.map_err(failure)
}

async fn ask(root: &Root, trust: &Trust, image: &ImageRef) -> Result<(Verified, Proof), Error> {
    let credentials = login::credentials(root, image.repository.host());
    let registry = Registry::new(&trust.repository, credentials, &[])?;
    let manifest = registry.resolve(image).await?;
    let signed = registry.signatures(&manifest.digest).await?;
    let verified = verify(&trust.keys, &trust.repository, &manifest.digest, &signed)?;
    Ok((verified, Proof::new(&manifest, signed)))
}

/// "Unsigned" and "cannot tell" have different exit codes.
pub fn failure(error: Error) -> anyhow::Error {
    match error {
        Error::CannotTell(_) => Failure::error(CANNOT_TELL, error),
        Error::Unauthorized(_) => {
            Failure::error(CANNOT_TELL, format_args!("{error}: use edge-docker login"))
        }
        Error::Unsigned(_) => refuse(format_args!("{error}: refused; sign it with edge-app push")),
        _ => refuse(error),
    }
}

/// The engine's Id of an image; nothing if it has none of that name.
///
/// # Errors
/// No engine.
pub async fn image_id(root: &Root, name: &str) -> Result<Option<String>> {
    match engine::ask(root, Method::GET, &format!("/images/{name}/json"), None).await {
        Ok(value) => Ok(value["Id"].as_str().map(String::from)),
        Err(error) if error.to_string().contains("(404)") => Ok(None),
        Err(error) => Err(error),
    }
}

fn print_progress(line: &Value, quiet: bool) {
    let status = line["status"].as_str().unwrap_or_default();
    let finished = line["progressDetail"]["total"].is_null();
    if !quiet && finished && !status.is_empty() {
        let id = line["id"]
            .as_str()
            .map(|i| format!("{i}: "))
            .unwrap_or_default();
        println!("{}", log::printable(&format!("{id}{status}")));
    }
}

/// `push IMAGE`: to the one repository and nowhere else.
///
/// # Errors
/// Refused, or the engine's.
pub async fn push(root: &Root, words: &[&str]) -> Result<()> {
    let parsed = grammar::parse(&[flag('q', "quiet")], words, true, |o| {
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
    let auth = login::header(root, image.repository.host())?.unwrap_or_else(|| "e30=".into());
    let path = format!("/images/{}/push?tag={tag}", image.repository);
    engine::follow(root, &path, Some(&auth), |line| print_progress(line, false)).await
}
