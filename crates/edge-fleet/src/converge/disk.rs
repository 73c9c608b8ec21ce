//! State that survives a power loss: one value for each file of `/data/config/edge-fleet`.

use std::collections::{BTreeMap, BTreeSet};

use edge_common::holds::Holds;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Fields of a state file that this version does not know: the other device image may have
/// written them, and both share `/data`. A new file has the version of the format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fields(Map<String, Value>);

impl Default for Fields {
    fn default() -> Self {
        Self(Map::from_iter([("v".into(), Value::from(1))]))
    }
}

/// State of the device's release sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    /// Last release set that was carried out.
    pub standing: Option<Standing>,
    /// Release set that is being carried out.
    pub candidate: Option<Candidate>,
    /// Results of executions.
    pub results: Results,
    /// Apps that a person changed by hand.
    pub holds: Holds,
    /// Failed repairs.
    pub repairs: Repairs,
}

/// Name of an execution at AWS. AWS may use the ID of a deleted job again, and the number of
/// a deleted execution; only all three fields name one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Execution {
    /// Job ID.
    pub id: String,
    /// Number of the execution within its job.
    pub number: u64,
    /// Time at which the execution was queued, as AWS states it.
    pub queued: u64,
}

/// Release set that was committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Digest of the set, `sha256:HEX`.
    pub set: String,
    /// Name of the set.
    pub name: String,
    /// Number of the set: the floor of those that are carried out later.
    pub number: u64,
    /// Unknown fields.
    #[serde(flatten)]
    pub fields: Fields,
}

/// Way on which a release set came to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    /// Execution of a job.
    Job,
    /// Command of an engineer.
    Command,
}

/// Release set that is being carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Run of the program that chose the set.
    pub id: String,
    /// Digest of the set, `sha256:HEX`.
    pub set: String,
    /// Repository of the set.
    pub repository: String,
    /// Name of the set.
    pub name: String,
    /// Number of the set; signed only after [`Phase::Received`].
    pub number: u64,
    /// Way on which the set came.
    pub door: Door,
    /// Executions that demand the set.
    pub executions: Vec<Execution>,
    /// Progress.
    pub phase: Phase,
    /// Unknown fields.
    #[serde(flatten)]
    pub fields: Fields,
}

/// Version of an app that runs or ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// Digest of the container image, `sha256:HEX`.
    pub digest: String,
    /// Version of the app.
    pub version: String,
}

/// Attempts to change apps. A run of the program that is interrupted counts: an app whose start
/// crashes the device must not do so for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// App that is being changed.
    pub app: String,
    /// Tries of each app.
    pub tries: BTreeMap<String, Tries>,
}

/// Tries of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tries {
    /// Last run of the program that tried.
    pub run: String,
    /// Number of runs that tried.
    pub count: u32,
}

/// Moment of a boot: a clock that is set does not change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// ID of the boot.
    pub boot: String,
    /// Seconds since the boot, suspended time included.
    pub at: u64,
}

/// Reason of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Word for programs, for example `health`.
    pub reason: String,
    /// App that failed; empty for none.
    #[serde(default)]
    pub app: String,
    /// Text for people, for example the last lines of the app's log.
    #[serde(default)]
    pub message: String,
}

/// Apps before the first change: `None` for an app that did not exist.
pub type Previous = BTreeMap<String, Option<Deployed>>;

/// Progress of a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Phase {
    /// Nothing of the set is proved.
    Received,
    /// The set is proved: keys, number, expiry and device.
    Checked,
    /// The device meets the set's requirements; its images are being pulled.
    Fetching {
        /// Apps whose images are on the device.
        fetched: BTreeSet<String>,
        /// Begin of the present part of the pull.
        since: Moment,
        /// Seconds that earlier parts lasted.
        spent: u64,
    },
    /// Apps are being replaced.
    Begun {
        /// Apps before the first change.
        previous: Previous,
        /// Attempts.
        attempts: Attempts,
    },
    /// All apps run; they must stay healthy for a while.
    Settling {
        /// Apps before the first change.
        previous: Previous,
        /// Run of the program that waits.
        run: String,
        /// Begin of the wait.
        since: Moment,
    },
    /// The set stays.
    Commit,
    /// The previous apps are being restored.
    Back {
        /// Apps before the first change.
        previous: Previous,
        /// Cause of the failure.
        cause: Cause,
        /// Attempts.
        attempts: Attempts,
        /// Apps that could not be restored.
        lost: BTreeSet<String>,
    },
}

impl Phase {
    /// Returns whether no app was changed yet, so that the set can still be dropped.
    pub fn is_before_first_change(&self) -> bool {
        matches!(self, Self::Received | Self::Checked | Self::Fetching { .. })
    }

    /// Returns the name of the phase for reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Checked => "checked",
            Self::Fetching { .. } => "fetching",
            Self::Begun { .. } => "begun",
            Self::Settling { .. } => "settling",
            Self::Commit => "commit",
            Self::Back { .. } => "back",
        }
    }
}

/// Status of an execution that a device may report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// The set is being carried out.
    InProgress,
    /// The set was carried out.
    Succeeded,
    /// The set was carried out in part, and the previous apps were restored.
    Failed,
    /// The set was refused before anything changed.
    Rejected,
}

/// Details of a status: at most 10 pairs within AWS's limits.
pub type Details = BTreeMap<String, String>;

/// Result of an execution, which edge-heartbeat reports until AWS's list agrees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Execution.
    #[serde(flatten)]
    pub execution: Execution,
    /// Status.
    pub status: Status,
    /// Details of the status.
    pub details: Details,
}

/// End of the last candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// [`Candidate::id`].
    pub id: String,
    /// Name of the set.
    pub name: String,
    /// Number of the set.
    pub number: u64,
    /// Digest of the set.
    pub set: String,
    /// Status.
    pub status: Status,
    /// Details of the status.
    pub details: Details,
}

/// Results of executions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// Results, the oldest first.
    pub results: Vec<Outcome>,
    /// End of the last candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Ended>,
    /// Unknown fields.
    #[serde(flatten)]
    pub fields: Fields,
}

impl Results {
    /// Returns the result of an execution.
    pub fn of(&self, execution: &Execution) -> Option<&Outcome> {
        self.results.iter().find(|r| r.execution == *execution)
    }

    /// Returns whether an execution has a result that ends it.
    pub fn ended(&self, execution: &Execution) -> bool {
        self.of(execution)
            .is_some_and(|result| result.status != Status::InProgress)
    }
}

/// Failed repairs of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// Number of failures without a success between them.
    pub count: u32,
    /// Run of the program that failed last.
    pub run: String,
    /// Moment of the last failure.
    pub last: Moment,
    /// Text of the last failure.
    pub message: String,
}

/// Failed repairs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repairs {
    /// Failures of each app.
    pub apps: BTreeMap<String, Failures>,
    /// Unknown fields.
    #[serde(flatten)]
    pub fields: Fields,
}
