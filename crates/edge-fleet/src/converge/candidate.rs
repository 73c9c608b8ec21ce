//! Progress of a candidate before the first change: proof, requirements, images.

use std::collections::BTreeSet;

use super::action::{Action, Rest, Save};
use super::disk::{Attempts, Candidate, Disk, Moment, Phase, Status};
use super::input::{Done, Input, Obstacle, Refused};
use super::results::{self, details};
use super::window::Window;
use super::world::{Plan, World};

/// Time for which a set may wait for its images, in seconds: AWS ends an execution in
/// progress after seven days at the latest.
const MAX_FETCH: u64 = 7 * 24 * 3600;
/// Time after which the duration of a pull is written, in seconds.
const NOTE_AFTER: u64 = 300;

/// Returns a candidate in another phase.
pub(super) fn in_phase(candidate: &Candidate, phase: Phase) -> Action {
    let mut changed = candidate.clone();
    changed.phase = phase;
    Action::Save(Save::Candidate(Some(Box::new(changed))))
}

/// Returns the next action before the first change.
pub(super) fn next(candidate: &Candidate, disk: &Disk, world: &World, input: &Input) -> Action {
    let step = Step {
        candidate,
        disk,
        world,
        input,
    };
    let plan = world.sets.get(&candidate.set);
    match (&candidate.phase, plan) {
        (Phase::Received, plan) => step.received(plan),
        // The proof was removed, or its keys are trusted no more.
        (_, None) => in_phase(candidate, Phase::Received),
        (Phase::Checked, Some(plan)) => step.checked(plan),
        (
            Phase::Fetching {
                fetched,
                since,
                spent,
            },
            Some(plan),
        ) => step.fetching(plan, fetched, since, *spent),
        _ => Action::Rest(Rest::Idle),
    }
}

struct Step<'a> {
    candidate: &'a Candidate,
    disk: &'a Disk,
    world: &'a World,
    input: &'a Input,
}

impl Step<'_> {
    fn refuse(&self, refused: &Refused) -> Action {
        let pairs = [("reason", &*refused.rule), ("message", &*refused.message)];
        self.end(Status::Rejected, &pairs)
    }

    fn end(&self, status: Status, pairs: &[(&str, &str)]) -> Action {
        let details = details(pairs);
        let save = results::end(self.candidate, self.disk, status, &details, self.input);
        Action::Save(save)
    }

    fn received(&self, plan: Option<&Plan>) -> Action {
        let candidate = self.candidate;
        match &self.input.done {
            Some(Done::Taken { set, result }) if *set == candidate.set => match result {
                Ok(taken) if taken.is_revocation_list() || plan.is_some() => {
                    return self.proved(taken);
                }
                // The proof was not kept: the disk may be full.
                Ok(_) => return Action::Rest(Rest::Offline),
                Err(Obstacle::Refused(refused)) => return self.refuse(refused),
                Err(Obstacle::Offline(_)) => {}
            },
            _ => {}
        }
        if self.input.offline {
            return Action::Rest(Rest::Offline);
        }
        Action::Take {
            set: candidate.set.clone(),
            repository: candidate.repository.clone(),
        }
    }

    /// Compares what is signed with what was demanded.
    fn proved(&self, plan: &Plan) -> Action {
        let candidate = self.candidate;
        if (&*plan.name, plan.number) != (&*candidate.name, candidate.number) {
            return self.refuse(&Refused {
                rule: "document".into(),
                message: format!(
                    "the job names set {} {}, but the set is {} {}",
                    candidate.name, candidate.number, plan.name, plan.number
                ),
            });
        }
        if plan.is_revocation_list() {
            return self.end(Status::Succeeded, &[("phase", "revoked")]);
        }
        in_phase(candidate, Phase::Checked)
    }

    fn checked(&self, plan: &Plan) -> Action {
        match &self.input.done {
            Some(Done::Checked { set, result }) if *set == self.candidate.set => {
                if let Err(refused) = result {
                    return self.refuse(refused);
                }
            }
            _ => {
                return Action::Check {
                    set: self.candidate.set.clone(),
                };
            }
        }
        self.waits(plan).unwrap_or_else(|| {
            let phase = Phase::Fetching {
                fetched: BTreeSet::new(),
                since: self.input.moment.clone(),
                spent: 0,
            };
            in_phase(self.candidate, phase)
        })
    }

    /// Returns why the set must wait; `None` if it may begin.
    fn waits(&self, plan: &Plan) -> Option<Action> {
        let affected = plan.affected().into_iter();
        let held: Vec<_> = affected
            .filter(|app| self.disk.holds.holds.contains_key(app))
            .collect();
        if !held.is_empty() {
            return Some(Action::Rest(Rest::Held(held)));
        }
        let local = self.input.local;
        let is_open = |window: Window| local.is_some_and(|now| window.is_open(now));
        let closed = plan.window.is_some_and(|window| !is_open(window));
        closed.then_some(Action::Rest(Rest::Window))
    }

    fn fetching(
        &self,
        plan: &Plan,
        fetched: &BTreeSet<String>,
        since: &Moment,
        spent: u64,
    ) -> Action {
        let elapsed = spent.saturating_add(self.input.since(since).unwrap_or(0));
        let fetching = |fetched: &BTreeSet<String>| {
            let phase = Phase::Fetching {
                fetched: fetched.clone(),
                since: self.input.moment.clone(),
                spent: elapsed,
            };
            in_phase(self.candidate, phase)
        };
        let missing = plan
            .apps
            .iter()
            .find(|planned| !fetched.contains(&planned.app));
        let Some(planned) = missing else {
            return self.waits(plan).unwrap_or_else(|| self.begin(plan));
        };
        match &self.input.done {
            Some(Done::Fetched {
                app,
                digest,
                result,
            }) if *app == planned.app && *digest == planned.deployed.digest => match result {
                Ok(()) => {
                    let mut more = fetched.clone();
                    more.insert(app.clone());
                    return fetching(&more);
                }
                Err(Obstacle::Refused(refused)) => return self.refuse(refused),
                Err(Obstacle::Offline(message)) if elapsed > MAX_FETCH => {
                    let pairs = [("reason", "fetch"), ("app", app), ("message", message)];
                    return self.end(Status::Failed, &pairs);
                }
                Err(Obstacle::Offline(_)) => {}
            },
            _ => {}
        }
        if self.input.since(since).is_none() || elapsed - spent >= NOTE_AFTER {
            return fetching(fetched);
        }
        if self.input.offline {
            return Action::Rest(Rest::Offline);
        }
        Action::Fetch {
            set: self.candidate.set.clone(),
            app: planned.app.clone(),
            version: planned.deployed.clone(),
        }
    }

    fn begin(&self, plan: &Plan) -> Action {
        let affected = plan.affected().into_iter();
        let apps = &self.world.apps;
        let previous = affected.map(|app| {
            let deployed = apps.get(&app).map(|app| app.deployed.clone());
            (app, deployed)
        });
        let phase = Phase::Begun {
            previous: previous.collect(),
            attempts: Attempts::default(),
        };
        in_phase(self.candidate, phase)
    }
}
