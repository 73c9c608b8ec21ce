//! `audit-stored`: compares the stored containers with the policy before the engine
//! starts, and keeps those that do not comply from it. The engine trusts its own files
//! and starts the containers that they describe: without the audit, a restart policy or
//! an edited file could bypass the policy.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use edge_common::contract::label;
use edge_common::level::RunMode;
use edge_common::policy::LayerCheck;
use edge_common::{Root, boot, file, lock, log};
use edge_docker_policy::refusal::refuse;
use edge_docker_policy::stored::container::Stored;

use super::app_limits::{self, Held};
use super::auditor::{Auditor, Kept};
use super::fault::Fault;
use super::layer_check::Verdicts;
use super::quarantine::Quarantine;
use super::remake::Remake;
use super::top_layers::TopLayers;
use super::withheld::Withheld;
use super::{
    created, database, disk, files, interrupted, recreation, remake, reserve, state, top_layers,
};
use crate::ledger::{Decision, Verdict};
use crate::mounts::clones;

/// PID file of the engine, which exists while the engine runs.
const PID: &str = "/run/docker.pid";
/// Size limit of the PID file, in bytes.
const MAX_PID_BYTES: u64 = 64;
/// Lock of the audit: two at once would remove each other's mount clones.
const LOCK: &str = "/run/edge-docker/audit.lock";
/// Name of the boot step in its record, which edge-heartbeat reports.
const STEP: &str = "edge-docker-audit";

/// Audits the stored containers and the engine's state before the engine starts, and
/// keeps from it what breaks the policy or could not be judged. After an error the engine
/// must not start: something could not be moved.
pub(crate) fn run(root: &Root) -> Result<()> {
    let _lock = take_lock(root)?;
    require_stopped_engine(root)?;
    // First, since the audit itself writes where it finds something.
    reserve::adjust(root);
    let mut fatal = None;
    // The record has more than the exit code: the engine starts without the containers
    // that are kept from it, and operators have to learn of them.
    let _ = boot::recorded(root, STEP, || match audit(root) {
        Ok(faults) if faults.is_empty() => Ok(()),
        Ok(faults) => bail!("{}", faults.join("; ")),
        Err(error) => {
            let text = format!("{error:#}");
            fatal = Some(error);
            bail!("{text}")
        }
    });
    fatal.map_or(Ok(()), Err)
}

/// Takes the lock of the audit, and waits for another one to end.
fn take_lock(root: &Root) -> Result<File> {
    let path = root.path(LOCK);
    file::create_directory(path.parent().unwrap_or(&path), 0o700)?;
    file::put(&path, b"", 0o600)?;
    if let Some(lock) = lock::try_exclusive(&path)? {
        return Ok(lock);
    }
    log::warn(format_args!(
        "another audit is under way: waiting for its end"
    ));
    lock::exclusive(&path)
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

/// Carries out the audit. Returns a line for each container that the engine does not get
/// as it was stored.
fn audit(root: &Root) -> Result<Vec<String>> {
    let data_root = disk::data_root(root)?;
    let mut quarantine = Quarantine::below(&data_root);
    state::require_directories(&data_root)?;
    remake::clear(root)?;
    let withheld = Withheld::below(&data_root);
    withheld.prepare();
    for id in withheld.restore(&mut quarantine)? {
        // Not lost: there is another one.
        created::remove(root, &id);
    }
    // Before the layers are looked at: what is moved here belongs to some image.
    state::audit_images(&data_root, &mut quarantine)?;
    database::audit(&data_root, &mut quarantine)?;
    let auditor = Auditor::new(root, &data_root)?;
    let trust = &auditor.trust;
    let mut audit = Audit {
        root,
        top_layers: TopLayers::new(root, &data_root)?,
        quarantine,
        withheld,
        verdicts: Verdicts::load(root, &data_root, trust.layers == LayerCheck::BeforeStart)?,
        auditor,
        of_damaged: Vec::new(),
        kept: BTreeMap::new(),
        records: BTreeSet::new(),
        interrupted: Vec::new(),
        held: Vec::new(),
        clones: BTreeSet::new(),
        remakes: Vec::new(),
        volumes: BTreeMap::new(),
        is_incomplete: false,
        faults: Vec::new(),
    };
    audit.containers(&data_root)?;
    audit.finish(&data_root)?;
    app_limits::apply_all(root, &audit.auditor.trust, &data_root, &audit.held);
    interrupted::mark(root, &audit.interrupted);
    audit.release_damaged(&data_root);
    state::audit(&data_root, &mut audit.quarantine)?;
    Ok(audit.faults)
}

/// Audit under way, with its results so far.
struct Audit<'a> {
    root: &'a Root,
    auditor: Auditor<'a>,
    top_layers: TopLayers,
    quarantine: Quarantine,
    withheld: Withheld,
    /// Images that must not run.
    verdicts: Verdicts,
    /// IDs of containers of damaged images.
    of_damaged: Vec<String>,
    /// Containers that the engine gets, by ID.
    kept: BTreeMap<String, Kept>,
    /// IDs of containers whose create requests stay.
    records: BTreeSet<String>,
    /// Containers that ran when the engine ended without stopping them.
    interrupted: Vec<interrupted::Interrupted>,
    /// Containers whose apps are limited.
    held: Vec<Held>,
    /// Keys of the mount clones that stay.
    clones: BTreeSet<String>,
    /// Containers that are recreated.
    remakes: Vec<Remake>,
    /// Numbers of containers that use a volume, by its name.
    volumes: BTreeMap<String, u32>,
    /// Whether a record of a withheld container could not be read, so that the key of its
    /// mount clones is not known.
    is_incomplete: bool,
    /// Line for each container that the engine does not get as it was stored.
    faults: Vec<String>,
}

impl Audit<'_> {
    /// Audits every stored container, and moves those with a fault.
    fn containers(&mut self, data_root: &Path) -> Result<()> {
        for directory in disk::entries(&data_root.join("containers"))? {
            let id = directory.file_name().unwrap_or_default();
            let id = id.to_string_lossy().into_owned();
            let stored = files::read(&directory).map_err(|e| Fault::of(&e));
            let name = stored.as_ref().map_or("", Stored::name).to_string();
            let stored_run = stored.as_ref().ok();
            let interrupted = stored_run.and_then(|stored| interrupted::find(&id, stored));
            let points = stored.as_ref().map(|s| &s.config["MountPoints"]);
            let volumes = points.map(app_limits::volumes).unwrap_or_default();
            for volume in &volumes {
                *self.volumes.entry(volume.clone()).or_default() += 1;
            }
            let verdict = stored.and_then(|stored| self.judge(&stored));
            let verdict = verdict.and_then(|kept| match &kept.key {
                Some(key) if !self.clones.insert(key.clone()) => {
                    Err("its mount clones are another's".into())
                }
                _ => Ok(kept),
            });
            match verdict {
                Ok(kept) => {
                    self.records.insert(id.clone());
                    self.interrupted.extend(interrupted);
                    self.held.push(Held {
                        id: id.clone(),
                        name,
                        demand: kept.demand.clone(),
                        volumes,
                    });
                    self.kept.insert(id, kept);
                }
                Err(fault) => self.move_container(&directory, &id, &name, &fault)?,
            }
        }
        self.write_remakes()
    }

    /// Leaves records of the containers that are recreated. A volume that another container
    /// uses, too, does not follow: whose it is cannot be told.
    fn write_remakes(&mut self) -> Result<()> {
        for mut remake in std::mem::take(&mut self.remakes) {
            let is_own = |name: &String| self.volumes.get(name) == Some(&1);
            remake.volumes.retain(|_, name| is_own(name));
            remake::write(self.root, &remake)?;
        }
        Ok(())
    }

    fn judge(&mut self, stored: &Stored) -> Result<Kept, Fault> {
        match self.verdicts.of(stored.image()) {
            None => self.auditor.audit(stored),
            Some((why, true)) => {
                self.of_damaged.push(stored.id.clone());
                match recreation::require_signed(self.root, &stored.id) {
                    Ok(()) => Err(Fault::Unreadable(why)),
                    // Nothing could recreate it.
                    Err(_) => Err(Fault::Breaks(why)),
                }
            }
            Some((why, false)) => Err(Fault::Unreadable(why)),
        }
    }

    /// Removes the layers of containers of damaged images, which the engine does not get:
    /// they would keep it from removing the damaged layers below.
    fn release_damaged(&self, data_root: &Path) {
        for id in &self.of_damaged {
            if data_root.join("containers").join(id).exists() {
                continue;
            }
            if let Err(error) = top_layers::retire(data_root, id) {
                log::warn(format_args!("{error:#}"));
            }
        }
    }

    /// Keeps a container with a fault from the engine, as the fault demands.
    fn move_container(&mut self, path: &Path, id: &str, name: &str, fault: &Fault) -> Result<()> {
        let what = format!("container {id} {name}");
        let short = format!("{}: {fault}", if name.is_empty() { id } else { name });
        let own = self.auditor.layers.exclusive(id);
        if own.is_some_and(|own| self.top_layers.is_mounted(&own)) {
            // The engine has started again within a boot: nobody had the disk meanwhile,
            // and its processes would keep what is moved.
            log::error(format_args!("{what} stays, because it is in use: {fault}"));
            self.faults.push(format!("in use, {short}"));
            self.stay(id);
            return Ok(());
        }
        self.note(name, fault);
        match fault {
            Fault::Breaks(rule) => {
                self.quarantine.receive(path, &what, rule)?;
                self.faults.push(format!("quarantined {short}"));
            }
            Fault::Unreadable(why) | Fault::Revoked(why) => {
                self.withheld.receive(path, &what, why)?;
                self.stay(id);
                self.faults.push(format!("withheld {short}"));
            }
            Fault::Differs(why, remake) => {
                self.withheld.receive(path, &what, why)?;
                self.stay(id);
                self.clones.insert(remake.key.clone());
                self.remakes.push((**remake).clone());
                self.faults.push(format!("recreated {short}"));
            }
        }
        Ok(())
    }

    /// Records in the ledger that the engine does not get a container: engineers who may
    /// only look cannot read the journal.
    fn note(&self, name: &str, fault: &Fault) {
        let verdict = match fault {
            Fault::Breaks(_) | Fault::Revoked(_) => Verdict::Denied,
            Fault::Unreadable(_) | Fault::Differs(..) => Verdict::Failed,
        };
        let decision = Decision {
            verb: "audit-stored",
            container: name,
            ..Decision::default()
        };
        decision.record_failure(self.root, verdict, &fault.to_string());
    }

    /// Keeps the records of a container that the engine does not get now.
    fn stay(&mut self, id: &str) {
        self.records.insert(id.into());
        match created::find(self.root, id) {
            Ok(record) => {
                let key =
                    record.and_then(|r| Some(r["Labels"][label::MOUNTS].as_str()?.to_string()));
                self.clones.extend(key);
            }
            Err(_) => self.is_incomplete = true,
        }
    }

    /// Removes the records that belong to no container, and empties the top layers of
    /// signed containers.
    fn finish(&mut self, data_root: &Path) -> Result<()> {
        if !self.is_incomplete {
            for (key, _) in clones::records(self.root)? {
                if !self.clones.contains(&key) {
                    clones::remove(self.root, &key)?;
                }
            }
        }
        for (id, app) in created::lost(self.root, &self.records)? {
            let why = "its container is gone: run or deploy it again";
            log::error(format_args!("{app}: {why} ({id})"));
            self.note(&app, &Fault::Breaks(why.into()));
            self.faults.push(format!("{app}: {why}"));
        }
        created::forget_others(self.root, &self.records)?;
        if self.auditor.trust.run == RunMode::Any {
            return Ok(());
        }
        let signed = self.kept.iter().filter(|(_, kept)| kept.is_signed);
        let layer = |id: &String| Some((id.clone(), self.auditor.layers.own(id)?));
        let layers: Vec<(String, PathBuf)> = signed.filter_map(|(id, _)| layer(id)).collect();
        for (id, why) in self.top_layers.empty(self.root, &layers)? {
            let path = data_root.join("containers").join(&id);
            self.move_container(&path, &id, "", &Fault::Unreadable(why))?;
        }
        Ok(())
    }
}
