//! Choice of the candidate from the list of jobs: the newest set wins until the first change.

use super::action::{Action, Save};
use super::disk::{Candidate, Disk, Door, Execution, Fields, Phase, Status};
use super::input::{Desired, Done, Input, Obstacle, Pending};
use super::results::{self, details};
use super::world::World;

/// Returns the action that the list demands; `None` if the choice stands.
pub(super) fn next(disk: &Disk, world: &World, input: &Input) -> Option<Action> {
    if let Some(candidate) = &disk.candidate
        && results::has_ended(candidate, disk)
    {
        return Some(Action::Save(Save::Candidate(None)));
    }
    let save = reject(disk, input).map(Action::Save);
    save.or_else(|| supersede(disk, input))
        .or_else(|| change(disk, world, input).map(Action::Save))
}

/// Returns the change of a state file that a choice demands.
fn change(disk: &Disk, world: &World, input: &Input) -> Option<Save> {
    confirm(disk, world, input)
        .or_else(|| join(disk, input))
        .or_else(|| replace(disk, input))
        .or_else(|| withdraw(disk, input))
        .or_else(|| choose(disk, input))
}

/// Returns the pending executions without a result that ends them.
fn open<'a>(disk: &'a Disk, input: &'a Input) -> impl Iterator<Item = &'a Pending> {
    let pending = input.jobs.iter().flat_map(|jobs| &jobs.pending);
    pending.filter(|pending| !disk.results.ended(&pending.execution))
}

/// Returns the sets that open executions demand, with the executions.
fn demands<'a>(
    disk: &'a Disk,
    input: &'a Input,
) -> impl Iterator<Item = (&'a Execution, &'a Desired)> {
    open(disk, input).filter_map(|p| Some((&p.execution, p.desired.as_ref().ok()?)))
}

/// Reason for which a set is not carried out.
enum Reason {
    /// The document is invalid, or lies about its set.
    Document(String),
    /// A newer set is proved.
    Superseded(String),
}

/// Returns whether a document that names a known set states another name or number for it.
fn compare(desired: &Desired, name: &str, number: u64) -> Option<Reason> {
    let same = (&*desired.name, desired.number) == (name, number);
    let (stated, of) = (&desired.name, desired.number);
    (!same).then(|| Reason::Document(format!("the set is {name} {number}, not {stated} {of}")))
}

/// Returns why a set is not carried out; `None` if it may be.
///
/// The number in a document is not signed. It counts here only against numbers that are
/// proved; a document that lies is refused when its set is taken.
fn refusal(disk: &Disk, desired: &Desired) -> Option<Reason> {
    if let Some(standing) = &disk.standing {
        let (name, number) = (&standing.name, standing.number);
        if standing.set == desired.set {
            return compare(desired, name, number);
        }
        if desired.number <= number {
            return Some(Reason::Superseded(format!("set {name} {number} stands")));
        }
    }
    let candidate = disk.candidate.as_ref();
    let proved = candidate.filter(|candidate| candidate.phase != Phase::Received)?;
    let (name, number) = (&proved.name, proved.number);
    if proved.set == desired.set {
        return compare(desired, name, number);
    }
    let newer = desired.number < number;
    newer.then(|| Reason::Superseded(format!("set {name} {number} is newer")))
}

/// Returns whether a document demands the set of the candidate, with its name and number.
fn demands_candidate(desired: &Desired, candidate: &Candidate) -> bool {
    desired.set == candidate.set && compare(desired, &candidate.name, candidate.number).is_none()
}

/// Returns an error if a set that an engineer demands cannot become the candidate.
///
/// # Errors
/// A newer set stands or is being carried out.
pub fn admit(disk: &Disk, desired: &Desired) -> Result<(), String> {
    if let Some(Reason::Document(message) | Reason::Superseded(message)) = refusal(disk, desired) {
        return Err(format!(
            "{message}: release the set again with a new number"
        ));
    }
    match &disk.candidate {
        Some(candidate) if !candidate.phase.is_before_first_change() => Err(format!(
            "set {} {} is being carried out: try again when it has ended",
            candidate.name, candidate.number
        )),
        _ => Ok(()),
    }
}

/// Rejects executions whose document is invalid, or lies about its set.
fn reject(disk: &Disk, input: &Input) -> Option<Save> {
    let mut changed = None;
    for pending in open(disk, input) {
        let message = match &pending.desired {
            Err(message) => message.clone(),
            Ok(desired) => match refusal(disk, desired) {
                Some(Reason::Document(message)) => message,
                _ => continue,
            },
        };
        let details = details(&[("reason", "document"), ("message", &message)]);
        let results = changed.as_ref().unwrap_or(&disk.results);
        let execution = [&pending.execution];
        changed = Some(results::with(
            results,
            execution,
            Status::Rejected,
            &details,
            input,
        ));
    }
    changed.map(Save::Results)
}

/// Rejects executions of older sets. They are taken first: an older set may be a revocation
/// list, which counts whatever set stands.
fn supersede(disk: &Disk, input: &Input) -> Option<Action> {
    let candidate = disk.candidate.as_ref();
    if candidate.is_some_and(|candidate| !candidate.phase.is_before_first_change()) {
        return None;
    }
    let (desired, message) =
        demands(disk, input).find_map(|(_, desired)| match refusal(disk, desired)? {
            Reason::Superseded(message) => Some((desired, message)),
            Reason::Document(_) => None,
        })?;
    let same = demands(disk, input).filter(|(_, other)| *other == desired);
    let executions = same.map(|(execution, _)| execution);
    let result = match &input.done {
        Some(Done::Taken { set, result }) if *set == desired.set => result,
        _ if input.offline => return None,
        _ => {
            return Some(Action::Take {
                set: desired.set.clone(),
                repository: desired.repository.clone(),
            });
        }
    };
    let (status, details) = match result {
        Ok(plan) if plan.is_revocation_list() => {
            (Status::Succeeded, details(&[("phase", "revoked")]))
        }
        Err(Obstacle::Offline(_)) => return None,
        Ok(_) | Err(Obstacle::Refused(_)) => {
            let pairs = [("reason", "superseded"), ("message", &*message)];
            (Status::Rejected, details(&pairs))
        }
    };
    let results = results::with(&disk.results, executions, status, &details, input);
    Some(Action::Save(Save::Results(results)))
}

/// Confirms executions of the standing set, if the device agrees with it: a repeated job
/// changes nothing.
fn confirm(disk: &Disk, world: &World, input: &Input) -> Option<Save> {
    let standing = disk.standing.as_ref()?;
    let candidate = disk.candidate.as_ref();
    if candidate.is_some_and(|c| c.set == standing.set || !c.phase.is_before_first_change())
        || !world.agrees_with(&standing.set)
    {
        return None;
    }
    let same = demands(disk, input).filter(|(_, desired)| desired.set == standing.set);
    let same: Vec<_> = same.map(|(execution, _)| execution).collect();
    let details = details(&[("phase", "standing")]);
    (!same.is_empty()).then(|| {
        Save::Results(results::with(
            &disk.results,
            same,
            Status::Succeeded,
            &details,
            input,
        ))
    })
}

/// Adds executions that demand the candidate's set.
fn join(disk: &Disk, input: &Input) -> Option<Save> {
    let candidate = disk.candidate.as_ref()?;
    let more = demands(disk, input)
        .filter(|(execution, desired)| {
            demands_candidate(desired, candidate) && !candidate.executions.contains(execution)
        })
        .map(|(execution, _)| execution.clone());
    let more: Vec<_> = more.collect();
    (!more.is_empty()).then(|| {
        let mut joined = candidate.clone();
        joined.executions.extend(more);
        Save::Candidate(Some(Box::new(joined)))
    })
}

/// Returns the newest set that is demanded, with its executions, as a candidate. Of sets with
/// the same number the one that was queued first counts.
fn newest(disk: &Disk, input: &Input) -> Option<Candidate> {
    let (_, desired) = demands(disk, input).max_by_key(|(execution, desired)| {
        (
            desired.number,
            std::cmp::Reverse((execution.queued, &execution.id)),
        )
    })?;
    let same = demands(disk, input).filter(|(_, other)| *other == desired);
    let executions = same.map(|(execution, _)| execution.clone()).collect();
    Some(candidate(desired, Door::Job, executions, input))
}

fn candidate(
    desired: &Desired,
    door: Door,
    executions: Vec<Execution>,
    input: &Input,
) -> Candidate {
    Candidate {
        id: input.run.clone(),
        set: desired.set.clone(),
        repository: desired.repository.clone(),
        name: desired.name.clone(),
        number: desired.number,
        door,
        executions,
        phase: Phase::Received,
        fields: Fields::default(),
    }
}

/// Replaces a candidate of a job by a newer one. The executions of the old one stay open: they
/// are rejected when the new set is proved, and carried out if it is refused.
///
/// A set that an engineer demands is not replaced: whoever writes documents could drop it
/// with a number that nobody signed.
fn replace(disk: &Disk, input: &Input) -> Option<Save> {
    let old = disk.candidate.as_ref()?;
    if !old.phase.is_before_first_change() {
        return None;
    }
    if let Some(request) = &input.request
        && request.desired.set != old.set
        && request.desired.number >= old.number
    {
        let new = candidate(&request.desired, request.door, Vec::new(), input);
        return Some(Save::Candidate(Some(Box::new(new))));
    }
    let new = newest(disk, input).filter(|new| new.set != old.set && new.number > old.number)?;
    (old.door == Door::Job).then(|| Save::Candidate(Some(Box::new(new))))
}

/// Drops a candidate whose executions were ended by the cloud.
fn withdraw(disk: &Disk, input: &Input) -> Option<Save> {
    let candidate = disk.candidate.as_ref()?;
    let jobs = input.jobs.as_ref().filter(|jobs| jobs.complete)?;
    let listed = |execution: &Execution| jobs.pending.iter().any(|p| p.execution == *execution);
    let alive = candidate.executions.iter().any(listed);
    let droppable = candidate.door == Door::Job && candidate.phase.is_before_first_change();
    (droppable && !alive).then_some(Save::Candidate(None))
}

/// Chooses a candidate if there is none.
fn choose(disk: &Disk, input: &Input) -> Option<Save> {
    if disk.candidate.is_some() {
        return None;
    }
    let new = match &input.request {
        Some(request) => candidate(&request.desired, request.door, Vec::new(), input),
        None => newest(disk, input)?,
    };
    Some(Save::Candidate(Some(Box::new(new))))
}
