//! Progress of a candidate from the first change: it ends with the set, or with the previous
//! apps.

use std::collections::BTreeSet;

use super::action::{Action, Rest, Save};
use super::candidate::in_phase;
use super::disk::{
    Attempts, Candidate, Cause, Deployed, Disk, Fields, Moment, Phase, Previous, Standing, Status,
    Tries,
};
use super::input::{Done, Input, Purpose, Verdict};
use super::results::{self, details};
use super::world::{Condition, World};

/// Number of runs that may try to change an app.
const MAX_ATTEMPTS: u32 = 3;
/// Time for which an app may start after a reboot, in seconds.
const MAX_START: u64 = 600;
/// Interval at which settling apps are looked at, in seconds.
const LOOK_EVERY: u64 = 5;

/// Returns the next action from the first change.
pub(super) fn next(candidate: &Candidate, disk: &Disk, world: &World, input: &Input) -> Action {
    let step = Step {
        candidate,
        disk,
        world,
        input,
    };
    match &candidate.phase {
        Phase::Begun { previous, attempts } => step.begun(previous, attempts),
        Phase::Settling {
            previous,
            run,
            since,
        } => step.settling(previous, run, since),
        Phase::Commit => step.commit(),
        Phase::Back {
            previous,
            cause,
            attempts,
            lost,
        } => step.back(previous, cause, attempts, lost),
        _ => Action::Rest(Rest::Idle),
    }
}

fn cause(reason: &str, app: &str, message: &str) -> Cause {
    Cause {
        reason: reason.into(),
        app: app.into(),
        message: message.into(),
    }
}

/// Next step of an attempt at an app.
enum Attempt {
    /// This run is counted first.
    Count(Attempts),
    /// The app is changed.
    Change,
    /// This run changed the app, and another one after it.
    ChangedBefore,
    /// Too many runs were interrupted.
    TooMany,
}

struct Step<'a> {
    candidate: &'a Candidate,
    disk: &'a Disk,
    world: &'a World,
    input: &'a Input,
}

impl Step<'_> {
    fn go_back(&self, previous: &Previous, cause: Cause) -> Action {
        let phase = Phase::Back {
            previous: previous.clone(),
            cause,
            attempts: Attempts::default(),
            lost: BTreeSet::new(),
        };
        in_phase(self.candidate, phase)
    }

    fn is_held(&self, app: &str) -> bool {
        self.disk.holds.holds.contains_key(app)
    }

    /// Returns whether an app is as wanted; `None` is an app that must not exist.
    fn is_as(&self, app: &str, wanted: Option<&Deployed>) -> bool {
        match wanted {
            Some(version) => self.world.runs(app, version),
            None => !self.world.apps.contains_key(app),
        }
    }

    /// Returns the failure of the last change of an app in this run. An app that was changed
    /// with success and is not as wanted failed right after it.
    fn failure(&self, app: &str, purpose: Purpose) -> Option<Cause> {
        match &self.input.done {
            Some(Done::Changed {
                app: changed,
                purpose: done,
                verdict,
            }) if changed == app && *done == purpose => Some(match verdict {
                Verdict::Failed { reason, message } => cause(reason, app, message),
                Verdict::Done => cause("health", app, "the app ended after its start"),
            }),
            _ => None,
        }
    }

    /// Returns the next step of an attempt at an app, which is not as wanted.
    fn attempt(&self, app: &str, attempts: &Attempts) -> Attempt {
        let known = attempts.tries.get(app);
        match known {
            Some(tries) if tries.run == self.input.run && attempts.app == app => Attempt::Change,
            // Otherwise two apps that end each other would be replaced for ever.
            Some(tries) if tries.run == self.input.run => Attempt::ChangedBefore,
            Some(tries) if tries.count >= MAX_ATTEMPTS => Attempt::TooMany,
            _ => {
                let tries = Tries {
                    run: self.input.run.clone(),
                    count: known.map_or(0, |tries| tries.count) + 1,
                };
                let mut counted = attempts.clone();
                counted.app = app.into();
                counted.tries.insert(app.into(), tries);
                Attempt::Count(counted)
            }
        }
    }

    /// Returns the change of an app; `set` is the one that names the version.
    fn change(
        &self,
        app: &str,
        wanted: Option<&Deployed>,
        set: Option<&str>,
        purpose: Purpose,
    ) -> Action {
        let app = app.to_string();
        match wanted {
            Some(version) => Action::Replace {
                app,
                version: version.clone(),
                set: set.map(str::to_string),
                purpose,
            },
            None => Action::Remove { app, purpose },
        }
    }

    fn begun(&self, previous: &Previous, attempts: &Attempts) -> Action {
        let set = &self.candidate.set;
        let Some(plan) = self.world.sets.get(set) else {
            return self.go_back(previous, cause("proof", "", "the set is proved no more"));
        };
        let gone = previous
            .keys()
            .filter(|app| !plan.names(app))
            .map(|app| (app.as_str(), None));
        let named = plan
            .apps
            .iter()
            .map(|p| (p.app.as_str(), Some(&p.deployed)));
        let order: Vec<_> = gone.chain(named).collect();
        if let Some((app, _)) = order.iter().find(|(app, _)| self.is_held(app)) {
            let message = "the app was changed by hand";
            return self.go_back(previous, cause("held", app, message));
        }
        let differs = order
            .into_iter()
            .find(|(app, wanted)| !self.is_as(app, *wanted));
        let Some((app, wanted)) = differs else {
            return in_phase(self.candidate, self.settle(previous));
        };
        if let Some(cause) = self.failure(app, Purpose::Forward) {
            return self.go_back(previous, cause);
        }
        match self.attempt(app, attempts) {
            Attempt::TooMany => {
                let message = "the device was interrupted each time the app was replaced";
                self.go_back(previous, cause("interrupted", app, message))
            }
            Attempt::ChangedBefore => {
                let message = "the app ended while other apps were replaced";
                self.go_back(previous, cause("health", app, message))
            }
            Attempt::Count(attempts) => {
                let previous = previous.clone();
                in_phase(self.candidate, Phase::Begun { previous, attempts })
            }
            Attempt::Change => self.change(app, wanted, Some(set), Purpose::Forward),
        }
    }

    fn settle(&self, previous: &Previous) -> Phase {
        Phase::Settling {
            previous: previous.clone(),
            run: self.input.run.clone(),
            since: self.input.moment.clone(),
        }
    }

    fn settling(&self, previous: &Previous, run: &str, since: &Moment) -> Action {
        let Some(plan) = self.world.sets.get(&self.candidate.set) else {
            return self.go_back(previous, cause("proof", "", "the set is proved no more"));
        };
        // The wait begins again in each run: nothing is known of the time between.
        let elapsed = self.input.since(since).filter(|_| *run == self.input.run);
        let Some(elapsed) = elapsed else {
            return in_phase(self.candidate, self.settle(previous));
        };
        let mut starting = false;
        for planned in &plan.apps {
            let app = &planned.app;
            if self.is_held(app) {
                let message = "the app was changed by hand";
                return self.go_back(previous, cause("held", app, message));
            }
            if !self.world.agrees(planned) {
                let message = "the app ended or became unhealthy while the set settled";
                return self.go_back(previous, cause("health", app, message));
            }
            if self.world.apps[app].condition == Condition::Starting {
                starting = true;
                if elapsed > MAX_START {
                    let message = "the app did not become healthy";
                    return self.go_back(previous, cause("health", app, message));
                }
            }
        }
        match plan.settle.saturating_sub(elapsed) {
            0 if !starting => in_phase(self.candidate, Phase::Commit),
            left => Action::Wait {
                seconds: left.clamp(1, LOOK_EVERY),
            },
        }
    }

    fn commit(&self) -> Action {
        let (candidate, disk) = (self.candidate, self.disk);
        let stands = disk
            .standing
            .as_ref()
            .is_some_and(|s| s.set == candidate.set);
        if !stands {
            return Action::Save(Save::Standing(Standing {
                set: candidate.set.clone(),
                name: candidate.name.clone(),
                number: candidate.number,
                fields: disk
                    .standing
                    .as_ref()
                    .map_or_else(Fields::default, |s| s.fields.clone()),
            }));
        }
        match &self.input.done {
            Some(Done::Raised { set }) if *set == candidate.set => {
                let number = candidate.number.to_string();
                let details = details(&[("phase", "standing"), ("number", &number)]);
                let status = Status::Succeeded;
                Action::Save(results::end(candidate, disk, status, &details, self.input))
            }
            _ => Action::Raise {
                set: candidate.set.clone(),
            },
        }
    }

    fn back(
        &self,
        previous: &Previous,
        cause: &Cause,
        attempts: &Attempts,
        lost: &BTreeSet<String>,
    ) -> Action {
        let phase = |attempts: Attempts, lost: BTreeSet<String>| {
            let (previous, cause) = (previous.clone(), cause.clone());
            let phase = Phase::Back {
                previous,
                cause,
                attempts,
                lost,
            };
            in_phase(self.candidate, phase)
        };
        let differs = self.reversed(previous).into_iter().find(|app| {
            let as_before = self.is_as(app, previous[app].as_ref());
            !as_before && !lost.contains(app) && !self.is_held(app)
        });
        let Some(app) = differs else {
            return self.fail(cause, lost);
        };
        let failed = self.failure(&app, Purpose::Back).is_some();
        match self.attempt(&app, attempts) {
            Attempt::Count(attempts) if !failed => phase(attempts, lost.clone()),
            Attempt::Change if !failed => {
                let wanted = previous[&app].as_ref();
                let set = wanted.and_then(|wanted| self.set_of(&app, wanted));
                self.change(&app, wanted, set, Purpose::Back)
            }
            _ => {
                let mut more = lost.clone();
                more.insert(app);
                phase(attempts.clone(), more)
            }
        }
    }

    /// Returns the affected apps in the reversed order of their change.
    fn reversed(&self, previous: &Previous) -> Vec<String> {
        let plan = self.world.sets.get(&self.candidate.set);
        let named = plan
            .iter()
            .flat_map(|plan| &plan.apps)
            .map(|planned| &planned.app);
        let named: Vec<_> = named
            .filter(|app| previous.contains_key(*app))
            .cloned()
            .collect();
        let gone = previous.keys().filter(|app| !named.contains(app)).cloned();
        let mut order: Vec<_> = gone.collect();
        order.extend(named);
        order.reverse();
        order
    }

    /// Returns the standing set if it names this version of an app.
    fn set_of(&self, app: &str, version: &Deployed) -> Option<&str> {
        let standing = self.disk.standing.as_ref()?;
        let plan = self.world.sets.get(&standing.set)?;
        let named = |p: &super::world::Planned| p.app == app && p.deployed.digest == version.digest;
        plan.apps.iter().any(named).then_some(standing.set.as_str())
    }

    fn fail(&self, cause: &Cause, lost: &BTreeSet<String>) -> Action {
        let lost: Vec<_> = lost.iter().map(String::as_str).collect();
        let lost = lost.join(",");
        let reason = if lost.is_empty() {
            &cause.reason
        } else {
            "not-back"
        };
        let first = if lost.is_empty() { "" } else { &cause.reason };
        let details = details(&[
            ("reason", reason),
            ("cause", first),
            ("app", &cause.app),
            ("lost", &lost),
            ("message", &cause.message),
        ]);
        let save = results::end(
            self.candidate,
            self.disk,
            Status::Failed,
            &details,
            self.input,
        );
        Action::Save(save)
    }
}
