//! Faults that are planted around the loop: each is a mistake that an implementation could
//! make. The shipped loop has no switch for them.

use std::collections::BTreeSet;

use edge_fleet::converge::{Disk, Door, Execution, Input, Outcome, Phase};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Executions are told apart by their job ID alone.
    JobIdOnly,
    /// Executions are told apart by job ID and number.
    JobIdAndNumber,
    /// Runs start only when a file changes.
    NoTimer,
    /// Holds are looked at once, before the images are pulled.
    HoldsOnce,
    /// The standing set is not written durably.
    StandingNotDurable,
    /// Results are lost at a power loss.
    ResultsLost,
    /// The candidate is lost at a power loss.
    CandidateLost,
    /// A cancelled job ends a set in the middle of its replacements.
    CancelMidway,
    /// A newer set replaces one in the middle of its replacements.
    NewerMidway,
    /// A candidate has one execution at most.
    OneExecution,
    /// Attempts at an app are not counted.
    AttemptsLost,
}

/// Faults that a schedule shows.
pub const CAUGHT: [Fault; 7] = [
    Fault::JobIdOnly,
    Fault::JobIdAndNumber,
    Fault::NoTimer,
    Fault::HoldsOnce,
    Fault::StandingNotDurable,
    Fault::CandidateLost,
    Fault::AttemptsLost,
];

/// Faults that the loop heals:
///
/// - results lost: AWS lists the execution again, and it is carried out again;
/// - cancelled or replaced midway: the standing set is repaired, or the newer one is carried
///   out; the world is mixed for longer, and there are more replacements;
/// - one execution per candidate: the others are confirmed when the set stands.
pub const HEALED: [Fault; 4] = [
    Fault::ResultsLost,
    Fault::CancelMidway,
    Fault::NewerMidway,
    Fault::OneExecution,
];

/// Changes what the loop sees.
pub fn distort(fault: Option<Fault>, disk: &mut Disk, input: &mut Input) {
    match fault {
        Some(Fault::JobIdOnly) => same(disk, input, |a, b| a.id == b.id),
        Some(Fault::JobIdAndNumber) => {
            same(disk, input, |a, b| (&a.id, a.number) == (&b.id, b.number));
        }
        Some(Fault::HoldsOnce) => {
            let phase = disk.candidate.as_ref().map(|candidate| &candidate.phase);
            if phase.is_some_and(|phase| !matches!(phase, Phase::Received | Phase::Checked)) {
                disk.holds.holds.clear();
            }
        }
        Some(Fault::CancelMidway) => cancel(disk, input),
        Some(Fault::NewerMidway) => {
            let pending = input.jobs.iter().flat_map(|jobs| &jobs.pending);
            let open = pending.filter(|p| !disk.results.ended(&p.execution));
            let numbers = open.filter_map(|p| Some(p.desired.as_ref().ok()?.number));
            let newest = numbers.max().unwrap_or(0);
            if let Some(candidate) = &mut disk.candidate
                && candidate.number < newest
                && candidate.door == Door::Job
                && !candidate.phase.is_before_first_change()
                && candidate.phase != Phase::Commit
            {
                candidate.phase = Phase::Checked;
            }
        }
        Some(Fault::OneExecution) => {
            if let (Some(candidate), Some(jobs)) = (&disk.candidate, &mut input.jobs) {
                let known = &candidate.executions;
                jobs.pending.retain(|p| {
                    let same = p.desired.as_ref().is_ok_and(|d| d.set == candidate.set);
                    !same || known.contains(&p.execution)
                });
            }
        }
        Some(Fault::AttemptsLost) => {
            if let Some(candidate) = &mut disk.candidate
                && let Phase::Begun { attempts, .. } = &mut candidate.phase
            {
                for tries in attempts.tries.values_mut() {
                    tries.count = 1;
                }
            }
        }
        _ => {}
    }
}

/// Drops a candidate whose executions were ended by the cloud, whatever its phase.
fn cancel(disk: &mut Disk, input: &Input) {
    let jobs = input.jobs.as_ref().filter(|jobs| jobs.complete);
    let listed: BTreeSet<_> = jobs
        .iter()
        .flat_map(|jobs| &jobs.pending)
        .map(|p| &p.execution)
        .collect();
    let ended = |candidate: &edge_fleet::converge::Candidate| {
        let executions = &candidate.executions;
        let open = executions.iter().any(|e| !disk.results.ended(e));
        open && !executions.iter().any(|e| listed.contains(e))
    };
    if jobs.is_some() && disk.candidate.as_ref().is_some_and(ended) {
        disk.candidate = None;
    }
}

/// Gives a pending execution the result of another one.
fn same(disk: &mut Disk, input: &Input, alike: impl Fn(&Execution, &Execution) -> bool) {
    let pending = input.jobs.iter().flat_map(|jobs| &jobs.pending);
    let confused = pending.filter_map(|p| {
        let other = disk
            .results
            .results
            .iter()
            .find(|r| disk.results.ended(&r.execution) && alike(&r.execution, &p.execution))?;
        Some(Outcome {
            execution: p.execution.clone(),
            ..other.clone()
        })
    });
    let confused: Vec<_> = confused.collect();
    for outcome in confused {
        if disk.results.of(&outcome.execution).is_none() {
            disk.results.results.push(outcome);
        }
    }
}
