//! Invariants of every action, and of a device at rest.

use std::collections::BTreeMap;

use edge_fleet::converge::{Action, Candidate, Deployed, Execution, Phase, Purpose, Save, Status};

use super::cloud::Cloud;
use super::device::Device;

/// Memory of a schedule that the device does not have.
#[derive(Default)]
pub struct Checks {
    /// Set that each execution demands.
    pub demanded: BTreeMap<Execution, String>,
    /// Set that was last written as the standing one.
    standing: Option<String>,
    /// Apps before the first change of the present candidate.
    before: BTreeMap<String, Option<Deployed>>,
    /// Changes and interruptions of the present candidate.
    forward: usize,
    back: usize,
    interruptions: usize,
    /// Changes of all candidates.
    pub changes: usize,
}

fn ensure(holds: bool, what: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.into()) }
}

impl Checks {
    pub fn interrupted(&mut self) {
        self.interruptions += 1;
    }

    /// Checks an action before it is carried out.
    pub fn action(&mut self, device: &Device, now: u64, action: &Action) -> Result<(), String> {
        match action {
            Action::Save(save) => self.save(device, save),
            Action::Take { set, .. } => {
                let candidate = device.durable().candidate;
                let chosen = candidate.is_some_and(|candidate| candidate.set == *set);
                let demanded = self.demanded.values().any(|demanded| demanded == set);
                ensure(chosen || demanded, "a set that nobody demands is taken")
            }
            Action::Check { set } | Action::Fetch { set, .. } => {
                let candidate = device.durable().candidate;
                let chosen = candidate.is_some_and(|candidate| candidate.set == *set);
                ensure(chosen, "a request for a set that is not the candidate")
            }
            Action::Replace {
                app,
                version,
                purpose,
                ..
            } => self.change(device, now, app, Some(version), *purpose),
            Action::Remove { app, purpose } => self.change(device, now, app, None, *purpose),
            Action::Raise { set } => {
                let standing = device.durable().standing;
                let stands = standing.is_some_and(|standing| standing.set == *set);
                ensure(stands, "the floor is raised before the set stands")
            }
            Action::Wait { seconds } => ensure(*seconds > 0, "a wait of no time"),
            Action::Rest(_) => Ok(()),
        }
    }

    fn change(
        &mut self,
        device: &Device,
        now: u64,
        app: &str,
        version: Option<&Deployed>,
        purpose: Purpose,
    ) -> Result<(), String> {
        self.changes += 1;
        let now = now - device.clock_back;
        let hold = device.holds.holds.get(app);
        let held = hold.is_some_and(|hold| hold.until.is_none_or(|until| until > now));
        ensure(!held, "a held app is changed")?;
        let disk = device.durable();
        if purpose == Purpose::Repair {
            let standing = disk.standing.ok_or("a repair without a standing set")?;
            let plan = &device.set(&standing.set).unwrap().plan;
            let named = plan
                .apps
                .iter()
                .any(|p| p.app == app && Some(&p.deployed) == version);
            return ensure(named, "a repair to something else");
        }
        let candidate = disk.candidate.ok_or("a change without a candidate")?;
        let set = device
            .set(&candidate.set)
            .ok_or("a change for an unknown set")?;
        let apps = set.plan.apps.len() + set.plan.remove.len();
        if purpose == Purpose::Back {
            self.back += 1;
            ensure(
                self.before.get(app) == Some(&version.cloned()),
                "back to something else",
            )?;
            return ensure(
                self.back <= apps + 3 * self.interruptions,
                "too many changes back",
            );
        }
        self.forward += 1;
        ensure(set.flaw.is_none(), "a bad set is carried out")?;
        let older =
            |s: edge_fleet::converge::Standing| s.number >= set.plan.number && s.set != set.digest;
        ensure(
            !disk.standing.is_some_and(older),
            "an older set is carried out",
        )?;
        let named = match version {
            Some(version) => set
                .plan
                .apps
                .iter()
                .any(|p| p.app == app && p.deployed == *version),
            None => set.plan.remove.iter().any(|removed| removed == app),
        };
        ensure(named, "a change that the set does not name")?;
        // An app that interrupts the device each time is given up after three attempts.
        let most = apps + self.interruptions.min(3 * apps);
        ensure(self.forward <= most, "too many changes forward")
    }

    fn save(&mut self, device: &Device, save: &Save) -> Result<(), String> {
        match save {
            Save::Candidate(Some(candidate)) => self.candidate(device, candidate),
            Save::Candidate(None) | Save::Repairs(_) => Ok(()),
            Save::Standing(standing) => {
                self.standing = Some(standing.set.clone());
                Ok(())
            }
            Save::Results(results) => {
                ensure(results.results.len() <= 32, "too many results")?;
                let known = device.durable();
                for result in &results.results {
                    let new = known.results.of(&result.execution) != Some(result);
                    if new && result.status == Status::Succeeded {
                        self.success(device, &result.execution)?;
                    }
                    ensure(result.details.len() <= 10, "too many details")?;
                }
                Ok(())
            }
        }
    }

    fn candidate(&mut self, device: &Device, candidate: &Candidate) -> Result<(), String> {
        let old = device.run.disk.candidate.as_ref();
        let begins = matches!(candidate.phase, Phase::Begun { .. })
            && old.is_some_and(|old| old.phase.is_before_first_change());
        if begins {
            let set = device.set(&candidate.set).ok_or("an unknown set begins")?;
            let affected = set.plan.affected().into_iter();
            let version = |app: &String| device.apps.get(app).map(|app| app.deployed.clone());
            self.before = affected.map(|app| (app.clone(), version(&app))).collect();
            (self.forward, self.back, self.interruptions) = (0, 0, 0);
        }
        // What a person does after this decision does not change it.
        if candidate.phase == Phase::Commit && old.is_some_and(|old| old.phase != Phase::Commit) {
            let world = device.world();
            ensure(
                world.agrees_with(&candidate.set),
                "the commit of a mixed device",
            )?;
        }
        Ok(())
    }

    fn success(&self, device: &Device, execution: &Execution) -> Result<(), String> {
        let set = self
            .demanded
            .get(execution)
            .ok_or("a success of an unknown execution")?;
        let set = device.set(set).ok_or("a success of an unknown set")?;
        if set.plan.is_revocation_list() {
            return ensure(
                device.lists.contains(&set.digest),
                "a list that was not taken",
            );
        }
        let standing = device.durable().standing;
        let stands = standing.is_some_and(|standing| standing.set == set.digest);
        ensure(stands, "a success of a set that does not stand")?;
        ensure(set.flaw.is_none(), "a success of a bad set")?;
        ensure(device.floor >= set.plan.number, "a success above the floor")
    }

    /// Checks a device at rest, whose network, disk and list are as they should be.
    pub fn at_rest(&self, device: &Device, cloud: &mut Cloud) -> Result<(), String> {
        let disk = device.durable();
        let left = cloud.list();
        ensure(
            left.is_empty(),
            format!("stuck: {left:?}, {:?}", device.run.rest),
        )?;
        ensure(
            disk.candidate.is_none(),
            format!("a candidate at rest: {:?}", disk.candidate),
        )?;
        let standing = disk.standing.as_ref().map(|standing| standing.set.clone());
        ensure(
            standing == self.standing,
            "the standing set is not the committed one",
        )?;
        let Some(standing) = standing else {
            return Ok(());
        };
        let plan = &device.set(&standing).unwrap().plan;
        if !device.proofs.contains(&standing) {
            // Without its proof a set is not repaired.
            return Ok(());
        }
        for planned in &plan.apps {
            let app = device.apps.get(&planned.app);
            let agrees = app.is_some_and(|app| app.deployed == planned.deployed);
            ensure(
                agrees,
                format!("{} is not as the standing set says", planned.app),
            )?;
        }
        Ok(())
    }
}
