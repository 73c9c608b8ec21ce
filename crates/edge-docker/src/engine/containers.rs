//! Containers as the engine shows them, and what a deployment does to them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use edge_common::Root;
use edge_common::command::CommandExt as _;
use edge_common::contract::{label, suffix};
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::EngineError;
use super::{client, docker_cli};

/// Fields of `inspect` that edge-docker reads.
#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Container {
    /// ID of the container.
    pub id: String,
    /// `/NAME`.
    name: String,
    config: Config,
    host_config: HostConfig,
    /// State of its process.
    pub state: State,
}

#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "PascalCase")]
struct Config {
    // Go writes `null` for a map that was never filled.
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    restart_policy: Value,
    auto_remove: bool,
}

/// State of a container.
#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct State {
    /// The process runs.
    pub running: bool,
    /// The engine is about to start it again.
    pub restarting: bool,
    /// Exit code of the process, once it has ended.
    pub exit_code: i64,
    /// The kernel killed it for exceeding its memory limit.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Reason why the engine could not start it, or empty.
    pub error: String,
    /// Health, if it has a check.
    pub health: Option<Health>,
}

/// Result of the health check.
#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Health {
    /// `starting`, `healthy` or `unhealthy`; `none` without a check.
    pub status: String,
    /// Last runs of the check.
    pub log: Option<Vec<Check>>,
}

/// One run of the health check.
#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Check {
    /// Output of the check.
    pub output: String,
}

impl Container {
    /// Returns the name, without the slash before it.
    pub(crate) fn name(&self) -> &str {
        self.name.trim_start_matches('/')
    }

    /// Returns the value of a label.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.config.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// Returns the app that it belongs to, if edge-docker created it.
    pub(crate) fn app(&self) -> Option<&str> {
        self.label(label::APP).or(self.label(label::SANDBOX))
    }

    /// Tells whether the engine removes it as soon as it stops.
    pub(crate) fn vanishes(&self) -> bool {
        self.host_config.auto_remove
    }

    /// Returns the restart policy.
    pub(crate) fn restart(&self) -> &Value {
        &self.host_config.restart_policy
    }
}

/// Returns the container of a name or ID, if the engine has it.
pub(crate) async fn find(root: &Root, name: &str) -> Result<Option<Container>> {
    match client::find(root, &format!("/containers/{name}/json")).await? {
        Some(value) => {
            let container = serde_json::from_value(value);
            container.map(Some).context("parsing the engine's response")
        }
        None => Ok(None),
    }
}

/// Requests an action on a container: `start`, `kill?signal=SIGTERM`, …
pub(crate) async fn act(root: &Root, id: &str, action: &str) -> Result<()> {
    let path = format!("/containers/{id}/{action}");
    client::request(root, Method::POST, &path, None)
        .await
        .map(drop)
}

/// Starts a container.
pub(crate) async fn start(root: &Root, id: &str) -> Result<()> {
    act(root, id, "start").await
}

/// Stops a container with its own signal and time.
pub(crate) async fn stop(root: &Root, container: &Container) -> Result<()> {
    if !container.state.running && !container.state.restarting {
        return Ok(());
    }
    // Docker's client waits as long as the container may take to stop; a request of
    // edge-docker ends after a minute.
    let mut docker = docker_cli::docker(root);
    docker.args(["stop", &container.id]).run()
}

/// Removes a container at once, if the engine has it: a recovery repeats steps that were
/// taken before the interruption.
pub(crate) async fn remove(root: &Root, id: &str) -> Result<()> {
    // Without the time to stop: it failed, was never started, or is stopped already.
    let path = format!("/containers/{id}?force=true");
    match client::request(root, Method::DELETE, &path, None).await {
        Err(error) if !EngineError::is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Sets the restart policy of a container.
pub(crate) async fn set_restart(root: &Root, id: &str, policy: &Value) -> Result<()> {
    let body = json!({ "RestartPolicy": policy }).to_string();
    // Limits that the body does not name stay as they are.
    let path = format!("/containers/{id}/update");
    client::request(root, Method::POST, &path, Some(body.as_bytes()))
        .await
        .map(drop)
}

/// Renames containers; another container that holds one of the names is renamed first.
pub(crate) async fn rename(root: &Root, names: &[(&str, String)]) -> Result<()> {
    for (id, name) in names {
        match find(root, name).await? {
            Some(holder) if holder.id == *id => continue,
            // Names are unique at the engine: two containers cannot be swapped directly.
            Some(holder) => {
                let action = format!("rename?name={name}{}", suffix::MOVING);
                act(root, &holder.id, &action).await?;
            }
            None => {}
        }
        act(root, id, &format!("rename?name={name}")).await?;
    }
    Ok(())
}
