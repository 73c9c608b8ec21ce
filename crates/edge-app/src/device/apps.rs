//! Containers of apps on devices, as edge-docker reports them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use edge_common::contract::label;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::device::rollout;
use crate::device::ssh::Device;
use crate::project::config::Project;

/// Label with the options of `app.yaml` at the time of the deployment, for `diff`.
/// edge-docker refuses labels that begin with `edge.`, since those state what was
/// verified; this one is only edge-app's note.
pub(crate) const OPTIONS_LABEL: &str = "edge-app.options";

/// Container of an app on a device. The field names are keys of `--json`.
#[derive(Serialize)]
pub(crate) struct AppContainer {
    /// Name of the container.
    pub(crate) name: String,
    /// Signed name of the app, or name of the sandbox app.
    pub(crate) app: String,
    /// Signed version.
    pub(crate) version: Option<String>,
    /// Signed digest.
    pub(crate) digest: Option<String>,
    /// Digest of the key that signed.
    pub(crate) signer: Option<String>,
    /// Whether it is an unsigned sandbox app.
    pub(crate) sandbox: bool,
    /// State in the engine's words: `running`, `exited`, …
    pub(crate) state: String,
    /// `healthy`, `starting` or `unhealthy`; `None` without a health check.
    pub(crate) health: Option<String>,
    /// Time of the last start, RFC 3339.
    pub(crate) started: String,
    /// Number of restarts by the engine.
    pub(crate) restarts: u64,
    /// Options of `app.yaml` at the deployment.
    pub(crate) options: Option<Vec<String>>,
}

/// Apps of a device. The field names are keys of `--json`.
#[derive(Serialize)]
pub(crate) struct DeviceApps {
    /// Name of the device.
    pub(crate) device: String,
    /// Reason why the device could not be queried.
    pub(crate) error: Option<String>,
    /// Containers of apps.
    pub(crate) apps: Vec<AppContainer>,
    /// Last deployment of each app, from the device's journal.
    #[serde(rename = "switches")]
    pub(crate) deployments: Vec<Value>,
}

/// Output of `inspect`, as far as it is used.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    name: String,
    state: State,
    restart_count: u64,
    config: Config,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: String,
    started_at: String,
    health: Option<Health>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    labels: Option<BTreeMap<String, String>>,
}

/// Returns the containers of apps on a device, including those kept for `rollback`.
pub(crate) async fn on(device: &Device) -> Result<Vec<AppContainer>> {
    let list = ["ps", "--all", "--quiet", "--no-trunc"];
    let ids = device.run(&list).await?;
    let inspect: Vec<_> = ["inspect", "--type=container"]
        .into_iter()
        .chain(ids.split_whitespace())
        .collect();
    // `inspect` without a container is wrong usage.
    if inspect.len() == 2 {
        return Ok(Vec::new());
    }
    let text = device.run(&inspect).await?;
    let containers: Vec<Container> =
        serde_json::from_str(&text).context("reading the output of edge-docker inspect")?;
    let mut apps: Vec<_> = containers.into_iter().filter_map(app_container).collect();
    apps.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(apps)
}

/// Returns the container of an app; `None` for one that edge-docker did not create.
fn app_container(container: Container) -> Option<AppContainer> {
    let labels = container.config.labels.unwrap_or_default();
    let value = |key: &str| labels.get(key).cloned();
    let image = value(label::IMAGE).unwrap_or_default();
    let requested_digest = image.split_once('@').map(|(_, digest)| digest.to_string());
    let health = container.state.health.map(|h| h.status);
    Some(AppContainer {
        // The engine writes names with a slash in front.
        name: container.name.trim_start_matches('/').into(),
        app: value(label::APP).or_else(|| value(label::SANDBOX))?,
        version: value(label::VERSION),
        digest: value(label::DIGEST).or(requested_digest),
        signer: value(label::SIGNER),
        sandbox: labels.contains_key(label::SANDBOX),
        state: container.state.status,
        // Some engines report `none` for a container without a check.
        health: health.filter(|h| h != "none"),
        started: container.state.started_at,
        restarts: container.restart_count,
        options: value(OPTIONS_LABEL).and_then(|text| serde_json::from_str(&text).ok()),
    })
}

async fn query(project: &Project, name: &str) -> Result<DeviceApps> {
    let device = Device::new(project, name)?;
    let apps = on(&device).await?;
    let deployments = device.run(&["replace", "--status"]).await?;
    let deployments = deployments.lines().map(serde_json::from_str);
    Ok(DeviceApps {
        device: name.into(),
        error: None,
        apps,
        deployments: deployments.collect::<Result<_, _>>().unwrap_or_default(),
    })
}

/// Queries devices in parallel; one that fails is in the result with its error.
pub(crate) async fn on_all(project: &Project, names: &[String]) -> Vec<DeviceApps> {
    let work = |name: String| async move { query(project, &name).await };
    let device_apps = |(device, answer): (String, Result<DeviceApps>)| {
        answer.unwrap_or_else(|error| DeviceApps {
            device,
            error: Some(format!("{error:#}")),
            apps: Vec::new(),
            deployments: Vec::new(),
        })
    };
    let answers = rollout::query(names, work).await;
    answers.into_iter().map(device_apps).collect()
}
