//! Judgement of one stored container: by the policy, and by its signed run specification
//! where that is demanded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use edge_common::contract::label;
use edge_common::level::RunMode;
use edge_common::{Root, log};
use edge_docker_policy::grants::{self, Table};
use edge_docker_policy::identity::Identity;
use edge_docker_policy::mounts::CloneRecord;
use edge_docker_policy::stored::container::Stored;
use edge_docker_policy::stored::{self, Facts};
use edge_signature::{Digest, Verified, valid_app};
use serde_json::{Value, json};

use super::expected::Expected;
use super::fault::Fault;
use super::layers::Layers;
use super::remake::Remake;
use super::{created, disk, replacement};
use crate::engine::containers;
use crate::image::{identify, release_numbers, signatures};
use crate::journal::{self, Phase};
use crate::mounts::clones;
use crate::signed_app::SignedApp;
use crate::storage::Demand;
use crate::trust::{self, Trust};

/// Container that the engine may have.
pub(super) struct Kept {
    /// Key of its mount clones, if it has any.
    pub(super) key: Option<String>,
    /// Whether its settings are those of its signed run specification.
    pub(super) is_signed: bool,
    /// Storage that its app demands.
    pub(super) demand: Demand,
}

/// Trust anchors, engine data and caches for the audit of containers.
pub(super) struct Auditor<'a> {
    root: &'a Root,
    /// Trust anchors of the device.
    pub(super) trust: Trust,
    table: Table,
    /// Storage of layers.
    pub(super) layers: Layers,
    volumes: PathBuf,
    /// Log options that the engine adds to those of a create request.
    log_options: Value,
    /// Whether the device has cgroups of version 2, where each container has its own
    /// cgroup namespace.
    cgroups_v2: bool,
    /// Cache: verified signature and image ID, by the digest of the manifest, the app and
    /// its version.
    proven: BTreeMap<[String; 3], (Verified, Digest)>,
    /// IDs of the containers on trial, whose release numbers are not accepted yet.
    on_trial: BTreeSet<String>,
    images: BTreeMap<String, Value>,
}

impl<'a> Auditor<'a> {
    /// Reads the trust anchors for an audit of the engine's data in `data_root`.
    pub(super) fn new(root: &'a Root, data_root: &Path) -> Result<Self> {
        let open = journal::all(root).into_iter();
        let open = open.filter(|j| j.phase == Phase::Trial);
        Ok(Self {
            root,
            on_trial: open.filter_map(|j| Some(j.new?.id)).collect(),
            trust: trust::load(root)?,
            table: trust::grants(root)?,
            layers: Layers::new(data_root),
            volumes: data_root.join("volumes"),
            log_options: disk::configuration(root)?["log-opts"].clone(),
            cgroups_v2: root.path("/sys/fs/cgroup/cgroup.controllers").exists(),
            proven: BTreeMap::new(),
            images: BTreeMap::new(),
        })
    }

    /// Audits one container and creates its mount clones again.
    pub(super) fn audit(&mut self, container: &Stored) -> Result<Kept, Fault> {
        let record = created::find(self.root, &container.id).map_err(|e| Fault::of(&e));
        let record_label = record.as_ref().ok().and_then(Option::as_ref);
        let record_label = record_label.map(|record| &record["Labels"][label::TICKET]);
        let labels = &container.config["Config"]["Labels"];
        if is_set(&labels[label::TICKET]) || record_label.is_some_and(is_set) {
            return Err("it was created under a ticket, which has ended".into());
        }
        if self.takes_only_signed(record.as_ref().ok().and_then(Option::as_ref)) {
            return self.audit_signed(container, record);
        }
        let requested = record?.ok_or("edge-docker did not create it")?;
        let identity = self.identity(container, &requested)?;
        let clones = self.clones(&requested)?;
        let clones = clones.as_ref().map(|(key, record)| (key.as_str(), record));
        self.check(container, &requested, &identity, clones)?;
        let image = self.image(container.image())?;
        self.layers.check(&container.id, &image)?;
        let verified = match identity {
            Identity::Signed { .. } => Some(self.prove(&requested["Labels"])?.0),
            Identity::Sandbox { .. } => None,
        };
        if let Some(verified) = &verified {
            self.accept(container, verified);
        }
        self.restore(clones, false, Demand::of(&identity, verified.as_ref()))
    }

    /// Returns whether a container must be that of a signed run specification: all where
    /// the policy says so, elsewhere those that hold grants.
    fn takes_only_signed(&self, record: Option<&Value>) -> bool {
        if self.trust.run == RunMode::Signed {
            return true;
        }
        // The engine's files are compared with the record later.
        record.is_some_and(|record| {
            let is_sandbox = is_set(&record["Labels"][label::SANDBOX]);
            !is_sandbox && !grants::held(&record["HostConfig"]).is_empty()
        })
    }

    /// Audits a container that must be that of a signed run specification.
    fn audit_signed(
        &mut self,
        container: &Stored,
        record: Result<Option<Value>, Fault>,
    ) -> Result<Kept, Fault> {
        let (record, unreadable) = match record {
            Ok(record) => (record, None),
            Err(fault) => (None, Some(fault)),
        };
        let app = self.signed_app(container, record.as_ref())?;
        if let Some(unreadable @ Fault::Unreadable(_)) = unreadable {
            return Err(unreadable);
        }
        if let Some(verified) = &app.image.verified {
            self.check_number(verified, container)?;
        }
        let image = self.image(&app.image.id)?;
        // Checked apart: a new container would have the same layers.
        self.layers.of_image(&image)?;
        match self.compare(container, record.as_ref(), &app, &image) {
            Err(Fault::Breaks(rule)) => {
                let remake = replacement::describe(self.root, container, &app, &image);
                let remake = remake.map_err(|e| Fault::of(&e.context(rule.clone())))?;
                Err(Fault::Differs(rule, Box::new(remake)))
            }
            verdict => verdict,
        }
    }

    /// Checks that the release number of a container may start, and that its image is not
    /// revoked.
    fn check_number(&self, verified: &Verified, container: &Stored) -> Result<(), Fault> {
        let revoked = release_numbers::require_not_revoked(self.root, verified);
        revoked.map_err(|error| Fault::Revoked(format!("{error:#}")))?;
        let verdict = release_numbers::check_container(self.root, verified, &container.id);
        verdict.map_err(|error| {
            match release_numbers::is_readable(self.root, &verified.annotations.app) {
                true => Fault::Breaks(error.to_string()),
                // The container may be as new as it has to be.
                false => Fault::Unreadable(error.to_string()),
            }
        })
    }

    /// Raises the floor of the release numbers to that of a container that has run. Shows
    /// a record that was removed, and completes one that could not be written.
    fn accept(&self, container: &Stored, verified: &Verified) {
        let started = container.config["State"]["StartedAt"].as_str();
        let has_run = started.is_some_and(containers::has_started);
        if !has_run || self.on_trial.contains(&container.id) {
            return;
        }
        let annotations = &verified.annotations;
        let (app, number) = (&annotations.app, annotations.release_number);
        if let Err(error) = release_numbers::raise(self.root, app, number, false) {
            log::error(format_args!("release numbers of {app}: {error:#}"));
        }
    }

    /// Describes the container that takes the place of a withheld one.
    pub(super) fn recreation(&mut self, container: &Stored) -> Result<Remake, Fault> {
        let record = created::find(self.root, &container.id).map_err(|e| Fault::of(&e))?;
        let app = self.signed_app(container, record.as_ref())?;
        if let Some(verified) = &app.image.verified {
            self.check_number(verified, container)?;
        }
        let image = self.image(&app.image.id)?;
        replacement::describe(self.root, container, &app, &image).map_err(|e| Fault::of(&e))
    }

    fn compare(
        &mut self,
        container: &Stored,
        record: Option<&Value>,
        app: &SignedApp,
        image: &Value,
    ) -> Result<Kept, Fault> {
        let record = record.ok_or("its record is missing")?;
        let key = record["Labels"][label::MOUNTS].as_str().unwrap_or_default();
        let expected = Expected::of(self.root, app, key)?;
        expected.compare(record)?;
        if journal::base(container.name()) != app.spec.app {
            return Err("its name is that of another app".into());
        }
        if container.image() != app.image.id {
            return Err("its image is not the one that was signed".into());
        }
        let clones = self.clones(record)?;
        let clones = clones.as_ref().map(|(key, record)| (key.as_str(), record));
        if clones.is_some_and(|(_, record)| *record != expected.clones) {
            return Err("its mount record is not as signed".into());
        }
        self.check(container, record, &app.image.identity, clones)?;
        self.layers.check(&container.id, image)?;
        if let Some(verified) = &app.image.verified {
            self.accept(container, verified);
        }
        let verified = app.image.verified.as_ref();
        self.restore(clones, true, Demand::of(&app.image.identity, verified))
    }

    fn check(
        &mut self,
        container: &Stored,
        requested: &Value,
        identity: &Identity,
        clones: Option<(&str, &CloneRecord)>,
    ) -> Result<(), Fault> {
        let image = self.image(container.image())?;
        let verdict = stored::check(&Facts {
            stored: container,
            requested,
            image: &image["config"],
            identity,
            granted: &self.table.granted(identity),
            clones: clones.map(|(_, record)| record),
            volumes: &self.volumes,
            log_options: &self.log_options,
            cgroups_v2: self.cgroups_v2,
        });
        Ok(verdict?)
    }

    fn restore(
        &self,
        clones: Option<(&str, &CloneRecord)>,
        is_signed: bool,
        demand: Demand,
    ) -> Result<Kept, Fault> {
        if let Some((key, record)) = clones {
            let restored = clones::restore(self.root, key, record);
            restored.map_err(|e| Fault::of(&e.context("its mounts")))?;
        }
        Ok(Kept {
            key: clones.map(|(key, _)| key.to_string()),
            is_signed,
            demand,
        })
    }

    /// Returns the signed app of a container: that of its record, of the engine's file or
    /// of its image, and first the one that its name says. Each of them could be edited.
    fn signed_app(
        &mut self,
        container: &Stored,
        record: Option<&Value>,
    ) -> Result<SignedApp, Fault> {
        let named = journal::base(container.name());
        let labels = [
            record.map(|record| &record["Labels"]),
            Some(&container.config["Config"]["Labels"]),
        ];
        let mut fault = Fault::from("no signed run specification of its image is here");
        let mut found = Vec::new();
        for labels in labels.into_iter().flatten() {
            match self.prove(labels) {
                Ok((verified, id)) => found.push((verified, id)),
                Err(error) => fault = error,
            }
        }
        let is_named = |(verified, _): &(Verified, Digest)| verified.annotations.app == named;
        if !found.iter().any(is_named) {
            found.extend(self.of_image(container.image(), named)?);
        }
        let at = found.iter().position(is_named);
        if found.is_empty() {
            return Err(fault);
        }
        let (verified, id) = found.swap_remove(at.unwrap_or(0));
        SignedApp::of(&self.trust, verified, &id).map_err(|e| Fault::of(&e))
    }

    /// Returns the newest signature of the app `named` for the image `id`.
    fn of_image(&mut self, id: &str, named: &str) -> Result<Option<(Verified, Digest)>, Fault> {
        let mut newest: Option<(u64, Value)> = None;
        for digest in signatures::digests(self.root).map_err(|e| Fault::of(&e))? {
            let found = signatures::versions(self.root, &self.trust, &digest);
            let Ok(Some((versions, image))) = found else {
                continue;
            };
            for verified in versions.iter().filter(|_| image.as_str() == id) {
                let signed = &verified.annotations;
                let number = signed.release_number;
                let is_newer = newest.as_ref().is_none_or(|(newest, _)| number > *newest);
                if signed.app == named && is_newer {
                    let labels = json!({ label::DIGEST: digest, label::APP: signed.app,
                        label::VERSION: signed.version });
                    newest = Some((number, labels));
                }
            }
        }
        newest.map(|(_, labels)| self.prove(&labels)).transpose()
    }

    /// Returns the identity of a container, from the cached signature of its image or,
    /// for a sandbox, from the label in its create request.
    fn identity(&mut self, stored: &Stored, requested: &Value) -> Result<Identity, Fault> {
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
        let (verified, id) = self.prove(labels)?;
        if id.as_str() != stored.image() {
            return Err("its image is not the one that was signed".into());
        }
        self.check_number(&verified, stored)?;
        Ok(identify::signed_identity(&verified))
    }

    /// Verifies the cached signature that the labels of a container name.
    fn prove(&mut self, labels: &Value) -> Result<(Verified, Digest), Fault> {
        let key = [label::DIGEST, label::APP, label::VERSION]
            .map(|name| labels[name].as_str().unwrap_or_default().to_string());
        if let Some(proven) = self.proven.get(&key) {
            return Ok(proven.clone());
        }
        let found = signatures::of_container(self.root, &self.trust, labels);
        let found = found.map_err(|e| Fault::of(&e))?;
        let proven = found.ok_or("no cached signature of its image is here")?;
        self.proven.insert(key, proven.clone());
        Ok(proven)
    }

    fn image(&mut self, id: &str) -> Result<Value, Fault> {
        if let Some(image) = self.images.get(id) {
            return Ok(image.clone());
        }
        let digest = id.parse().map_err(|_| "its image has no Id")?;
        let image = self.layers.image(&digest)?;
        self.images.insert(id.into(), image.clone());
        Ok(image)
    }

    fn clones(&self, requested: &Value) -> Result<Option<(String, CloneRecord)>, Fault> {
        let key = requested["Labels"][label::MOUNTS].as_str();
        let Some(key) = key.filter(|key| !key.is_empty()) else {
            return Ok(None);
        };
        let record = clones::record(self.root, key);
        let record = record.map_err(|e| Fault::of(&e.context("its mount record")))?;
        Ok(Some((key.into(), record)))
    }
}

fn is_set(label: &Value) -> bool {
    label.as_str().is_some_and(|value| !value.is_empty())
}
