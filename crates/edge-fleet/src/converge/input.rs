//! Knowledge of one run of the program alone: lists, clocks, and the result of its last action.

use super::disk::{Door, Execution, Moment};
use super::window::LocalTime;
use super::world::Plan;

/// Release set that a job or an engineer demands. The set itself is not proved yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// Digest of the set, `sha256:HEX`.
    pub set: String,
    /// Repository of the set.
    pub repository: String,
    /// Name of the set.
    pub name: String,
    /// Number of the set.
    pub number: u64,
}

/// Execution in AWS's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Name of the execution.
    pub execution: Execution,
    /// Set that its document demands, or the fault of the document.
    pub desired: Result<Desired, String>,
}

/// AWS's list, as edge-heartbeat last received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jobs {
    /// Whether an execution that is absent has ended: AWS lists ten at most.
    pub complete: bool,
    /// Pending executions.
    pub pending: Vec<Pending>,
}

/// Set that an engineer demands by a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Set.
    pub desired: Desired,
    /// Way on which it came.
    pub door: Door,
}

/// Refusal with the rule that is not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Word for programs, for example `signature`.
    pub rule: String,
    /// Text for people.
    pub message: String,
}

/// Why a step did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// A rule is not met; trying again does not help.
    Refused(Refused),
    /// Registry or cloud do not answer; a later run tries again.
    Offline(String),
}

/// Result of a replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The app runs the version and is healthy, or is removed.
    Done,
    /// The version did not become healthy, or was refused.
    Failed {
        /// Word for programs: `health` or `refused`.
        reason: String,
        /// Text for people.
        message: String,
    },
}

/// Purpose of a change of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The candidate is carried out.
    Forward,
    /// The previous app is restored.
    Back,
    /// The standing set is restored.
    Repair,
}

/// Result of the last action of this run that was no write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// A set was fetched and proved.
    Taken {
        /// Digest of the set.
        set: String,
        /// Content of the set.
        result: Result<Plan, Obstacle>,
    },
    /// The requirements of a set were compared with the device.
    Checked {
        /// Digest of the set.
        set: String,
        /// Result.
        result: Result<(), Refused>,
    },
    /// The image of an app was pulled.
    Fetched {
        /// App.
        app: String,
        /// Digest of the image.
        digest: String,
        /// Result.
        result: Result<(), Obstacle>,
    },
    /// An app was changed.
    Changed {
        /// App.
        app: String,
        /// Purpose of the change.
        purpose: Purpose,
        /// Result.
        verdict: Verdict,
    },
    /// The floor of edge-docker was raised to a set.
    Raised {
        /// Digest of the set.
        set: String,
    },
}

/// Knowledge of a run.
#[derive(Debug, Clone)]
pub struct Input {
    /// ID of the run, another one for each.
    pub run: String,
    /// Seconds of Unix time that have certainly passed.
    pub now: u64,
    /// Moment by the clock of the boot.
    pub moment: Moment,
    /// Local time; `None` if the clock is not set.
    pub local: Option<LocalTime>,
    /// AWS's list; `None` if none was received yet.
    pub jobs: Option<Jobs>,
    /// Demand of an engineer in this run; `None` again once it is the candidate.
    pub request: Option<Request>,
    /// Whether registry or cloud did not answer in this run.
    pub offline: bool,
    /// Result of the last action that was no write.
    pub done: Option<Done>,
}

impl Input {
    /// Returns the seconds since a moment of the present boot; `None` for another boot.
    pub fn since(&self, moment: &Moment) -> Option<u64> {
        (moment.boot == self.moment.boot).then(|| self.moment.at.saturating_sub(moment.at))
    }
}
