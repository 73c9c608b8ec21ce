//! `run` and `create`: options → request → subject → grants → plan → pins →
//! the engine → attached until it ends.

use edge_common::contract::label;
use std::process::ExitCode;

use anyhow::{Context, Result};
use edge_common::Root;
use hyper::Method;

use edge_docker_policy::cli::request::{self, Request};
use edge_docker_policy::cli::values;
use edge_docker_policy::decide::{self, Plan};
use edge_docker_policy::mounts::CloneRecord;

use crate::engine::{attach, client};
use crate::image::identify::{self, Image};
use crate::mounts::{clones, collect, env_file};
use crate::stored::created;
use crate::{audit_log, trust};

/// A container that was made.
pub struct Made {
    /// Its Id.
    pub id: String,
    /// Has it pins?
    pinned: bool,
}

/// Runs a container; gives its exit code.
///
/// # Errors
/// Refused (125), cannot tell (124), not startable (125 to 127), or the engine's.
pub async fn run(root: &Root, words: &[&str]) -> Result<ExitCode> {
    let request = request::parse(words)?;
    let (detach, streams) = (request.detach, request.streams);
    let removed = request.body.host_config.auto_remove;
    let made = make(root, "run", request).await?;
    if detach {
        attach::start(root, &made.id).await?;
    }
    if detach || !(streams.stdout || streams.stderr) {
        println!("{}", made.id);
    }
    if detach {
        return Ok(ExitCode::SUCCESS);
    }
    let result = attach::run(root, &made.id, streams, removed).await;
    // Unless somebody detached from it, it is gone.
    if made.pinned && removed {
        collect::collect(root).await?;
    }
    result
}

/// Makes a container and prints its Id.
///
/// # Errors
/// As [`run`].
pub async fn create(root: &Root, words: &[&str]) -> Result<()> {
    let request = request::parse(words)?;
    println!("{}", make(root, "create", request).await?.id);
    Ok(())
}

/// Makes the container of `request` after the policy has spoken.
///
/// # Errors
/// As [`run`].
pub async fn make(root: &Root, verb: &str, request: Request) -> Result<Made> {
    let trust = trust::load(root)?;
    let image = identify::find(root, &trust, &request.image, request.allow_downgrade).await?;
    let name = request.name.clone();
    let word = request.image.clone();
    let (plan, key) = plan(root, request, &image)?;
    let decision = audit_log::Decision {
        verb,
        image: &word,
        identity: Some(&image.identity),
        container: &name,
    };
    decision.allowed(root);
    let _lock = collect::hold(root)?;
    if plan.below.is_empty() {
        let id = send(root, &name, &plan).await?;
        return Ok(Made { id, pinned: false });
    }
    client::same_mounts(root).await?;
    let record = CloneRecord {
        directory: image.identity.directory(),
        below: plan.below.clone(),
    };
    let user = Some(&plan.body.user).filter(|u| !u.is_empty());
    // Of directories that have to be made: the container's user, if it is a number;
    // else as the app's directory.
    let owner = values::owner(user.unwrap_or(&image.user));
    clones::make(root, &key, &record, owner, durable(&plan))?;
    let made = send(root, &name, &plan).await;
    if made.is_err() {
        clones::remove(root, &key)?;
    }
    Ok(Made {
        id: made?,
        pinned: true,
    })
}

/// What is not started again by itself need not outlive a power cut.
fn durable(plan: &Plan) -> bool {
    plan.body.host_config.restart_policy.name != "no"
}

/// What is asked, held against what is granted.
///
/// # Errors
/// Refused.
pub fn plan(root: &Root, mut request: Request, image: &Image) -> Result<(Plan, String)> {
    let key = clones::new_key()?;
    let granted = trust::grants(root)?.granted(&image.identity);
    let files = std::mem::take(&mut request.env_files);
    let mut from_files = Vec::new();
    for file in files {
        from_files.extend(env_file::read(root, &image.identity.directory(), &file)?);
    }
    // As docker's client: variables of files first, those of -e behind them.
    request.body.env.splice(0..0, from_files);
    let mut plan = decide::apply(request, &image.identity, &granted, &image.id, &key)?;
    if let Some(verified) = &image.verified {
        let signer = verified.signer.clone();
        plan.body.labels.insert(label::SIGNER.into(), signer);
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
    let answer = client::ask(root, Method::POST, &path, Some(&bytes)).await?;
    let id = answer["Id"].as_str();
    let id = id.context("the engine's answer has no Id")?;
    created::keep(root, id, &bytes, durable(plan))?;
    Ok(id.into())
}
