//! Player of schedules.

use std::collections::BTreeMap;
use std::fmt;

use edge_fleet::converge::{Action, App, Condition, Desired, Door, Hold, Request, Rest, Status};
use serde_json::json;

use super::checks::Checks;
use super::cloud::{Cloud, document};
use super::device::{Device, Effect};
use super::faults::Fault;
use super::heartbeat::Heartbeat;
use super::schedule::{Event, Kind};
use super::sets::{APPS, Set, digest, version};

/// Rounds in which a device must come to rest.
const ROUNDS: usize = 300;
/// Rounds without any action after which nothing will happen.
const IDLE: usize = 12;
/// Actions of a run at most.
const ACTIONS: usize = 400;
/// Actions that a violation prints.
const LOGGED: usize = 12;

/// Counts of what schedules showed.
#[derive(Debug, Default)]
pub struct Totals(BTreeMap<String, usize>);

impl Totals {
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what.clone()).or_default() += count;
        }
    }

    fn count(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// Requires that the schedules reached every end.
    pub fn assert_all_seen(&self) {
        for what in [
            "Succeeded",
            "Failed health",
            "Failed held",
            "Failed interrupted",
            "Failed not-back",
            "Rejected document",
            "Rejected superseded",
            "Rejected signature",
            "Rejected expired",
            "Rejected not-for",
            "Rejected requires",
            "Rejected grant",
            "Rejected disk",
            "forward",
            "back",
            "repair",
            "removed",
            "rest held",
            "rest window",
            "rest offline",
            "rest drift",
        ] {
            assert!(
                self.0.contains_key(what),
                "no schedule showed {what}: {self}"
            );
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.0 {
            write!(f, "{what} {count}, ")?;
        }
        Ok(())
    }
}

struct Player {
    device: Device,
    cloud: Cloud,
    heartbeat: Heartbeat,
    checks: Checks,
    totals: Totals,
    /// Actions until now.
    log: Vec<(u64, Action)>,
}

/// Plays a schedule and lets the device come to rest.
pub fn play(events: &[Event], fault: Option<Fault>) -> Result<Totals, String> {
    let mut player = Player {
        device: Device {
            network: true,
            fault,
            ..Device::default()
        },
        cloud: Cloud::new(),
        heartbeat: Heartbeat::default(),
        checks: Checks::default(),
        totals: Totals::default(),
        log: Vec::new(),
    };
    let played = events.iter().try_for_each(|event| player.event(*event));
    match played.and_then(|()| player.rest()) {
        Ok(()) => Ok(player.totals),
        Err(message) => {
            let skipped = player.log.len().saturating_sub(LOGGED);
            let last = player.log.iter().skip(skipped);
            let last: String = last
                .map(|(run, action)| format!("{run}: {action:?}\n"))
                .collect();
            Err(format!("{message}\n{last}"))
        }
    }
}

impl Player {
    fn event(&mut self, event: Event) -> Result<(), String> {
        let dice = event.dice;
        self.pass(1);
        match event.kind {
            Kind::Step => {
                if self.device.wake() {
                    self.step(dice)?;
                }
            }
            Kind::Timer => self.timer(),
            Kind::Sync => self.sync(),
            Kind::Stale => {
                if self.device.network {
                    self.device.jobs = Some(self.heartbeat.stale());
                    self.device.triggered = true;
                }
            }
            Kind::Report => self.report(dice % 7 == 0),
            Kind::Net => self.device.network = !self.device.network,
            Kind::Cut => self.cut(dice)?,
            Kind::Full => self.device.full = !self.device.full,
            Kind::Flaky => self.device.flaky = true,
            Kind::Pass => self.pass(u64::try_from(dice % (12 * 3600)).unwrap()),
            Kind::ClockBack => self.device.clock_back += 600 * u64::try_from(dice % 100).unwrap(),
            Kind::Unproved => self.unprove(dice),
            Kind::Sicken => {
                if let Some(app) = self.device.apps.get_mut(APPS[dice % 3]) {
                    app.condition = Condition::Down;
                }
            }
            Kind::Deploy | Kind::Stop => self.hand(event.kind, dice),
            Kind::Release => {
                self.device.holds.holds.clear();
                self.device.triggered = true;
            }
            _ => self.demand(event.kind, dice),
        }
        Ok(())
    }

    /// Handles the events of the cloud.
    fn demand(&mut self, kind: Kind, dice: usize) {
        let sets = self.device.sets.len();
        match kind {
            Kind::Job => {
                let set = self.new_set(dice);
                self.cloud.create_for(&set, dice / 64);
            }
            Kind::OldJob if sets > 0 => {
                let set = self.device.sets[dice % sets].clone();
                self.cloud.create_for(&set, dice / 64);
            }
            Kind::Lie => {
                let mut lie = match sets {
                    0 => json!({ "edge": 1 }),
                    _ => document(&self.device.sets[dice % sets]),
                };
                match dice / 8 % 4 {
                    0 => lie["number"] = json!(1_u64 << 50),
                    1 => lie["later"] = json!(1),
                    2 => lie["set"] = json!(format!("registry.example/apps@{}", digest(0xdead))),
                    _ => lie["name"] = json!("other"),
                }
                self.cloud.create(&lie, dice / 64);
            }
            Kind::Cancel => self.cloud.cancel(false, dice),
            Kind::Force => self.cloud.cancel(true, dice),
            Kind::Delete => self.cloud.delete(dice),
            Kind::Command if self.device.network => {
                let set = self.new_set(dice);
                let desired = Desired {
                    set: set.digest,
                    repository: "registry.example/apps".into(),
                    name: set.plan.name,
                    number: set.plan.number,
                };
                let admitted = edge_fleet::converge::admit(&self.device.durable(), &desired);
                if admitted.is_ok() && !self.device.run.active {
                    let door = Door::Command;
                    self.device.request = Some(Request { desired, door });
                    self.device.triggered = true;
                    self.device.wake();
                }
            }
            _ => {}
        }
    }

    fn new_set(&mut self, dice: usize) -> Set {
        let number = u64::try_from(self.device.sets.len()).unwrap() + 1;
        let set = Set::new(number, dice);
        self.device.sets.push(set.clone());
        set
    }

    fn pass(&mut self, seconds: u64) {
        self.cloud.now += seconds;
        self.device.uptime += seconds;
        self.cloud.engine.tick(self.cloud.now);
    }

    fn timer(&mut self) {
        self.device.triggered |= self.device.fault != Some(Fault::NoTimer);
    }

    fn sync(&mut self) {
        if self.device.network {
            let old = self
                .device
                .jobs
                .replace(self.heartbeat.sync(&mut self.cloud));
            self.device.triggered |= old != self.device.jobs;
            for listed in &self.heartbeat.list {
                let document: serde_json::Value = serde_json::from_str(&listed.document).unwrap();
                let set = document["set"].as_str().unwrap_or_default();
                let digest = set.rsplit('@').next().unwrap().to_string();
                self.checks
                    .demanded
                    .insert(listed.execution.clone(), digest);
            }
        }
    }

    fn report(&mut self, lost: bool) {
        if !self.device.network {
            return;
        }
        let results = self.device.durable().results;
        let reported = self.heartbeat.report(&mut self.cloud, &results, lost);
        let Some(reported) = reported.filter(|reported| reported.status != "IN_PROGRESS") else {
            return;
        };
        let result = results.of(&reported.execution).unwrap();
        let reason = result.details.get("reason");
        self.totals.count(match reason {
            Some(reason) => format!("{:?} {reason}", result.status),
            None => format!("{:?}", result.status),
        });
        assert!(
            result.status == Status::Succeeded || reason.is_some(),
            "{result:?}"
        );
    }

    /// Carries one action of the active run out.
    fn step(&mut self, dice: usize) -> Result<(), String> {
        let action = self.device.next(self.cloud.now);
        self.log.push((self.device.runs, action.clone()));
        self.checks.action(&self.device, self.cloud.now, &action)?;
        if self.device.full && dice % 5 == 0 && matches!(action, Action::Save(_)) {
            // The write fails, and so does the run.
            self.device.run.active = false;
            self.checks.interrupted();
            return Ok(());
        }
        self.note(&action);
        match self.device.perform(&action) {
            Effect::None => {}
            Effect::Wait(seconds) => self.pass(seconds),
            Effect::Crash => {
                self.checks.interrupted();
                self.device.reboot();
            }
        }
        Ok(())
    }

    fn note(&mut self, action: &Action) {
        let what = match action {
            Action::Replace { purpose, .. } => format!("{purpose:?}").to_lowercase(),
            Action::Remove { .. } => "removed".into(),
            Action::Rest(Rest::Held(_)) => "rest held".into(),
            Action::Rest(Rest::Window) => "rest window".into(),
            Action::Rest(Rest::Offline) => "rest offline".into(),
            Action::Rest(Rest::Drift(_)) => "rest drift".into(),
            _ => return,
        };
        self.totals.count(what);
    }

    /// Cuts the power, half of the times after an action whose result is lost.
    fn cut(&mut self, dice: usize) -> Result<(), String> {
        if dice % 2 == 0 && self.device.wake() {
            self.step(1)?;
        }
        self.checks.interrupted();
        self.device.reboot();
        Ok(())
    }

    fn unprove(&mut self, dice: usize) {
        let standing = self.device.durable().standing.map(|standing| standing.set);
        let proofs: Vec<_> = self.device.proofs.iter().cloned().collect();
        // That of the standing set is kept: without it nothing could be said at rest.
        if let Some(proof) = proofs.get(dice % proofs.len().max(1))
            && Some(proof) != standing.as_ref()
        {
            self.device.proofs.remove(proof);
        }
    }

    /// Handles what a person types: the app is changed and held, also while a set is carried
    /// out.
    fn hand(&mut self, kind: Kind, dice: usize) {
        let number = dice % 3;
        let (name, now) = (APPS[number], self.cloud.now - self.device.clock_back);
        let apps = &mut self.device.apps;
        match (kind, apps.get_mut(name)) {
            (Kind::Stop, None) => return,
            (Kind::Stop, Some(app)) => app.condition = Condition::Down,
            _ => {
                let app = App {
                    deployed: version(number, 9),
                    condition: Condition::Healthy,
                };
                apps.insert(name.into(), app);
            }
        }
        let hold = Hold {
            door: "replace".into(),
            who: "edge".into(),
            until: (dice / 4 % 4 != 0).then_some(now + 12 * 3600),
            reason: String::new(),
        };
        self.device.holds.holds.insert(name.into(), hold);
        self.device.triggered = true;
    }

    /// Lets the device come to rest: everything works, and enough time passes.
    fn rest(&mut self) -> Result<(), String> {
        self.device.network = true;
        self.device.full = false;
        self.device.flaky = false;
        self.device.holds.holds.clear();
        let mut idle = 0;
        for round in 0..ROUNDS {
            let list = self.cloud.list();
            // Nothing will change any more: the check tells what is stuck.
            idle = if self.device.run.rest == Some(Rest::Idle) {
                idle + 1
            } else {
                0
            };
            if idle > IDLE {
                break;
            }
            let quiet = list.is_empty() && self.device.durable().candidate.is_none();
            if quiet && round > 2 && self.device.run.rest == Some(Rest::Idle) {
                break;
            }
            self.sync();
            self.timer();
            let mut actions = 0;
            while self.device.wake() {
                self.step(1)?;
                actions += 1;
                if actions > ACTIONS {
                    return Err("a run without an end".into());
                }
            }
            for _ in 0..12 {
                self.report(false);
            }
            self.pass(if round < 4 { 300 } else { 2 * 3600 });
        }
        self.checks.at_rest(&self.device, &mut self.cloud)
    }
}
