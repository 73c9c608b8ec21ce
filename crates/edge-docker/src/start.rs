//! `run` and `create`: options → request → subject → grants → plan → pins →
//! the engine → `docker start`.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context, Result};
use edge_common::Root;
use hyper::Method;

use crate::options::{self, Request};
use crate::pins::{self, Owner, Record};
use crate::policy::{self, Plan};
use crate::subject::{self, Image};
use crate::{
    audit, engine, environment, garbage, grants, passthrough, stored_record, trust, values,
};

/// Runs a container.
///
/// # Errors
/// Refused (125), cannot tell (124), or the engine's.
pub async fn run(root: &Root, words: &[&str]) -> Result<()> {
    let request = options::parse(words)?;
    let (detach, interactive) = (request.detach, request.body.open_stdin);
    let id = make(root, "run", request).await?;
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

/// Makes a container and prints its Id.
///
/// # Errors
/// As [`run`].
pub async fn create(root: &Root, words: &[&str]) -> Result<()> {
    let request = options::parse(words)?;
    println!("{}", make(root, "create", request).await?);
    Ok(())
}

/// Makes the container of `request` after the policy has spoken; gives its Id.
///
/// # Errors
/// As [`run`].
pub async fn make(root: &Root, verb: &str, request: Request) -> Result<String> {
    let trust = trust::load(root)?;
    let image = subject::find(root, &trust, &request.image, request.allow_downgrade).await?;
    let name = request.name.clone();
    let word = request.image.clone();
    let (plan, key) = plan(root, request, &image)?;
    let decision = audit::Decision {
        verb,
        image: &word,
        subject: Some(&image.subject),
        container: &name,
    };
    decision.allowed(root);
    let _lock = garbage::hold(root)?;
    if plan.below.is_empty() {
        return send(root, &name, &plan).await;
    }
    engine::same_mounts(root).await?;
    let owner = owner(root, &plan, &image.id).await?;
    let record = Record {
        folder: image.subject.folder(),
        below: plan.below.clone(),
    };
    pins::make(root, &key, &record, owner)?;
    let made = send(root, &name, &plan).await;
    if made.is_err() {
        pins::remove(root, &key)?;
    }
    made
}

/// What is asked, held against what is granted.
///
/// # Errors
/// Refused.
pub fn plan(root: &Root, mut request: Request, image: &Image) -> Result<(Plan, String)> {
    let key = pins::new_key()?;
    let granted = grants::Table::load(root)?.granted(&image.subject);
    let files = std::mem::take(&mut request.env_files);
    let mut from_files = Vec::new();
    for file in files {
        from_files.extend(environment::read(root, &image.subject.folder(), &file)?);
    }
    // As docker's client: variables of files first, those of -e behind them.
    request.body.env.splice(0..0, from_files);
    let mut plan = policy::apply(request, &image.subject, &granted, &image.id, &key)?;
    if let Some(verified) = &image.verified {
        let signer = verified.signer.clone();
        plan.body.labels.insert("edge.signer".into(), signer);
    }
    Ok((plan, key))
}

async fn send(root: &Root, name: &str, plan: &Plan) -> Result<String> {
    let path = if name.is_empty() {
        "/containers/create".into()
    } else {
        format!("/containers/create?name={name}")
    };
    let bytes = serde_json::to_vec(&plan.body).context("writing the create body")?;
    let answer = engine::ask(root, Method::POST, &path, Some(&bytes)).await?;
    let id = answer["Id"].as_str();
    let id = id.context("the engine's answer has no Id")?;
    // What is not started again by itself need not outlive a power cut.
    let durable = plan.body.host_config.restart_policy.name != "no";
    stored_record::keep(root, id, &bytes, durable)?;
    Ok(id.into())
}

/// Whose a folder is that has to be made: the container's user, if it is a
/// number; else as the app's folder.
async fn owner(root: &Root, plan: &Plan, image_id: &str) -> Result<Option<Owner>> {
    let mut user = plan.body.user.clone();
    if user.is_empty() {
        let path = format!("/images/{image_id}/json");
        let image = engine::ask(root, Method::GET, &path, None).await?;
        user = image["Config"]["User"].as_str().unwrap_or_default().into();
    }
    Ok(values::owner(&user))
}
