//! Apps on the container engine, and whether the engine's authorization plugin refuses
//! what edge-docker did not ask for.

use std::collections::BTreeMap;

use anyhow::Result;
use edge_common::Root;
use edge_common::contract::{label, suffix};
use edge_common::engine::{self, Container, Health};
use serde::Deserialize;

use crate::gate::{App, AppBefore, Check};

/// Container that nobody has asked edge-docker for, with an image that cannot exist.
const UNSIGNED: &str = r#"{"Image":"edge-os.invalid/unsigned"}"#;

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Healthcheck {
    interval: i64,
    retries: i64,
    start_period: i64,
}

#[derive(Deserialize)]
struct Inspected {
    #[serde(rename = "Config")]
    config: InspectedConfig,
}

#[derive(Deserialize)]
struct InspectedConfig {
    #[serde(rename = "Healthcheck", default)]
    healthcheck: Option<Healthcheck>,
}

/// Returns the state of each app, by the names of their containers.
///
/// # Errors
/// The engine does not answer.
pub fn apps(root: &Root) -> Result<BTreeMap<String, App>> {
    Ok(containers(root)?
        .into_iter()
        .map(|(name, c)| (name, state(&c)))
        .collect())
}

/// Returns the health of each app for the journal of an update.
///
/// # Errors
/// The engine does not answer.
pub fn apps_before(root: &Root) -> Result<BTreeMap<String, AppBefore>> {
    let before = |(name, container): (String, Container)| {
        let path = format!("/containers/{}/json", container.id);
        let inspected: Option<Inspected> = engine::get(root, &path).ok();
        let check = inspected.and_then(|i| i.config.healthcheck);
        let app = AppBefore {
            healthy: state(&container) == App::Healthy,
            critical: true,
            gives_up_after: check.map_or(0, |c| gives_up_after(&c)),
        };
        (name, app)
    };
    Ok(containers(root)?.into_iter().map(before).collect())
}

/// Returns the seconds after which a health check gives up.
fn gives_up_after(check: &Healthcheck) -> u64 {
    let nanoseconds = check
        .start_period
        .saturating_add(check.interval.saturating_mul(check.retries.max(1)));
    u64::try_from(nanoseconds / 1_000_000_000).unwrap_or(0)
}

fn containers(root: &Root) -> Result<Vec<(String, Container)>> {
    let app = |container: Container| {
        let set = |key| container.label(key).is_some();
        // Sandbox apps are an engineer's, for today.
        let signed = set(label::APP) && !set(label::SANDBOX) && !set(label::TICKET);
        let name = container.name()?.to_string();
        let kept = suffix::RESERVED.iter().any(|s| name.ends_with(s));
        (signed && !kept).then_some((name, container))
    };
    let list = engine::containers(root)?;
    Ok(list.into_iter().filter_map(app).collect())
}

fn state(container: &Container) -> App {
    match container.health() {
        _ if container.state != "running" => App::Unhealthy(container.status.clone()),
        Some(Health::Unhealthy) => App::Unhealthy(container.status.clone()),
        Some(Health::Starting) => App::Starting,
        Some(Health::Healthy) | None => App::Healthy,
    }
}

/// Asks the engine for a container behind edge-docker's back: the authorization plugin has
/// to refuse it.
pub fn policy(root: &Root) -> Check {
    match engine::post(root, "/containers/create", UNSIGNED) {
        Ok(403) => Check::Good,
        Ok(status) => Check::Bad(format!(
            "the engine answers a container without a signature with {status}, not 403: its \
             authorization plugin does not work"
        )),
        Err(error) => Check::Pending(format!("{error:#}")),
    }
}
