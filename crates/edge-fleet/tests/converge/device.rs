//! Device of a schedule: state files, apps and edge-docker, and the runs of edge-fleet.

use std::collections::{BTreeMap, BTreeSet};

use edge_fleet::converge::{
    Action, App, Candidate, Condition, Deployed, Disk, Done, Holds, Input, LocalTime, Moment,
    Obstacle, Plan, Purpose, Refused, Request, Rest, Save, Verdict, World, next,
};
use edge_fleet::jobs;
use serde::de::DeserializeOwned;

use super::faults::{self, Fault};
use super::sets::Set;

#[derive(Default)]
pub struct Device {
    /// State files of edge-fleet.
    pub files: BTreeMap<&'static str, Vec<u8>>,
    pub holds: Holds,
    pub jobs: Option<Vec<u8>>,
    pub apps: BTreeMap<String, App>,
    /// Sets whose proofs edge-docker keeps.
    pub proofs: BTreeSet<String>,
    /// Revocation lists that were taken.
    pub lists: BTreeSet<String>,
    /// Images on the device.
    pub images: BTreeSet<String>,
    /// Floor of edge-docker.
    pub floor: u64,
    pub network: bool,
    pub full: bool,
    /// The next replacement fails.
    pub flaky: bool,
    /// Seconds by which the clock is set back.
    pub clock_back: u64,
    /// Sets that the cloud or an engineer demand.
    pub sets: Vec<Set>,
    /// State of the present run.
    pub run: Run,
    pub runs: u64,
    pub boots: u64,
    /// Seconds since the boot.
    pub uptime: u64,
    /// A change of an input or the timer starts a run.
    pub triggered: bool,
    pub request: Option<Request>,
    pub fault: Option<Fault>,
}

/// Present run.
#[derive(Default)]
pub struct Run {
    pub active: bool,
    pub disk: Disk,
    pub done: Option<Done>,
    pub offline: bool,
    pub rest: Option<Rest>,
}

/// Effect of an action on the schedule.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    None,
    /// Time passes.
    Wait(u64),
    /// The device crashed.
    Crash,
}

fn parsed<T: DeserializeOwned>(files: &BTreeMap<&str, Vec<u8>>, name: &str) -> Option<T> {
    let text = files.get(name)?;
    Some(serde_json::from_slice(text).unwrap())
}

impl Device {
    pub fn set(&self, digest: &str) -> Option<&Set> {
        self.sets.iter().find(|set| set.digest == digest)
    }

    /// Returns the state that a power loss would leave.
    pub fn durable(&self) -> Disk {
        Disk {
            standing: parsed(&self.files, "standing"),
            candidate: parsed(&self.files, "candidate"),
            results: parsed(&self.files, "results").unwrap_or_default(),
            repairs: parsed(&self.files, "repairs").unwrap_or_default(),
            holds: self.holds.clone(),
        }
    }

    /// Starts a run if one is due. Returns whether one is active.
    pub fn wake(&mut self) -> bool {
        if !self.run.active && self.triggered {
            self.triggered = false;
            self.runs += 1;
            self.run = Run {
                active: true,
                disk: self.durable(),
                ..Run::default()
            };
        }
        self.run.active
    }

    pub fn reboot(&mut self) {
        self.boots += 1;
        self.uptime = 0;
        self.run = Run::default();
        self.request = None;
        match self.fault {
            Some(Fault::ResultsLost) => drop(self.files.remove("results")),
            Some(Fault::CandidateLost) => drop(self.files.remove("candidate")),
            _ => {}
        }
        self.triggered = self.fault != Some(Fault::NoTimer);
    }

    pub fn world(&self) -> World {
        let proved = self.proofs.iter().filter_map(|digest| self.set(digest));
        World {
            apps: self.apps.clone(),
            sets: proved
                .map(|set| (set.digest.clone(), set.plan.clone()))
                .collect(),
        }
    }

    /// Returns the next action of the active run.
    pub fn next(&mut self, now: u64) -> Action {
        let now = now - self.clock_back;
        let mut holds = self.holds.clone();
        holds
            .holds
            .retain(|_, hold| hold.until.is_none_or(|until| until > now));
        self.run.disk.holds = holds;
        let minutes = u32::try_from(now / 60 % (7 * 24 * 60)).unwrap();
        // 1970 began on a Thursday.
        let day = (minutes / (24 * 60) + 4) % 7;
        let mut input = Input {
            run: format!("run-{}", self.runs),
            now,
            moment: Moment {
                boot: format!("boot-{}", self.boots),
                at: self.uptime,
            },
            local: LocalTime::new(day, minutes / 60 % 24, minutes % 60),
            jobs: self.jobs.as_ref().map(|text| jobs::parse(text).unwrap()),
            request: self.request.clone(),
            offline: self.run.offline,
            done: self.run.done.clone(),
        };
        let mut disk = self.run.disk.clone();
        faults::distort(self.fault, &mut disk, &mut input);
        if self.fault == Some(Fault::CancelMidway) && disk.candidate.is_none() {
            self.run.disk.candidate = None;
            self.files.remove("candidate");
        }
        next(&disk, &self.world(), &input)
    }

    /// Carries an action out.
    pub fn perform(&mut self, action: &Action) -> Effect {
        let done = match action {
            Action::Save(save) => {
                self.save(save);
                return Effect::None;
            }
            Action::Take { set, .. } => Done::Taken {
                set: set.clone(),
                result: self.take(set),
            },
            Action::Check { set } => Done::Checked {
                set: set.clone(),
                result: self.check(set),
            },
            Action::Fetch { app, version, .. } => Done::Fetched {
                app: app.clone(),
                digest: version.digest.clone(),
                result: self.fetch(version),
            },
            Action::Replace {
                app,
                version,
                purpose,
                ..
            } => match self.replace(app, version, *purpose) {
                None => return Effect::Crash,
                Some(verdict) => changed(app, *purpose, verdict),
            },
            Action::Remove { app, purpose } => {
                self.apps.remove(app);
                changed(app, *purpose, Verdict::Done)
            }
            Action::Raise { set } => {
                self.floor = self.floor.max(self.set(set).unwrap().plan.number);
                Done::Raised { set: set.clone() }
            }
            Action::Wait { seconds } => return Effect::Wait(*seconds),
            Action::Rest(rest) => {
                self.run.active = false;
                self.run.rest = Some(rest.clone());
                self.request = None;
                return Effect::None;
            }
        };
        self.run.done = Some(done);
        Effect::None
    }

    fn save(&mut self, save: &Save) {
        let disk = &mut self.run.disk;
        let (name, text) = match save {
            Save::Standing(standing) => {
                disk.standing = Some(standing.clone());
                if self.fault == Some(Fault::StandingNotDurable) {
                    return;
                }
                ("standing", serde_json::to_vec(standing))
            }
            Save::Candidate(candidate) => {
                disk.candidate = candidate.as_deref().cloned();
                let wanted = self.request.as_ref().map(|request| &request.desired.set);
                if disk
                    .candidate
                    .as_ref()
                    .is_some_and(|c| Some(&c.set) == wanted)
                {
                    self.request = None;
                }
                if candidate.is_none() {
                    self.files.remove("candidate");
                    return;
                }
                (
                    "candidate",
                    serde_json::to_vec::<Candidate>(candidate.as_ref().unwrap()),
                )
            }
            Save::Results(results) => {
                disk.results = results.clone();
                ("results", serde_json::to_vec(results))
            }
            Save::Repairs(repairs) => {
                disk.repairs = repairs.clone();
                ("repairs", serde_json::to_vec(repairs))
            }
        };
        self.files.insert(name, text.unwrap());
    }

    fn take(&mut self, digest: &str) -> Result<Plan, Obstacle> {
        if !self.network {
            self.run.offline = true;
            return Err(Obstacle::Offline("the registry does not answer".into()));
        }
        let set = self.set(digest).ok_or_else(|| refused("form"))?;
        let plan = set.plan.clone();
        if plan.number < self.floor && !plan.is_revocation_list() {
            return Err(refused("floor"));
        }
        match set.flaw.map(super::sets::Flaw::rule) {
            Some(rule @ ("signature" | "expired" | "not-for")) => Err(refused(rule)),
            _ if plan.is_revocation_list() => {
                self.lists.insert(digest.into());
                Ok(plan)
            }
            _ => {
                self.proofs.insert(digest.into());
                Ok(plan)
            }
        }
    }

    fn check(&self, digest: &str) -> Result<(), Refused> {
        let rule = self.set(digest).unwrap().flaw.map(super::sets::Flaw::rule);
        let rule = rule.or(self.full.then_some("disk"));
        rule.map_or(Ok(()), |rule| {
            Err(Refused {
                rule: rule.into(),
                message: "no\nchance".into(),
            })
        })
    }

    fn fetch(&mut self, version: &Deployed) -> Result<(), Obstacle> {
        if self.images.contains(&version.digest) {
            return Ok(());
        }
        if !self.network {
            self.run.offline = true;
            return Err(Obstacle::Offline("the registry does not answer".into()));
        }
        if self.full {
            return Err(refused("disk"));
        }
        self.images.insert(version.digest.clone());
        Ok(())
    }

    fn replace(&mut self, app: &str, version: &Deployed, purpose: Purpose) -> Option<Verdict> {
        if purpose == Purpose::Forward {
            let candidate = self.run.disk.candidate.as_ref().unwrap();
            let set = self.set(&candidate.set).unwrap();
            if set.crashing.iter().any(|crashing| crashing == app) {
                return None;
            }
            if set.sick.iter().any(|sick| sick == app) {
                return Some(failed("health"));
            }
        }
        if std::mem::take(&mut self.flaky) {
            return Some(failed("health"));
        }
        let app_state = App {
            deployed: version.clone(),
            condition: Condition::Healthy,
        };
        self.apps.insert(app.into(), app_state);
        Some(Verdict::Done)
    }
}

fn changed(app: &str, purpose: Purpose, verdict: Verdict) -> Done {
    Done::Changed {
        app: app.into(),
        purpose,
        verdict,
    }
}

fn refused(rule: &str) -> Obstacle {
    Obstacle::Refused(Refused {
        rule: rule.into(),
        message: "refused".into(),
    })
}

fn failed(reason: &str) -> Verdict {
    Verdict::Failed {
        reason: reason.into(),
        message: "first line\nlast line".into(),
    }
}
