//! Run: one action after the other, until nothing is left to do.

use std::fs::File;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use edge_common::exit::Failure;
use edge_common::holds::{Hold, Holds};
use edge_common::{Root, file, lock, log};

use crate::converge::{
    Action, Candidate, Disk, Done, Input, Phase, Request, Rest, Save, World, next,
};
use crate::device::{self, Device};
use crate::exit_code::{BUSY, DAMAGED};
use crate::{clock, input, report, state};

/// Directory that a run locks.
const RUNTIME_DIRECTORY: &str = "/run/edge-fleet";
/// Number of actions after which a run is in an endless loop.
const MAX_ACTIONS: u32 = 20_000;
/// Word for a hold that nobody can read.
const UNKNOWN: &str = "unknown";

/// Carries out what is to do.
///
/// # Errors
/// As the exit codes of `--help` say.
pub(crate) fn run(root: &Root) -> Result<()> {
    let _lock = exclude(root)?;
    let loaded = state::load(root, clock::now(root));
    state::set_aside(&loaded.damaged);
    // The killed run may have left parts of files. No other program writes here by itself:
    // edge-docker writes holds under the lock of the directory.
    remove_leftovers(root)?;
    device::finish(root)?;
    let mut run = Run::new(root, loaded.disk)?;
    let rest = run.all()?;
    log::info(format_args!("{}", describe(&rest)));
    let mut faults: Vec<_> = loaded.damaged.into_iter().map(|(_, fault)| fault).collect();
    faults.extend(run.faults);
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::error(DAMAGED, faults.join("; ")))
}

fn exclude(root: &Root) -> Result<File> {
    let directory = root.path(RUNTIME_DIRECTORY);
    file::create_directory(&directory, 0o755)?;
    let lock = lock::try_exclusive(&directory)?;
    lock.ok_or_else(|| Failure::error(BUSY, "another edge-fleet is running"))
}

fn remove_leftovers(root: &Root) -> Result<()> {
    let path = root.path(edge_common::contract::path::FLEET_HOLDS);
    let directory = path.parent().context("a path without a directory")?;
    file::create_directory(directory, 0o700)?;
    let _lock = lock::exclusive(directory)?;
    file::remove_leftovers(directory)
}

/// Returns one line about the end of a run.
fn describe(rest: &Rest) -> String {
    match rest {
        Rest::Idle => "nothing is left to do".into(),
        Rest::Offline => "registry or cloud do not answer: the next run tries again".into(),
        Rest::Held(apps) => format!("the set waits for holds of {}", apps.join(", ")),
        Rest::Window => "the set waits for its maintenance window".into(),
        Rest::Drift(apps) => format!("not as the set says: {}", apps.join(", ")),
    }
}

struct Run<'a> {
    root: &'a Root,
    id: String,
    disk: Disk,
    world: World,
    device: Device<'a>,
    request: Option<Request>,
    offline: bool,
    done: Option<Done>,
    /// Faults of inputs, each once.
    faults: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(root: &'a Root, disk: Disk) -> Result<Self> {
        let mut device = Device::new(root);
        let world = device.world(&disk)?;
        Ok(Self {
            root,
            id: clock::run_id()?,
            disk,
            world,
            device,
            request: None,
            offline: false,
            done: None,
            faults: Vec::new(),
        })
    }

    fn all(&mut self) -> Result<Rest> {
        for _ in 0..MAX_ACTIONS {
            let input = self.input()?;
            if let Some(rest) = self.step(&input)? {
                return Ok(rest);
            }
        }
        bail!("the run does not end after {MAX_ACTIONS} actions")
    }

    /// Reads all inputs again: a change during a run starts no further one.
    fn input(&mut self) -> Result<Input> {
        let now = clock::now(self.root);
        let loaded = edge_common::holds::read(self.root).map(|holds| holds.in_effect(now));
        match loaded {
            Ok(holds) => self.disk.holds = holds,
            Err(error) => {
                self.fault(&error);
                self.hold_all();
            }
        }
        let jobs = input::jobs(self.root).unwrap_or_else(|error| {
            self.fault(&error);
            None
        });
        self.request = input::request(self.root, &self.disk)?;
        self.drop_request()?;
        let has_window = device::has_window(&self.world);
        Ok(Input {
            run: self.id.clone(),
            now,
            moment: clock::moment(self.root),
            local: has_window.then(|| clock::local(self.root)).flatten(),
            jobs,
            request: self.request.clone(),
            offline: self.offline,
            done: self.done.clone(),
        })
    }

    /// Removes the demand once it is the candidate: it would begin again after its end.
    fn drop_request(&mut self) -> Result<()> {
        let demanded = self.request.as_ref().map(|request| &request.desired.set);
        let candidate = self.disk.candidate.as_ref().map(|candidate| &candidate.set);
        if demanded.is_some() && demanded == candidate {
            input::forget_request(self.root)?;
            self.request = None;
        }
        Ok(())
    }

    fn fault(&mut self, error: &anyhow::Error) {
        let fault = format!("{error:#}");
        if !self.faults.contains(&fault) {
            log::error(&fault);
            self.faults.push(fault);
        }
    }

    /// Holds every app: a damaged file may have named any.
    fn hold_all(&mut self) {
        let plans = self.world.sets.values();
        let named = plans.flat_map(crate::converge::Plan::affected);
        let apps = named.chain(self.world.apps.keys().cloned());
        let hold = |app| {
            let hold = Hold {
                door: UNKNOWN.into(),
                who: String::new(),
                until: None,
                reason: "the file of holds is damaged: edge-fleet hold end --all".into(),
            };
            (app, hold)
        };
        self.disk.holds = Holds {
            holds: apps.map(hold).collect(),
            ..Holds::default()
        };
    }

    /// Returns whether the run must stop in the middle of a set: going back would leave all
    /// apps as they are, since each may be held.
    fn is_frozen(&self) -> bool {
        let mut holds = self.disk.holds.holds.values();
        let is_unknown = holds.any(|hold| hold.door == UNKNOWN);
        let changes = |candidate: &Candidate| {
            let phase = &candidate.phase;
            !phase.is_before_first_change() && *phase != Phase::Commit
        };
        is_unknown && self.disk.candidate.as_ref().is_some_and(changes)
    }

    /// Carries out the next action; returns why the run ends.
    fn step(&mut self, input: &Input) -> Result<Option<Rest>> {
        if self.is_frozen() {
            let apps = self.disk.holds.holds.keys().cloned().collect();
            return self.rest(Rest::Held(apps)).map(Some);
        }
        match next(&self.disk, &self.world, input) {
            Action::Save(save) => self.save(save)?,
            Action::Wait { seconds } => {
                sleep(Duration::from_secs(seconds));
                self.world = self.device.world(&self.disk)?;
            }
            Action::Rest(rest) => return self.rest(rest).map(Some),
            action => {
                let done = self.device.perform(&action, &self.disk, &self.world)?;
                self.offline |= done.as_ref().is_some_and(device::is_offline);
                self.done = done;
                self.world = self.device.world(&self.disk)?;
            }
        }
        Ok(None)
    }

    fn save(&mut self, save: Save) -> Result<()> {
        state::save(self.root, &save)?;
        match save {
            Save::Standing(standing) => self.disk.standing = Some(standing),
            Save::Candidate(candidate) => self.disk.candidate = candidate.map(|c| *c),
            Save::Results(results) => self.disk.results = results,
            Save::Repairs(repairs) => self.disk.repairs = repairs,
        }
        self.world = self.device.world_of(&self.disk)?;
        self.report(None)
    }

    fn rest(&mut self, rest: Rest) -> Result<Rest> {
        self.report(Some(&rest))?;
        Ok(rest)
    }

    fn report(&self, rest: Option<&Rest>) -> Result<()> {
        let report = report::report(&self.disk, &self.world, rest);
        report::write(self.root, &report).map(drop)
    }
}
