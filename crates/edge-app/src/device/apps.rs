//! The containers of apps on devices.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use edge_common::contract::label;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::device::rollout;
use crate::device::ssh::Device;
use crate::project::config::Project;

/// The label with what `app.yaml` said, for `diff`.
pub(crate) const OPTIONS: &str = "edge-app.options";

/// A container of ours on a device.
#[derive(Serialize)]
pub(crate) struct Running {
    /// What it is called.
    pub(crate) name: String,
    /// The app, as the signature says, or the sandbox's name.
    pub(crate) app: String,
    /// The version, as the signature says.
    pub(crate) version: Option<String>,
    /// What was signed.
    pub(crate) digest: Option<String>,
    /// Digest of the key that signed.
    pub(crate) signer: Option<String>,
    /// Unsigned?
    pub(crate) sandbox: bool,
    /// The engine's word: `running`, `exited`, …
    pub(crate) state: String,
    /// `healthy`, `starting`, `unhealthy`; nothing without a check.
    pub(crate) health: Option<String>,
    /// RFC 3339.
    pub(crate) started: String,
    /// How often the engine started it again.
    pub(crate) restarts: u64,
    /// What `app.yaml` said when it was deployed.
    pub(crate) options: Option<Vec<String>>,
}

/// A device and what runs there.
#[derive(Serialize)]
pub(crate) struct OnDevice {
    /// Its name.
    pub(crate) device: String,
    /// Why it did not tell.
    pub(crate) error: Option<String>,
    /// What it told.
    pub(crate) apps: Vec<Running>,
    /// The last switch of each app.
    pub(crate) switches: Vec<Value>,
}

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

/// The apps' containers of a device, those kept for `rollback` too.
///
/// # Errors
/// As the exit codes say.
pub(crate) async fn on(device: &Device) -> Result<Vec<Running>> {
    let ids = ["ps", "--all", "--quiet", "--no-trunc"];
    let ids = device.run(&ids).await?;
    let words: Vec<_> = ["inspect", "--type=container"]
        .into_iter()
        .chain(ids.split_whitespace())
        .collect();
    if words.len() == 2 {
        return Ok(Vec::new());
    }
    let text = device.run(&words).await?;
    let found: Vec<Container> =
        serde_json::from_str(&text).context("reading what the device says")?;
    let mut apps: Vec<_> = found.into_iter().filter_map(running).collect();
    apps.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(apps)
}

fn running(container: Container) -> Option<Running> {
    let labels = container.config.labels.unwrap_or_default();
    let value = |key: &str| labels.get(key).cloned();
    let image = value(label::IMAGE).unwrap_or_default();
    let behind = image.split_once('@').map(|(_, digest)| digest.to_string());
    let health = container.state.health.map(|h| h.status);
    Some(Running {
        name: container.name.trim_start_matches('/').into(),
        app: value(label::APP).or_else(|| value(label::SANDBOX))?,
        version: value(label::VERSION),
        digest: value(label::DIGEST).or(behind),
        signer: value(label::SIGNER),
        sandbox: labels.contains_key(label::SANDBOX),
        state: container.state.status,
        health: health.filter(|h| h != "none"),
        started: container.state.started_at,
        restarts: container.restart_count,
        options: value(OPTIONS).and_then(|text| serde_json::from_str(&text).ok()),
    })
}

async fn whole(project: &Project, name: &str) -> Result<OnDevice> {
    let device = Device::new(project, name)?;
    let apps = on(&device).await?;
    let switches = device.run(&["replace", "--status"]).await?;
    let switches = switches.lines().map(serde_json::from_str);
    Ok(OnDevice {
        device: name.into(),
        error: None,
        apps,
        switches: switches.collect::<Result<_, _>>().unwrap_or_default(),
    })
}

/// Asks devices, all at once; one that does not tell has its error.
pub(crate) async fn on_all(project: &Project, names: &[String]) -> Vec<OnDevice> {
    let work = |name: String| async move { whole(project, &name).await };
    let told = |(device, answer): (String, Result<OnDevice>)| {
        answer.unwrap_or_else(|error| OnDevice {
            device,
            error: Some(format!("{error:#}")),
            apps: Vec::new(),
            switches: Vec::new(),
        })
    };
    rollout::ask(names, work)
        .await
        .into_iter()
        .map(told)
        .collect()
}
