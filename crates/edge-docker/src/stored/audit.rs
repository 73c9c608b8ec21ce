//! `audit-stored`: compares the stored containers with the policy before the engine
//! starts, and quarantines those that do not comply. The engine trusts its own files and
//! starts the containers that they describe: without the audit, a restart policy or an
//! edited file could bypass the policy.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_common::contract::label;
use edge_common::{Root, file, log};
use edge_docker_policy::grants::Table;
use edge_docker_policy::identity::Identity;
use edge_docker_policy::mounts::CloneRecord;
use edge_docker_policy::refusal::refuse;
use edge_docker_policy::stored::container::Stored;
use edge_docker_policy::stored::{self, Facts};
use edge_signature::{Digest, Verified, valid_app};
use serde_json::Value;

use super::layers::Layers;
use super::quarantine::Quarantine;
use super::{created, disk, files, reserve, state};
use crate::engine::containers;
use crate::image::{identify, release_numbers, signatures};
use crate::journal::{self, Phase};
use crate::mounts::clones;
use crate::trust::{self, Trust};

/// PID file of the engine, which exists while the engine runs.
const PID: &str = "/run/docker.pid";
/// Size limit of the PID file, in bytes.
const MAX_PID_BYTES: u64 = 64;

/// Audits the stored containers and the engine's state before the engine starts, and
/// quarantines those that break the policy. After an error the engine must not start:
/// something could not be read or moved.
pub(crate) fn run(root: &Root) -> Result<()> {
    require_stopped_engine(root)?;
    // First, since the audit itself writes where it finds something.
    reserve::adjust(root);
    let data_root = disk::data_root(root)?;
    let mut quarantine = Quarantine::below(&data_root);
    state::require_directories(&data_root)?;
    let kept = containers(root, &data_root, &mut quarantine)?;
    remove_clones_but(root, kept.values())?;
    created::forget_others(root, &kept.keys().cloned().collect())?;
    state::audit(&data_root, &mut quarantine)
}

fn require_stopped_engine(root: &Root) -> Result<()> {
    let pid = file::read_text(&root.path(PID), MAX_PID_BYTES).unwrap_or_default();
    let name = fs::read_to_string(format!("/proc/{}/comm", pid.trim())).unwrap_or_default();
    if !pid.trim().is_empty() && name.trim() == "dockerd" {
        return Err(refuse(
            "audit-stored is refused while the engine runs: it belongs before its start",
        ));
    }
    Ok(())
}

/// Audits every stored container and quarantines those that break a rule. Returns the
/// others: the ID of each container, and the key of its mount clones if it has any.
fn containers(
    root: &Root,
    data_root: &Path,
    quarantine: &mut Quarantine,
) -> Result<BTreeMap<String, Option<String>>> {
    let mut auditor = Auditor::new(root, data_root)?;
    let mut kept = BTreeMap::new();
    let mut keys = BTreeSet::new();
    for directory in disk::entries(&data_root.join("containers"))? {
        let id = directory
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let stored = files::read(&directory).map_err(|e| format!("{e:#}"));
        let name = stored.as_ref().map_or("", Stored::name).to_string();
        let verdict = stored.and_then(|stored| auditor.audit(&stored));
        let verdict = verdict.and_then(|key| match key {
            Some(key) if !keys.insert(key.clone()) => {
                Err("its mount clones are another's".to_string())
            }
            key => Ok(key),
        });
        match verdict {
            Ok(key) => drop(kept.insert(id, key)),
            Err(rule) => {
                quarantine.receive(&directory, &format!("container {id} {name}"), &rule)?
            }
        }
    }
    Ok(kept)
}

/// Removes all mount clones except those with a key in `kept`.
fn remove_clones_but<'a>(
    root: &Root,
    kept: impl Iterator<Item = &'a Option<String>>,
) -> Result<()> {
    let kept: BTreeSet<_> = kept.flatten().collect();
    for (key, _) in clones::records(root)? {
        if !kept.contains(&key) {
            clones::remove(root, &key)?;
        }
    }
    Ok(())
}

/// Trust anchors, engine data and caches for the audit of containers.
struct Auditor<'a> {
    root: &'a Root,
    trust: Trust,
    table: Table,
    layers: Layers,
    volumes: PathBuf,
    /// Whether the device has cgroups of version 2, where each container has its own
    /// cgroup namespace.
    cgroups_v2: bool,
    /// Cache: content and image ID of the verified signature, by the digest of the
    /// manifest, the app and its version.
    proven: BTreeMap<[String; 3], (Verified, Digest)>,
    /// IDs of the containers on trial, whose release numbers are not accepted yet.
    on_trial: BTreeSet<String>,
    images: BTreeMap<String, Value>,
}

impl<'a> Auditor<'a> {
    fn new(root: &'a Root, data_root: &Path) -> Result<Self> {
        let open = journal::all(root).into_iter();
        let open = open.filter(|j| j.phase == Phase::Trial);
        Ok(Self {
            root,
            on_trial: open.filter_map(|j| Some(j.new?.id)).collect(),
            trust: trust::load(root)?,
            table: trust::grants(root)?,
            layers: Layers::new(data_root),
            volumes: data_root.join("volumes"),
            cgroups_v2: root.path("/sys/fs/cgroup/cgroup.controllers").exists(),
            proven: BTreeMap::new(),
            images: BTreeMap::new(),
        })
    }

    /// Audits one container and creates its mount clones again. Returns their key, if the
    /// container has mounts, or the broken rule as the error.
    fn audit(&mut self, container: &Stored) -> Result<Option<String>, String> {
        let requested = created::find(self.root, &container.id);
        let requested = requested.map_err(|e| format!("{e:#}"))?;
        let requested = requested.ok_or("edge-docker did not create it")?;
        let identity = self.identity(container, &requested)?;
        let image = self.image(container.image())?;
        let granted = self.table.granted(&identity);
        let clones = self.clones(&requested)?;
        stored::check(&Facts {
            stored: container,
            requested: &requested,
            image: &image["config"],
            identity: &identity,
            granted: &granted,
            clones: clones.as_ref().map(|(_, record)| record),
            volumes: &self.volumes,
            cgroups_v2: self.cgroups_v2,
        })?;
        self.layers.check(&container.id, &image)?;
        self.accept(container, &requested);
        let Some((key, record)) = clones else {
            return Ok(None);
        };
        clones::restore(self.root, &key, &record).map_err(|e| format!("its mounts: {e:#}"))?;
        Ok(Some(key))
    }

    /// Returns the identity of a container, from the cached signature of its image or,
    /// for a sandbox, from the label in its create request.
    fn identity(&mut self, stored: &Stored, requested: &Value) -> Result<Identity, String> {
        let labels = &requested["Labels"];
        let sandbox = labels[label::SANDBOX].as_str();
        if let Some(app) = sandbox.filter(|app| !app.is_empty()) {
            self.trust
                .sandbox_allowed("a sandbox")
                .map_err(|e| e.to_string())?;
            if !valid_app(app) {
                return Err("its label names no app".into());
            }
            return Ok(Identity::Sandbox { app: app.into() });
        }
        let key = key(labels);
        if !self.proven.contains_key(&key) {
            let proven = self.prove(labels).map_err(|e| format!("{e:#}"))?;
            self.proven.insert(key.clone(), proven);
        }
        let (verified, id) = &self.proven[&key];
        if id.as_str() != stored.image() {
            return Err("its image is not the one that was signed".into());
        }
        release_numbers::check_container(self.root, verified, &stored.id)
            .map_err(|e| e.to_string())?;
        Ok(identify::signed_identity(verified))
    }

    /// Raises the floor of the release numbers to that of a container that has run. Shows
    /// a record that was removed, and completes one that could not be written.
    fn accept(&self, container: &Stored, requested: &Value) {
        let proven = self.proven.get(&key(&requested["Labels"]));
        let started = container.config["State"]["StartedAt"].as_str();
        let has_run = started.is_some_and(containers::has_started);
        let Some((verified, _)) = proven.filter(|_| has_run) else {
            return;
        };
        let annotations = &verified.annotations;
        let (app, number) = (&annotations.app, annotations.release_number);
        if self.on_trial.contains(&container.id) {
            return;
        }
        if let Err(error) = release_numbers::raise(self.root, app, number, false) {
            log::error(format_args!("release numbers of {app}: {error:#}"));
        }
    }

    fn prove(&self, labels: &Value) -> Result<(Verified, Digest)> {
        let found = signatures::of_container(self.root, &self.trust, labels)?;
        found.context("no proof of its image is kept")
    }

    fn image(&mut self, id: &str) -> Result<Value, String> {
        if let Some(image) = self.images.get(id) {
            return Ok(image.clone());
        }
        let digest = id.parse().map_err(|_| "its image has no Id")?;
        let image = self.layers.image(&digest)?;
        self.images.insert(id.into(), image.clone());
        Ok(image)
    }

    fn clones(&self, requested: &Value) -> Result<Option<(String, CloneRecord)>, String> {
        let key = requested["Labels"][label::MOUNTS].as_str();
        let Some(key) = key.filter(|key| !key.is_empty()) else {
            return Ok(None);
        };
        let record = clones::record(self.root, key);
        let record = record.map_err(|e| format!("its mount record: {e:#}"))?;
        Ok(Some((key.into(), record)))
    }
}

/// Returns digest, app and version of a container's labels.
fn key(labels: &Value) -> [String; 3] {
    [label::DIGEST, label::APP, label::VERSION]
        .map(|name| labels[name].as_str().unwrap_or_default().to_string())
}
