//! Durable record of break-glass tickets: IDs that were taken, and what the end of the
//! last one has to undo.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};
use edge_common::contract::label;
use edge_common::{Root, file};
use edge_docker_policy::stored::container::is_hex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Change;

/// File with the record, accessible to root only.
const FILE: &str = "/data/config/edge-docker/break-glass.json";
/// Size limit of the file, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Version of the format.
const VERSION: u32 = 1;
/// Maximum number of tickets that are remembered. None is forgotten before its time, so
/// further ones are refused.
pub(super) const MAX_USED: usize = 1024;

/// Content of the file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    v: u32,
    /// Time that has certainly passed, in seconds of Unix time. It rises with the same
    /// write that forgets a ticket, so that no ticket is both forgotten and valid, also
    /// with an older device image.
    pub(super) floor: u64,
    /// Tickets that were taken.
    pub(super) used: Vec<Used>,
    /// Ticket whose end is not complete.
    pub(super) open: Option<Open>,
    /// Fields of a later version of edge-docker.
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// Ticket that was taken.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Used {
    pub(super) id: String,
    pub(super) not_after: u64,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl Used {
    pub(super) fn new(id: &str, not_after: u64) -> Self {
        Self {
            id: id.into(),
            not_after,
            unknown: Map::new(),
        }
    }
}

/// Ticket whose end is not complete, with the containers to restore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Open {
    /// ID of the ticket.
    pub(crate) id: String,
    /// App that it covers, or `*`.
    pub(crate) app: String,
    /// Containers of its apps as they were before.
    pub(crate) apps: Vec<AppState>,
}

/// Container as it was before a command under a ticket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AppState {
    /// Name of the container.
    pub(crate) name: String,
    /// ID of the container.
    pub(crate) id: String,
    /// App, as its label names it.
    pub(crate) app: String,
    /// Version; empty for a container that was not created from a signed specification.
    pub(crate) version: String,
    /// Digest of the image's manifest.
    pub(crate) digest: String,
    /// Whether it ran.
    pub(crate) running: bool,
    /// Unnamed volumes by their path in the container.
    pub(crate) volumes: BTreeMap<String, String>,
    /// Whether a command under the ticket started, stopped, renamed or removed it.
    pub(crate) is_changed: bool,
    /// Whether a program of the caller's choice ran in it.
    pub(crate) is_entered: bool,
}

impl AppState {
    /// Returns the state from the engine's `inspect` response.
    pub(crate) fn of(found: &Value) -> Self {
        let label = |name: &str| label_of(found, name).to_string();
        let is_signed = !label(label::RUN).is_empty();
        let volumes = found["Mounts"].as_array().into_iter().flatten();
        let volumes = volumes.filter_map(|mount| {
            let name = mount["Name"].as_str().filter(|name| is_hex(name))?;
            let target = mount["Destination"].as_str()?;
            (mount["Type"] == "volume").then(|| (target.to_string(), name.to_string()))
        });
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let state = &found["State"];
        Self {
            name: text(&found["Name"]).trim_start_matches('/').into(),
            id: text(&found["Id"]),
            app: label(label::APP),
            version: if is_signed {
                label(label::VERSION)
            } else {
                String::new()
            },
            digest: label(label::DIGEST),
            running: state["Running"] == true || state["Restarting"] == true,
            volumes: volumes.collect(),
            is_changed: false,
            is_entered: false,
        }
    }
}

/// Returns a label of a container, from the engine's `inspect` response; empty if it is
/// absent.
pub(super) fn label_of<'a>(found: &'a Value, name: &str) -> &'a str {
    found["Config"]["Labels"][name].as_str().unwrap_or_default()
}

/// Returns the app of a container, from the engine's `inspect` response; empty if
/// edge-docker did not create it.
pub(crate) fn app_of(found: &Value) -> &str {
    match label_of(found, label::SANDBOX) {
        "" => label_of(found, label::APP),
        app => app,
    }
}

impl Open {
    /// Notes the state of a container before a change. The first state of a name counts.
    pub(super) fn note(&mut self, state: AppState, change: Change) {
        let at = self.apps.iter().position(|app| app.name == state.name);
        let at = at.unwrap_or_else(|| {
            self.apps.push(state);
            self.apps.len() - 1
        });
        let app = &mut self.apps[at];
        app.is_changed |= change != Change::None;
        app.is_entered |= change == Change::Entered;
    }
}

impl Record {
    /// Reads the record; an absent one is empty.
    ///
    /// # Errors
    /// The record is damaged or of a later version. It then permits nothing: it may have
    /// contained any ticket.
    pub(super) fn load(root: &Root) -> Result<Self> {
        let path = root.path(FILE);
        if fs::symlink_metadata(&path).is_err() {
            return Ok(Self {
                v: VERSION,
                floor: 0,
                used: Vec::new(),
                open: None,
                unknown: Map::new(),
            });
        }
        let text = file::read(&path, MAX_FILE_BYTES)?;
        let record: Self = serde_json::from_slice(&text).with_context(|| {
            format!(
                "the record of used tickets is damaged, so tickets are off until {FILE} is \
                 removed at the console"
            )
        })?;
        ensure!(
            record.v == VERSION,
            "{FILE} was written by a later version of the device image"
        );
        Ok(record)
    }

    /// Writes the record durably.
    pub(super) fn write(&self, root: &Root) -> Result<()> {
        let path = root.path(FILE);
        file::create_directory(path.parent().unwrap_or(&path), 0o700)?;
        let text = serde_json::to_vec(self).context("writing the record of tickets")?;
        file::write(&path, &text, 0o600)
    }
}
