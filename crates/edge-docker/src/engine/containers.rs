//! Containers as the engine shows them, and what a switch does to them.

use edge_common::contract::label;
use std::collections::BTreeMap;

use anyhow::{Context, Result};
use edge_common::Root;
use edge_common::command::CommandExt as _;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client as engine;
use super::docker_cli;

/// What `inspect` says, as far as it matters.
#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    /// Its Id.
    pub id: String,
    /// `/NAME`.
    name: String,
    config: Config,
    host_config: HostConfig,
    /// How it is.
    pub state: State,
}

#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "PascalCase")]
struct Config {
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    restart_policy: Value,
    auto_remove: bool,
}

/// How a container is.
#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "PascalCase")]
pub struct State {
    /// Its process runs.
    pub running: bool,
    /// The engine is about to start it again.
    pub restarting: bool,
    /// Of its process, once that has ended.
    pub exit_code: i64,
    /// It wanted more memory than it may have.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Why the engine could not start it.
    pub error: String,
    /// If it has a health check.
    pub health: Option<Health>,
}

/// What the health check says.
#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// `starting`, `healthy` or `unhealthy`; `none` without a check.
    pub status: String,
    /// The last checks.
    pub log: Option<Vec<Check>>,
}

/// One run of the health check.
#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "PascalCase")]
pub struct Check {
    /// What it printed.
    pub output: String,
}

impl Container {
    /// Its name, without the slash.
    pub fn name(&self) -> &str {
        self.name.trim_start_matches('/')
    }

    /// A label of ours.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.config.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// The app it belongs to, if edge-docker made it.
    pub fn app(&self) -> Option<&str> {
        self.label(label::APP).or(self.label(label::SANDBOX))
    }

    /// Removed by the engine as soon as it stops?
    pub fn vanishes(&self) -> bool {
        self.host_config.auto_remove
    }

    /// When the engine starts it again.
    pub fn restart(&self) -> &Value {
        &self.host_config.restart_policy
    }
}

/// The container of that name or Id.
///
/// # Errors
/// No engine.
pub async fn find(root: &Root, name: &str) -> Result<Option<Container>> {
    let path = format!("/containers/{name}/json");
    match engine::ask(root, Method::GET, &path, None).await {
        Ok(value) => Ok(Some(
            serde_json::from_value(value).context("parsing the engine's answer")?,
        )),
        Err(error) if error.to_string().contains("(404)") => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks for something to be done to it: `start`, `kill?signal=SIGTERM`, …
///
/// # Errors
/// The engine's.
pub async fn post(root: &Root, id: &str, what: &str) -> Result<()> {
    let path = format!("/containers/{id}/{what}");
    engine::ask(root, Method::POST, &path, None)
        .await
        .map(|_| ())
}

/// Starts it.
///
/// # Errors
/// The engine's.
pub async fn start(root: &Root, id: &str) -> Result<()> {
    post(root, id, "start").await
}

/// Stops it, as it wishes to be stopped.
///
/// # Errors
/// The engine's.
pub async fn stop(root: &Root, container: &Container) -> Result<()> {
    if !container.state.running && !container.state.restarting {
        return Ok(());
    }
    // Its own client waits as long as the container may take.
    let mut docker = docker_cli::docker(root);
    docker.args(["stop", &container.id]).run()
}

/// Removes it at once; nothing to do if it is gone.
///
/// # Errors
/// The engine's.
pub async fn remove(root: &Root, id: &str) -> Result<()> {
    let path = format!("/containers/{id}?force=true");
    match engine::ask(root, Method::DELETE, &path, None).await {
        Err(error) if !error.to_string().contains("(404)") => Err(error),
        _ => Ok(()),
    }
}

/// Sets when the engine starts it again.
///
/// # Errors
/// The engine's.
pub async fn set_restart(root: &Root, id: &str, policy: &Value) -> Result<()> {
    let body = json!({ "RestartPolicy": policy }).to_string();
    let path = format!("/containers/{id}/update");
    engine::ask(root, Method::POST, &path, Some(body.as_bytes()))
        .await
        .map(|_| ())
}

/// Gives containers their names; one that is in the way gets another first.
///
/// # Errors
/// The engine's.
pub async fn name(root: &Root, wanted: &[(&str, String)]) -> Result<()> {
    for (id, name) in wanted {
        match find(root, name).await? {
            Some(holder) if holder.id == *id => continue,
            Some(holder) => {
                post(root, &holder.id, &format!("rename?name={name}-moving")).await?;
            }
            None => {}
        }
        post(root, id, &format!("rename?name={name}")).await?;
    }
    Ok(())
}
