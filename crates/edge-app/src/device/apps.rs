//! Containers of apps on devices, from the output of `edge-docker ps` and `inspect`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use edge_common::contract::label;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::device::rollout;
use crate::device::ssh::Device;
use crate::project::config::Project;

/// Container label with the options of `app.yaml` at the time of the deployment, for
/// `diff`. edge-app may set it, unlike labels that begin with `edge.`: those state
/// verified facts, and only edge-docker sets them.
pub(crate) const OPTIONS_LABEL: &str = "edge-app.options";

/// Container of an app on a device. The field names are the keys of `--json`.
#[derive(Serialize)]
pub(crate) struct AppContainer {
    /// Container name without the leading slash, normally the app's name.
    pub(crate) name: String,
    /// Signed app name, or the name of the sandbox app if the container is unsigned.
    pub(crate) app: String,
    /// Signed version; `None` for a sandbox app.
    pub(crate) version: Option<String>,
    /// Signed manifest digest, or else the digest in the requested image reference.
    pub(crate) digest: Option<String>,
    /// Digest of the public key whose signature edge-docker verified.
    pub(crate) signer: Option<String>,
    /// Whether the container runs an unsigned sandbox image.
    pub(crate) sandbox: bool,
    /// State of the container as docker names it, for example `running` or `exited`.
    pub(crate) state: String,
    /// Result of the health check: `healthy`, `starting` or `unhealthy`; `None` without a
    /// health check.
    pub(crate) health: Option<String>,
    /// Time of the container's last start, in RFC 3339 format.
    pub(crate) started: String,
    /// Number of times that the engine restarted the container by its restart policy.
    pub(crate) restarts: u64,
    /// Digest of the signed run specification; `None` if the container was created from
    /// options.
    pub(crate) run: Option<String>,
    /// Options from the label [`OPTIONS_LABEL`]; `None` if edge-app did not deploy the
    /// container.
    pub(crate) options: Option<Vec<String>>,
}

/// Result of querying one device. The field names are the keys of `--json`.
#[derive(Serialize)]
pub(crate) struct DeviceApps {
    /// Device name in `edge-app.yaml`, or host name of the ssh configuration.
    pub(crate) device: String,
    /// Error message if the device could not be queried; `None` after a success.
    pub(crate) error: Option<String>,
    /// Containers of apps, sorted by name; empty after an error.
    pub(crate) apps: Vec<AppContainer>,
    /// Last deployment of each app: the JSON entries of the device's deployment journal.
    #[serde(rename = "switches")]
    pub(crate) deployments: Vec<Value>,
}

/// Element of the output of `edge-docker inspect`, reduced to the fields in use.
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

/// Queries the containers of apps on a device, including old ones that are kept for
/// `rollback`.
pub(crate) async fn on(device: &Device) -> Result<Vec<AppContainer>> {
    let list = ["ps", "--all", "--quiet", "--no-trunc"];
    let ids = device.run(&list).await?;
    let inspect: Vec<_> = ["inspect", "--type=container"]
        .into_iter()
        .chain(ids.split_whitespace())
        .collect();
    // A device without containers needs no `inspect`, which fails without an argument.
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

/// Converts docker's description of a container; returns `None` for a container that
/// edge-docker did not create.
fn app_container(container: Container) -> Option<AppContainer> {
    let labels = container.config.labels.unwrap_or_default();
    // Labels that do not apply are empty. With the label of a sandbox, those of a
    // signature are not edge-docker's: in containers of earlier versions, labels of the
    // image could stand for them.
    let set = |key: &str| labels.get(key).filter(|v| !v.is_empty()).cloned();
    let sandbox = set(label::SANDBOX);
    let value = |key: &str| set(key).filter(|_| sandbox.is_none());
    let image = set(label::IMAGE).unwrap_or_default();
    let requested_digest = image.split_once('@').map(|(_, digest)| digest.to_string());
    let health = container.state.health.map(|h| h.status);
    Some(AppContainer {
        // Docker's API reports container names with a leading slash.
        name: container.name.trim_start_matches('/').into(),
        app: sandbox.clone().or_else(|| value(label::APP))?,
        version: value(label::VERSION),
        digest: value(label::DIGEST).or(requested_digest),
        signer: value(label::SIGNER),
        sandbox: sandbox.is_some(),
        state: container.state.status,
        // Some engines report `none` for a container without a health check.
        health: health.filter(|h| h != "none"),
        started: container.state.started_at,
        restarts: container.restart_count,
        run: value(label::RUN),
        options: set(OPTIONS_LABEL).and_then(|text| serde_json::from_str(&text).ok()),
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

/// Queries the apps of all devices in parallel. A device that cannot be queried is in the
/// result with its error.
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
