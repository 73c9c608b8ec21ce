//! `run`: options → request → subject → body → engine → `docker start`.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context, Result};
use edge_common::Root;
use edge_signature::{ImageRef, valid_app};
use hyper::Method;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2};

use crate::options::{self, Request};
use crate::policy::{self, Subject};
use crate::trust::{self, Trust};
use crate::{engine, passthrough, proofs, pull, refuse};

/// Runs a container.
///
/// # Errors
/// Refused (125), cannot tell (124), or the engine's.
pub async fn run(root: &Root, words: &[&str]) -> Result<()> {
    let request = options::parse(words)?;
    let trust = trust::load(root)?;
    let (subject, image_id) = subject(root, &trust, &request.image).await?;
    let Request {
        detach, ref name, ..
    } = request;
    let (name, interactive) = (name.clone(), request.body.open_stdin);
    let mounts = !request.mounts.is_empty();
    let body = policy::apply(request, &subject, &image_id)?;
    if mounts {
        folder(root, &subject.folder())?;
    }
    let id = create(root, &name, &body).await?;
    if detach {
        engine::ask(root, Method::POST, &format!("/containers/{id}/start"), None).await?;
        println!("{id}");
        return Ok(());
    }
    let mut docker = passthrough::docker(root);
    docker.args(["start", "--attach"]);
    if interactive {
        docker.arg("--interactive");
    }
    Err(docker.arg(&id).exec()).context("starting docker")
}

async fn create(root: &Root, name: &str, body: &crate::body::Create) -> Result<String> {
    let path = if name.is_empty() {
        "/containers/create".into()
    } else {
        format!("/containers/create?name={name}")
    };
    let bytes = serde_json::to_vec(body).context("writing the create body")?;
    let answer = engine::ask(root, Method::POST, &path, Some(&bytes)).await?;
    answer["Id"]
        .as_str()
        .map(String::from)
        .context("the engine's answer has no Id")
}

/// Who the image is, and the engine's Id of it.
async fn subject(root: &Root, trust: &Trust, word: &str) -> Result<(Subject, String)> {
    if word.starts_with("sandbox/") {
        return sandbox(root, trust, word).await;
    }
    let image = pull::ours(trust, word)?;
    let (verified, id) = match kept(root, trust, &image).await? {
        Some(kept) => kept,
        None => {
            let (verified, id) = pull::pull(root, trust, &image, true).await?;
            (verified, id.to_string())
        }
    };
    let annotations = verified.annotations;
    let subject = Subject::Signed {
        app: annotations.app,
        version: annotations.version,
    };
    Ok((subject, id))
}

/// A proof that is kept and holds, for an image that the engine has.
async fn kept(
    root: &Root,
    trust: &Trust,
    image: &ImageRef,
) -> Result<Option<(edge_signature::Verified, String)>> {
    let Some((digest, proof)) = proofs::find(root, image)? else {
        return Ok(None);
    };
    let verified = proof
        .verify(&trust.keys, &trust.repository)
        .map_err(pull::failure)?;
    if verified.digest != digest {
        return Err(refuse(format_args!(
            "{image}: the proof that is kept is for other content"
        )));
    }
    let id = proof.image_id().map_err(pull::failure)?;
    let local = pull::image_id(root, id.as_str()).await?;
    Ok(local.filter(|l| l == id.as_str()).map(|id| (verified, id)))
}

async fn sandbox(root: &Root, trust: &Trust, word: &str) -> Result<(Subject, String)> {
    let app = sandbox_app(word)
        .ok_or_else(|| refuse(format_args!("{word:?} is not sandbox/APP[:TAG]")))?;
    if !trust.sandbox {
        return Err(refuse(format_args!(
            "{word} is refused: this image of the device runs signed containers only"
        )));
    }
    let id = pull::image_id(root, word).await?;
    let id = id.ok_or_else(|| {
        refuse(format_args!(
            "{word}: no such image; load or build it first"
        ))
    })?;
    Ok((Subject::Sandbox { app: app.into() }, id))
}

/// The app of `sandbox/<app>[:tag]`.
pub fn sandbox_app(word: &str) -> Option<&str> {
    let name = word.strip_prefix("sandbox/")?;
    let (app, tag) = name.split_once(':').unwrap_or((name, "latest"));
    (valid_app(app) && edge_signature::valid_version(tag)).then_some(app)
}

/// Makes the app's folder if it is absent; a link in its place is refused.
fn folder(root: &Root, folder: &str) -> Result<()> {
    let (parent, name) = folder
        .rsplit_once('/')
        .context("a folder without a parent")?;
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    let parent = openat2(
        CWD,
        root.path(parent),
        flags,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    );
    let parent = parent.with_context(|| format!("opening the folder above {folder}"))?;
    match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error).with_context(|| format!("creating {folder}")),
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match openat2(&parent, name, flags, Mode::empty(), resolve) {
        Ok(_) => Ok(()),
        Err(error) => Err(refuse(format_args!(
            "mounting {folder} is refused: not a folder of its own: {error}"
        ))),
    }
}
