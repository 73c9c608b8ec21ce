//! `sweep`: before the engine starts, what is stored for it is held against the
//! policy; what does not fit is moved out of its reach, and kept to be looked at.
//! A restart policy, or an edited file, is no way around the gate.

use edge_common::contract::label;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_common::{Root, file};
use edge_signature::Digest;
use serde_json::Value;

use edge_docker_policy::grants::Table;
use edge_docker_policy::identity::Identity;
use edge_docker_policy::mounts::CloneRecord;
use edge_docker_policy::refusal::refuse;
use edge_docker_policy::stored::container::Stored;
use edge_docker_policy::stored::{config, host_config, policy};

use super::layers::Layers;
use super::quarantine::Quarantine;
use super::{created, disk, files, state};
use crate::image::{identify, pull, signatures};
use crate::mounts::clones;
use crate::trust::{self, Trust};

/// Number of the engine's process, while there is one.
const PID: &str = "/run/docker.pid";
/// Largest file of these, in bytes.
const LARGEST: u64 = 64 * 1024;

/// Sweeps.
///
/// # Errors
/// The engine runs, the trust anchors cannot be read, or something cannot be
/// moved: the engine must not start then.
pub fn sweep(root: &Root, words: &[&str]) -> Result<()> {
    if !words.is_empty() {
        return Err(refuse("sweep takes no words"));
    }
    not_running(root)?;
    let data_root = disk::data_root(root)?;
    let mut quarantine = Quarantine::below(&data_root);
    state::directories(&data_root)?;
    let kept = containers(root, &data_root, &mut quarantine)?;
    pins_of(root, kept.values())?;
    created::forget_others(root, &kept.keys().cloned().collect())?;
    state::check(&data_root, &mut quarantine)
}

fn not_running(root: &Root) -> Result<()> {
    let pid = file::read_text(&root.path(PID), LARGEST).unwrap_or_default();
    let name = fs::read_to_string(format!("/proc/{}/comm", pid.trim())).unwrap_or_default();
    if !pid.trim().is_empty() && name.trim() == "dockerd" {
        return Err(refuse(
            "sweep is refused while the engine runs: it belongs before its start",
        ));
    }
    Ok(())
}

/// Judges every container; gives the keys of the pins of those that stay.
fn containers(
    root: &Root,
    data_root: &Path,
    quarantine: &mut Quarantine,
) -> Result<BTreeMap<String, Option<String>>> {
    let mut judge = Judge::new(root, data_root)?;
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
        let verdict = stored.and_then(|stored| judge.judge(&stored));
        let verdict = verdict.and_then(|key| match key {
            Some(key) if !keys.insert(key.clone()) => Err("its pins are another's".to_string()),
            key => Ok(key),
        });
        match verdict {
            Ok(key) => drop(kept.insert(id, key)),
            Err(rule) => quarantine.take(&directory, &format!("container {id} {name}"), &rule)?,
        }
    }
    Ok(kept)
}

/// Pins of containers that are gone, go.
fn pins_of<'a>(root: &Root, kept: impl Iterator<Item = &'a Option<String>>) -> Result<()> {
    let kept: BTreeSet<_> = kept.flatten().collect();
    for (key, _) in clones::records(root)? {
        if !kept.contains(&key) {
            clones::remove(root, &key)?;
        }
    }
    Ok(())
}

struct Judge<'a> {
    root: &'a Root,
    trust: Trust,
    table: Table,
    layers: Layers,
    volumes: PathBuf,
    /// Cgroups of version 2, where a container has a view of its own?
    unified: bool,
    /// By digest of the manifest: who it is, and the Id of its image.
    proven: BTreeMap<String, (Identity, Digest)>,
    images: BTreeMap<String, Value>,
}

impl<'a> Judge<'a> {
    fn new(root: &'a Root, data_root: &Path) -> Result<Self> {
        Ok(Self {
            root,
            trust: trust::load(root)?,
            table: trust::grants(root)?,
            layers: Layers::new(data_root),
            volumes: data_root.join("volumes"),
            unified: root.path("/sys/fs/cgroup/cgroup.controllers").exists(),
            proven: BTreeMap::new(),
            images: BTreeMap::new(),
        })
    }

    /// The rule that a container breaks, or the key of its pins, made anew.
    fn judge(&mut self, stored: &Stored) -> Result<Option<String>, String> {
        let asked = created::find(self.root, &stored.id);
        let asked = asked.map_err(|e| format!("{e:#}"))?;
        let asked = asked.ok_or("edge-docker did not make it")?;
        let subject = self.subject(stored, &asked)?;
        let image = self.image(stored.image())?;
        host_config::check(&stored.host, &asked["HostConfig"])?;
        if self.unified && stored.host["CgroupnsMode"] == "host" {
            return Err("HostConfig.CgroupnsMode is \"host\"".into());
        }
        config::check(stored, &asked, &image["config"], &self.volumes)?;
        self.layers.check(&stored.id, &image)?;
        let granted = self.table.granted(&subject);
        let pins = self.pins(&asked)?;
        let record = pins.as_ref().map(|(_, record)| record);
        policy::check(&asked, &subject, &granted, record)?;
        let Some((key, record)) = pins else {
            return Ok(None);
        };
        clones::restore(self.root, &key, &record).map_err(|e| format!("its mounts: {e:#}"))?;
        Ok(Some(key))
    }

    /// Whose it is: by a proof that holds for its image, or a sandbox's.
    fn subject(&mut self, stored: &Stored, asked: &Value) -> Result<Identity, String> {
        let labels = &asked["Labels"];
        if let Some(app) = labels[label::SANDBOX].as_str() {
            self.trust
                .sandbox_allowed("a sandbox")
                .map_err(|e| e.to_string())?;
            if !edge_signature::valid_app(app) {
                return Err("its label names no app".into());
            }
            return Ok(Identity::Sandbox { app: app.into() });
        }
        let digest = labels[label::DIGEST].as_str().unwrap_or_default();
        if !self.proven.contains_key(digest) {
            let proven = self.prove(digest).map_err(|e| format!("{e:#}"))?;
            self.proven.insert(digest.into(), proven);
        }
        let (subject, id) = &self.proven[digest];
        if id.as_str() != stored.image() {
            return Err("its image is not the one that was signed".into());
        }
        Ok(subject.clone())
    }

    fn prove(&self, digest: &str) -> Result<(Identity, Digest)> {
        let image = pull::ours(&self.trust, &format!("{}@{digest}", self.trust.repository))?;
        let found = signatures::verified(self.root, &self.trust, &image)?;
        let (verified, id) = found.context("no proof of its image is kept")?;
        Ok((identify::signed(&verified), id))
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

    fn pins(&self, asked: &Value) -> Result<Option<(String, CloneRecord)>, String> {
        let Some(key) = asked["Labels"][label::MOUNTS].as_str() else {
            return Ok(None);
        };
        let record = clones::record(self.root, key);
        let record = record.map_err(|e| format!("its pins: {e:#}"))?;
        Ok(Some((key.into(), record)))
    }
}
