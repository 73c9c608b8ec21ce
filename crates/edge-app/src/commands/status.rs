//! `status`: what runs on devices.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use edge_common::log;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Project;
use crate::deploy::OPTIONS;
use crate::fleet;
use crate::ssh::Device;
use crate::table;

/// A container of ours on a device.
#[derive(Serialize)]
pub struct Running {
    /// What it is called.
    pub name: String,
    /// The app, as the signature says, or the sandbox's name.
    pub app: String,
    /// The version, as the signature says.
    pub version: Option<String>,
    /// What was signed.
    pub digest: Option<String>,
    /// Digest of the key that signed.
    pub signer: Option<String>,
    /// Unsigned?
    pub sandbox: bool,
    /// The engine's word: `running`, `exited`, …
    pub state: String,
    /// `healthy`, `starting`, `unhealthy`; nothing without a check.
    pub health: Option<String>,
    /// RFC 3339.
    pub started: String,
    /// How often the engine started it again.
    pub restarts: u64,
    /// What `app.yaml` said when it was deployed.
    pub options: Option<Vec<String>>,
}

/// A device and what runs there.
#[derive(Serialize)]
pub struct OnDevice {
    /// Its name.
    pub device: String,
    /// Why it did not tell.
    pub error: Option<String>,
    /// What it told.
    pub apps: Vec<Running>,
    /// The last switch of each app.
    pub switches: Vec<Value>,
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
pub async fn apps(device: &Device) -> Result<Vec<Running>> {
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
    let label = |key: &str| labels.get(key).cloned();
    let image = label("edge.image").unwrap_or_default();
    let behind = image.split_once('@').map(|(_, digest)| digest.to_string());
    let health = container.state.health.map(|h| h.status);
    Some(Running {
        name: container.name.trim_start_matches('/').into(),
        app: label("edge.app").or_else(|| label("edge.sandbox"))?,
        version: label("edge.version"),
        digest: label("edge.digest").or(behind),
        signer: label("edge.signer"),
        sandbox: labels.contains_key("edge.sandbox"),
        state: container.state.status,
        health: health.filter(|h| h != "none"),
        started: container.state.started_at,
        restarts: container.restart_count,
        options: label(OPTIONS).and_then(|text| serde_json::from_str(&text).ok()),
    })
}

async fn whole(project: &Project, name: &str) -> Result<OnDevice> {
    let device = Device::new(project, name)?;
    let apps = apps(&device).await?;
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
pub async fn ask(project: &Project, names: &[String]) -> Vec<OnDevice> {
    let work = |name: String| async move { whole(project, &name).await };
    let told = |(device, answer): (String, Result<OnDevice>)| {
        answer.unwrap_or_else(|error| OnDevice {
            device,
            error: Some(format!("{error:#}")),
            apps: Vec::new(),
            switches: Vec::new(),
        })
    };
    fleet::ask(names, work)
        .await
        .into_iter()
        .map(told)
        .collect()
}

/// Prints what runs on devices. One that does not tell makes it an error.
///
/// # Errors
/// A device that does not tell.
pub async fn status(project: &Project, names: &[String], json: bool) -> Result<()> {
    for name in names {
        Device::new(project, name)?;
    }
    let told = ask(project, names).await;
    if json {
        table::json(&told)?;
    } else {
        print(&told);
    }
    let silent: Vec<_> = told.iter().filter_map(|t| t.error.as_deref()).collect();
    for error in &silent {
        log::warn(error);
    }
    if silent.is_empty() {
        return Ok(());
    }
    let code = if silent.len() == names.len() {
        crate::UNREACHABLE
    } else {
        crate::PARTIAL
    };
    let (silent, all) = (silent.len(), names.len());
    let why = format!("{silent} of {all} devices do not tell");
    Err(edge_common::exit::Failure::error(code, why))
}

fn print(told: &[OnDevice]) {
    let mut rows = Vec::new();
    for device in told.iter().filter(|t| t.error.is_none()) {
        for app in &device.apps {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
            let signer = match &app.signer {
                Some(signer) => table::short(signer),
                None if app.sandbox => "sandbox".into(),
                None => "-".into(),
            };
            let digest = app.digest.as_deref().map_or("-".into(), table::short);
            rows.push(vec![
                device.device.clone(),
                app.name.clone(),
                text(&app.version),
                digest,
                app.state.clone(),
                text(&app.health),
                signer,
            ]);
        }
        if device.apps.is_empty() {
            let mut row = vec![device.device.clone()];
            row.resize(7, "-".into());
            rows.push(row);
        }
    }
    let head = [
        "DEVICE", "APP", "VERSION", "DIGEST", "STATE", "HEALTH", "SIGNER",
    ];
    table::print(&head, &rows);
    for device in told {
        for switch in &device.switches {
            let (name, phase) = (&switch["name"], &switch["phase"]);
            if let (Some(name), Some("back" | "down" | "trial")) = (name.as_str(), phase.as_str()) {
                let why = switch["reason"].as_str().unwrap_or_default();
                let why = if why.is_empty() { "under way" } else { why };
                let line = format!("{}: the last switch of {name}: {why}", device.device);
                println!("{}", log::printable(&line));
            }
        }
    }
}
