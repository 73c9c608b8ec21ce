//! Sources of an explanation: the engine, the boot audit, refused units, deployments and
//! the ledger. Each may be absent: a device that is down must still explain itself.

use anyhow::Result;
use edge_common::contract::label;
use edge_common::contract::limit::UNIT_REFUSALS_BYTES;
use edge_common::contract::path::UNIT_REFUSALS;
use edge_common::{Root, boot, file, time};
use edge_docker_policy::stored::container::Stored;
use hyper::Method;
use serde::Deserialize;

use crate::engine::client;
use crate::engine::containers::{self, State};
use crate::journal::{self, Journal};
use crate::ledger::events::{self, Event};
use crate::stored::{damage, disk, files, quarantine};

/// Facts about the apps of this device.
#[derive(Default)]
pub(super) struct Sources {
    /// Containers of the engine.
    pub(super) containers: Vec<Seen>,
    /// Why the engine does not answer, if so.
    pub(super) engine_error: Option<String>,
    /// Containers in the quarantine, the newest first.
    pub(super) quarantined: Vec<Quarantined>,
    /// Names of the containers that the boot audit keeps from the engine until its next
    /// start.
    pub(super) withheld: Vec<String>,
    /// Messages of edge-generator, each beginning with the name of a unit.
    pub(super) units: Vec<String>,
    /// Last deployments.
    pub(super) journals: Vec<Journal>,
    /// Records of the ledger, the newest first.
    pub(super) events: Vec<Event>,
    /// Steps of this boot that failed.
    pub(super) boot: Vec<boot::Record>,
}

/// Container of the engine.
#[derive(Clone, Default)]
pub(super) struct Seen {
    pub(super) name: String,
    /// App by the labels of edge-docker; empty for a container that it did not create.
    pub(super) app: String,
    pub(super) version: String,
    pub(super) state: State,
    /// Damage of its image that a check has found.
    pub(super) damage: Option<String>,
}

/// Container that the boot audit has quarantined.
#[derive(Clone, Default)]
pub(super) struct Quarantined {
    pub(super) name: String,
    /// Time, RFC 3339.
    pub(super) time: String,
    pub(super) rule: String,
}

/// Content of the file of edge-generator.
#[derive(Default, Deserialize)]
struct UnitRefusals {
    #[serde(default)]
    messages: Vec<String>,
}

impl Sources {
    /// Reads all sources.
    pub(super) async fn read(root: &Root) -> Self {
        let (containers, engine_error) = match containers(root).await {
            Ok(containers) => (containers, None),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        let boot_id = boot::id(root);
        let mut boot = boot::records(root);
        boot.retain(|step| step.result == "failed" && step.boot_id == boot_id);
        Self {
            containers,
            engine_error,
            quarantined: quarantined(root),
            withheld: withheld(root),
            units: units(root),
            journals: journal::all(root),
            events: events::newest(root),
            boot,
        }
    }

    /// Returns the apps that anything is known of, sorted.
    pub(super) fn apps(&self) -> Vec<String> {
        let containers = self.containers.iter().filter(|c| !c.app.is_empty());
        let names = containers.map(|c| c.name.as_str());
        let names = names.chain(self.quarantined.iter().map(|q| q.name.as_str()));
        let names = names.chain(self.withheld.iter().map(String::as_str));
        let names = names.chain(self.journals.iter().map(|j| j.name.as_str()));
        let mut apps: Vec<String> = names.map(|n| journal::base(n).to_string()).collect();
        apps.retain(|app| !app.is_empty());
        apps.sort();
        apps.dedup();
        apps
    }
}

async fn containers(root: &Root) -> Result<Vec<Seen>> {
    let list = client::request(root, Method::GET, "/containers/json?all=1", None).await?;
    let mut seen = Vec::new();
    for listed in list.as_array().into_iter().flatten() {
        let id = listed["Id"].as_str().unwrap_or_default();
        // Removed meanwhile otherwise.
        if let Some(found) = containers::find(root, id).await? {
            let version = found.label(label::VERSION).unwrap_or_default();
            seen.push(Seen {
                name: found.name().into(),
                app: found.app().unwrap_or_default().into(),
                version: version.into(),
                damage: damage::reason(root, &found.image),
                state: found.state,
            });
        }
    }
    Ok(seen)
}

fn quarantined(root: &Root) -> Vec<Quarantined> {
    let Ok(data_root) = disk::data_root(root) else {
        return Vec::new();
    };
    let contents = quarantine::contents(&data_root).into_iter();
    let parsed = contents.filter_map(|(seconds, text)| {
        let (id_and_name, rule) = text.strip_prefix("container ")?.split_once(": ")?;
        let (_, name) = id_and_name.split_once(' ')?;
        Some(Quarantined {
            name: name.into(),
            time: time::rfc3339(seconds),
            rule: rule.trim_end().into(),
        })
    });
    parsed.collect()
}

fn withheld(root: &Root) -> Vec<String> {
    let directory = disk::data_root(root).map(|data_root| data_root.join("withheld"));
    let paths = directory
        .and_then(|d| disk::entries(&d))
        .unwrap_or_default();
    let read = |path: &std::path::PathBuf| files::read(path).ok();
    let stored = paths.iter().filter_map(read);
    stored.map(|s: Stored| s.name().to_string()).collect()
}

fn units(root: &Root) -> Vec<String> {
    let text = file::read(&root.path(UNIT_REFUSALS), UNIT_REFUSALS_BYTES).unwrap_or_default();
    let refusals: UnitRefusals = serde_json::from_slice(&text).unwrap_or_default();
    refusals.messages
}
