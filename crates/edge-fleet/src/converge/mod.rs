//! The loop that brings the device to a release set: a pure function from the state of disk
//! and device to the next action, without files, programs and clocks.
//!
//! Each action is one durable step, and the next one follows from what is there, so that a
//! power loss between any two needs no repair of its own. Reports to AWS are derived from the
//! state in the same way ([`results`]): there is no queue that could be lost.

mod action;
mod candidate;
mod choice;
mod deployment;
mod disk;
mod input;
mod repair;
mod results;
mod window;
mod world;

pub use action::{Action, Rest, Save};
pub use choice::admit;
pub use disk::{
    Candidate, Cause, Deployed, Details, Disk, Door, Ended, Execution, Failures, Fields, Moment,
    Outcome, Phase, Repairs, Results, Standing, Status,
};
pub use edge_common::holds::{Hold, Holds};
pub use input::{
    Desired, Done, Input, Jobs, Obstacle, Pending, Purpose, Refused, Request, Verdict,
};
pub use repair::drift;
pub use window::{LocalTime, Window};
pub use world::{App, Condition, Plan, Planned, World};

/// Returns the next action.
pub fn next(disk: &Disk, world: &World, input: &Input) -> Action {
    let chosen = choice::next(disk, world, input);
    if let Some(action) = chosen.or_else(|| results::next(disk, input).map(Action::Save)) {
        return action;
    }
    let Some(candidate) = &disk.candidate else {
        return repair::next(disk, world, input)
            .unwrap_or_else(|| repair::rest(disk, world, input));
    };
    let action = if candidate.phase.is_before_first_change() {
        candidate::next(candidate, disk, world, input)
    } else {
        deployment::next(candidate, disk, world, input)
    };
    match action {
        // A set may wait for days; the standing one is kept meanwhile.
        Action::Rest(_) if candidate.phase.is_before_first_change() => {
            repair::next(disk, world, input).unwrap_or(action)
        }
        action => action,
    }
}
