//! Repair of the standing set: its apps run the versions that it names, unless a person
//! changed them.

use super::action::{Action, Rest, Save};
use super::disk::{Disk, Failures, Repairs};
use super::input::{Done, Input, Purpose, Verdict};
use super::world::{Planned, World};

/// Number of failures after which repairs become rare.
const MANY: u32 = 3;
/// Shortest and longest pause after many failures, in seconds.
const PAUSE: (u64, u64) = (600, 6 * 3600);

/// Returns the pause after a number of failures, in seconds.
fn pause(count: u32) -> u64 {
    match count.checked_sub(MANY) {
        None => 0,
        Some(more) => (PAUSE.0 << more.min(16)).min(PAUSE.1),
    }
}

/// Returns the apps of the standing set that do not run its versions and are not held.
fn differing<'a>(disk: &'a Disk, world: &'a World) -> impl Iterator<Item = &'a Planned> {
    let standing = disk.standing.as_ref();
    let plan = standing.and_then(|standing| world.sets.get(&standing.set));
    let apps = plan.into_iter().flat_map(|plan| &plan.apps);
    apps.filter(|p| !world.agrees(p) && !disk.holds.holds.contains_key(&p.app))
}

/// Returns the names of the apps of the standing set that do not run its versions and are not
/// held.
pub fn drift(disk: &Disk, world: &World) -> Vec<String> {
    differing(disk, world)
        .map(|planned| planned.app.clone())
        .collect()
}

/// Returns the next repair; `None` if all apps are as they should be or have to wait.
pub(super) fn next(disk: &Disk, world: &World, input: &Input) -> Option<Action> {
    if let Some(noted) = note(disk, world, input) {
        return Some(Action::Save(Save::Repairs(noted)));
    }
    let planned = differing(disk, world).find(|p| is_due(disk, input, &p.app))?;
    Some(Action::Replace {
        app: planned.app.clone(),
        version: planned.deployed.clone(),
        set: disk.standing.as_ref().map(|standing| standing.set.clone()),
        purpose: Purpose::Repair,
    })
}

/// Returns why nothing is to do.
pub(super) fn rest(disk: &Disk, world: &World, input: &Input) -> Action {
    let drift = drift(disk, world);
    Action::Rest(match (drift.is_empty(), input.offline) {
        (false, _) => Rest::Drift(drift),
        (true, true) => Rest::Offline,
        (true, false) => Rest::Idle,
    })
}

fn is_due(disk: &Disk, input: &Input, app: &str) -> bool {
    let Some(failures) = disk.repairs.apps.get(app) else {
        return true;
    };
    // The first run after a boot tries again, and each run once.
    let waited = input.since(&failures.last);
    failures.run != input.run && waited.is_none_or(|waited| waited >= pause(failures.count))
}

/// Returns the failures with the result of the last repair; `None` if it is noted.
fn note(disk: &Disk, world: &World, input: &Input) -> Option<Repairs> {
    let Some(Done::Changed {
        app,
        purpose: Purpose::Repair,
        verdict,
    }) = &input.done
    else {
        return None;
    };
    let known = disk.repairs.apps.get(app);
    let mut repairs = disk.repairs.clone();
    let message = match verdict {
        Verdict::Failed { message, .. } => message.as_str(),
        // Otherwise an app that ends right after its start would be replaced for ever.
        Verdict::Done if differing(disk, world).any(|p| p.app == *app) => {
            "the app ended after its start"
        }
        Verdict::Done => {
            repairs.apps.remove(app)?;
            return Some(repairs);
        }
    };
    if known.is_some_and(|known| known.run == input.run) {
        return None;
    }
    let failures = Failures {
        count: known.map_or(0, |known| known.count).saturating_add(1),
        run: input.run.clone(),
        last: input.moment.clone(),
        message: message.into(),
    };
    repairs.apps.insert(app.clone(), failures);
    Some(repairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_six_hours() {
        assert_eq!([0, 2, 3, 4].map(pause), [0, 0, 600, 1200]);
        assert_eq!([9, 100, u32::MAX].map(pause), [21_600; 3]);
    }
}
