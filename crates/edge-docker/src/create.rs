//! `run` and `create`: from the arguments to a created container.
//!
//! Arguments become a request, the image an identity, the identity its grants, and all
//! of them a plan. Its mounts are cloned, its body is sent to the engine, and `run`
//! stays attached until the container ends.

use std::process::ExitCode;

use anyhow::{Context, Result};
use edge_common::Root;
use edge_common::contract::label;
use edge_docker_policy::cli::request::{self, Request};
use edge_docker_policy::cli::values;
use edge_docker_policy::decide::{self, Plan};
use edge_docker_policy::mounts::CloneRecord;
use hyper::Method;

use crate::audit_log::Decision;
use crate::engine::{attach, client};
use crate::image::identify::{self, Image};
use crate::mounts::{clones, collect, env_file};
use crate::stored::created;
use crate::trust;

/// Created container.
pub(crate) struct Created {
    /// ID of the container.
    pub(crate) id: String,
    has_clones: bool,
}

/// Container that the policy permits, not created yet.
pub(crate) struct Permitted {
    image: Image,
    /// Image reference as typed.
    reference: String,
    /// Name of the container, or empty.
    name: String,
    plan: Plan,
    /// Key of its mount clones.
    key: String,
}

/// Runs a container; returns its exit code.
pub(crate) async fn run(root: &Root, args: &[&str]) -> Result<ExitCode> {
    let request = request::parse(args)?;
    let (detach, streams) = (request.detach, request.streams);
    let removed = request.body.host_config.auto_remove;
    let permitted = permit(root, request).await?;
    let created = permitted.create(root, "run").await?;
    if detach {
        attach::start(root, &created.id).await?;
    }
    if detach || !(streams.stdout || streams.stderr) {
        println!("{}", created.id);
    }
    if detach {
        return Ok(ExitCode::SUCCESS);
    }
    let result = attach::run(root, &created.id, streams, removed).await;
    // With --rm the container is gone by now, unless it was detached.
    if created.has_clones && removed {
        collect::collect(root).await?;
    }
    result
}

/// Creates a container and prints its ID.
pub(crate) async fn create(root: &Root, args: &[&str]) -> Result<()> {
    let permitted = permit(root, request::parse(args)?).await?;
    println!("{}", permitted.create(root, "create").await?.id);
    Ok(())
}

/// Identifies the image of a request and has the policy decide on it.
pub(crate) async fn permit(root: &Root, request: Request) -> Result<Permitted> {
    let trust = trust::load(root)?;
    let image = identify::find(root, &trust, &request.image, request.allow_downgrade).await?;
    let (name, reference) = (request.name.clone(), request.image.clone());
    let (plan, key) = plan(root, request, &image)?;
    Ok(Permitted {
        image,
        reference,
        name,
        plan,
        key,
    })
}

impl Permitted {
    /// Returns the app that the container belongs to.
    pub(crate) fn app(&self) -> &str {
        self.image.identity.app()
    }

    /// Clones the mounts, logs the decision and creates the container.
    pub(crate) async fn create(&self, root: &Root, verb: &str) -> Result<Created> {
        // Clones without a container would be collected before it exists.
        let _lock = collect::hold(root)?;
        let has_clones = !self.plan.below.is_empty();
        if has_clones {
            self.clone_mounts(root).await?;
        }
        let decision = Decision {
            verb,
            image: &self.reference,
            identity: Some(&self.image.identity),
            container: &self.name,
        };
        // After the clones, the last step that may refuse, and before the engine: no
        // container exists without its line.
        decision.log_allowed(root);
        let id = self.send(root).await;
        if has_clones && id.is_err() {
            clones::remove(root, &self.key)?;
        }
        Ok(Created {
            id: id?,
            has_clones,
        })
    }

    async fn clone_mounts(&self, root: &Root) -> Result<()> {
        // Otherwise the engine would mount the empty directories below the clones.
        client::require_same_mounts(root).await?;
        let record = CloneRecord {
            directory: self.image.identity.directory(),
            below: self.plan.below.clone(),
        };
        // Directories that are missing get the container's user as their owner, if it
        // is a number; else the owner of the app's directory.
        let user = Some(&self.plan.body.user).filter(|user| !user.is_empty());
        let owner = values::owner(user.unwrap_or(&self.image.user));
        clones::create(root, &self.key, &record, owner, is_durable(&self.plan))
    }

    async fn send(&self, root: &Root) -> Result<String> {
        let path = match self.name.as_str() {
            "" => "/containers/create".into(),
            // The parser permits no character in a name that ends the parameter.
            name => format!("/containers/create?name={name}"),
        };
        let body = serde_json::to_vec(&self.plan.body).context("writing the create body")?;
        let response = client::request(root, Method::POST, &path, Some(&body)).await?;
        let id = response["Id"].as_str();
        let id = id.context("the engine's response has no ID")?;
        // Before the start. Without its record, the boot audit quarantines the container.
        created::write(root, id, &body, is_durable(&self.plan))?;
        Ok(id.into())
    }
}

/// Tells whether records of the container have to survive a power loss: the engine does
/// not start any other container again, and syncing costs more than the start.
fn is_durable(plan: &Plan) -> bool {
    plan.body.host_config.restart_policy.name != "no"
}

/// Compares requested with granted permissions; returns the plan and the key of its
/// mount clones.
pub(crate) fn plan(root: &Root, mut request: Request, image: &Image) -> Result<(Plan, String)> {
    let key = clones::new_key()?;
    let granted = trust::grants(root)?.granted(&image.identity);
    let files = std::mem::take(&mut request.env_files);
    let mut from_files = Vec::new();
    for file in files {
        from_files.extend(env_file::read(root, &image.identity.directory(), &file)?);
    }
    // As docker's client: variables of files first, so that those of -e override them.
    request.body.env.splice(0..0, from_files);
    let mut plan = decide::decide(request, &image.identity, &granted, &image.id, &key)?;
    if let Some(verified) = &image.verified {
        // For people and reports: no decision reads the label.
        let signer = verified.signer.clone();
        plan.body.labels.insert(label::SIGNER.into(), signer);
    }
    Ok((plan, key))
}
