//! Containers of the engine: their state as `inspect` returns it, and requests to start,
//! stop, rename and remove them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use edge_common::Root;
use edge_common::command::CommandExt as _;
use edge_common::contract::{label, suffix};
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::EngineError;
use super::{client, docker_cli, ports};

/// Fields of the engine's `inspect` response that edge-docker reads.
#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Container {
    /// Container ID, 64 hex digits.
    pub id: String,
    /// Name with a leading slash, for example `/hello`.
    name: String,
    /// Image ID, of the image from which the container was created.
    #[serde(default)]
    pub image: String,
    config: Config,
    host_config: HostConfig,
    /// State of the main process and of its health check.
    pub state: State,
}

#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "PascalCase")]
struct Config {
    // Go encodes a map that was never filled as `null`.
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    tty: bool,
    #[serde(default)]
    open_stdin: bool,
}

#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    restart_policy: Value,
    auto_remove: bool,
}

/// State of a container's main process, as the engine reports it.
#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct State {
    /// Whether the process exists; also true while the container is paused.
    pub running: bool,
    /// Whether the process is suspended (`pause`).
    #[serde(default)]
    pub paused: bool,
    /// Whether the process has ended and the engine is about to start it again.
    pub restarting: bool,
    /// Exit code of the process, valid once it has ended.
    pub exit_code: i64,
    /// Whether the kernel killed the process for exceeding the memory limit.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Time of the last start, RFC 3339.
    #[serde(default)]
    pub started_at: String,
    /// Reason why the engine could not start the process; otherwise empty.
    pub error: String,
    /// Result of the health check; `None` if the container has none.
    pub health: Option<Health>,
}

/// Result of a container's health check (`HEALTHCHECK`).
#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Health {
    /// `starting`, `healthy` or `unhealthy`; `none` if the check is disabled.
    pub status: String,
    /// Last runs of the check that the engine keeps, oldest first.
    pub log: Option<Vec<Check>>,
}

/// One run of the command of a health check.
#[derive(Deserialize, Clone, Default)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Check {
    /// Text that the command wrote to standard output and standard error.
    pub output: String,
}

impl State {
    /// Returns whether the container was ever started.
    pub(crate) fn has_started(&self) -> bool {
        has_started(&self.started_at)
    }
}

/// Returns whether the value of `StartedAt` is of a container that was started: Go's zero
/// time is in the year 1.
pub(crate) fn has_started(started_at: &str) -> bool {
    !started_at.is_empty() && !started_at.starts_with("0001-")
}

impl Container {
    /// Returns the name without the leading slash.
    pub(crate) fn name(&self) -> &str {
        self.name.trim_start_matches('/')
    }

    /// Returns the value of the label `key`, or `None` if the container has no such
    /// label or an empty one, which does not apply.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        let value = self.config.labels.as_ref()?.get(key).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// Returns the app that the labels name, or `None` if edge-docker did not create the
    /// container.
    pub(crate) fn app(&self) -> Option<&str> {
        // The sandbox first: in containers of earlier versions, the other labels could
        // be those of the image.
        self.label(label::SANDBOX).or(self.label(label::APP))
    }

    /// Returns whether the engine removes the container when it stops (`--rm`).
    pub(crate) fn vanishes(&self) -> bool {
        self.host_config.auto_remove
    }

    /// Returns whether the container has a pseudo-terminal (`-t`).
    pub(crate) fn has_terminal(&self) -> bool {
        self.config.tty
    }

    /// Returns whether the container reads its standard input (`-i`).
    pub(crate) fn opens_stdin(&self) -> bool {
        self.config.open_stdin
    }

    /// Returns the restart policy as JSON of the engine's API, for example
    /// `{"Name":"always"}`.
    pub(crate) fn restart(&self) -> &Value {
        &self.host_config.restart_policy
    }
}

/// Returns the engine's `inspect` response of a container.
pub(crate) async fn inspect(root: &Root, id: &str) -> Result<Value> {
    client::request(root, Method::GET, &format!("/containers/{id}/json"), None).await
}

/// Requests the container with a name or ID from the engine; returns `None` if there is
/// none.
pub(crate) async fn find(root: &Root, name: &str) -> Result<Option<Container>> {
    match client::find(root, &format!("/containers/{name}/json")).await? {
        Some(value) => {
            let container = serde_json::from_value(value);
            container.map(Some).context("parsing the engine's response")
        }
        None => Ok(None),
    }
}

/// Requests the container with exactly this name. [`find`] also returns a container whose
/// ID begins with the name, for example for an app `beef`.
pub(crate) async fn named(root: &Root, name: &str) -> Result<Option<Container>> {
    let found = find(root, name).await?;
    Ok(found.filter(|container| container.name() == name))
}

/// Sends an action on a container to the engine, for example `start` or
/// `kill?signal=SIGTERM`.
pub(crate) async fn act(root: &Root, id: &str, action: &str) -> Result<()> {
    let path = format!("/containers/{id}/{action}");
    client::request(root, Method::POST, &path, None)
        .await
        .map(drop)
}

/// Starts a container that was created or has stopped.
pub(crate) async fn start(root: &Root, id: &str) -> Result<()> {
    match act(root, id, "start").await {
        Err(error) => Err(ports::explain(root, id, error).await),
        done => done,
    }
}

/// Stops a container with its own stop signal and stop timeout. Does nothing if it is not
/// running.
pub(crate) async fn stop(root: &Root, container: &Container) -> Result<()> {
    if !container.state.running && !container.state.restarting {
        return Ok(());
    }
    // By docker's client, which waits for as long as the container may take to stop. A
    // request of edge-docker has a timeout of a minute.
    let mut docker = docker_cli::docker(root);
    docker.args(["stop", &container.id]).run()
}

/// Kills and removes a container. Succeeds if the engine has none with this ID, because a
/// recovery repeats steps that were completed before the interruption.
pub(crate) async fn remove(root: &Root, id: &str) -> Result<()> {
    // `force` skips the stop timeout: the container has failed, was never started, or has
    // already stopped.
    let path = format!("/containers/{id}?force=true");
    let response = client::request(root, Method::DELETE, &path, None).await;
    absent_is_done(response.map(drop))
}

/// Sets the restart policy of a container, given as JSON of the engine's API. Does nothing
/// if the engine has none with this ID.
pub(crate) async fn set_restart(root: &Root, id: &str, policy: &Value) -> Result<()> {
    let body = json!({ "RestartPolicy": policy }).to_string();
    // Limits that the body does not contain remain unchanged.
    let path = format!("/containers/{id}/update");
    let response = client::request(root, Method::POST, &path, Some(body.as_bytes())).await;
    absent_is_done(response.map(drop))
}

/// Returns success for an engine that has no such container: a step of a deployment is
/// done if the container that it concerns is gone.
fn absent_is_done(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if EngineError::is_not_found(&error) => Ok(()),
        result => result,
    }
}

/// Renames containers, given as pairs of ID and new name. Another container that has one
/// of the names is renamed to `NAME-moving` first. A container that is gone is skipped.
pub(crate) async fn rename(root: &Root, names: &[(&str, String)]) -> Result<()> {
    for (id, name) in names {
        // Before the name is freed: a container that is gone needs none.
        if find(root, id).await?.is_none() {
            continue;
        }
        match named(root, name).await? {
            Some(holder) if holder.id == *id => continue,
            // Names are unique in the engine, so two containers cannot be swapped
            // directly.
            Some(holder) => {
                let action = format!("rename?name={name}{}", suffix::MOVING);
                act(root, &holder.id, &action).await?;
            }
            None => {}
        }
        absent_is_done(act(root, id, &format!("rename?name={name}")).await)?;
    }
    Ok(())
}
