//! Account: things, thing groups, jobs and their executions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Largest number of executions in a list for a device.
pub(super) const MAX_LISTED: usize = 10;

/// Status of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Status {
    Queued,
    InProgress,
    Succeeded,
    Failed,
    Rejected,
    TimedOut,
    Canceled,
    Removed,
}

/// All statuses of an execution, with the names of the published API and of the
/// counters of a job.
pub(super) const STATUSES: [(Status, &str, &str); 8] = [
    (Status::Queued, "QUEUED", "numberOfQueuedThings"),
    (
        Status::InProgress,
        "IN_PROGRESS",
        "numberOfInProgressThings",
    ),
    (Status::Succeeded, "SUCCEEDED", "numberOfSucceededThings"),
    (Status::Failed, "FAILED", "numberOfFailedThings"),
    (Status::Rejected, "REJECTED", "numberOfRejectedThings"),
    (Status::TimedOut, "TIMED_OUT", "numberOfTimedOutThings"),
    (Status::Canceled, "CANCELED", "numberOfCanceledThings"),
    (Status::Removed, "REMOVED", "numberOfRemovedThings"),
];

impl Status {
    /// Returns whether the execution can change no more.
    pub(super) fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::InProgress)
    }

    /// Returns the name of the published API.
    pub(super) fn name(self) -> &'static str {
        let entry = STATUSES.iter().find(|(status, ..)| *status == self);
        entry.map_or("", |(_, name, _)| name)
    }

    /// Returns the status with this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        let entry = STATUSES.iter().find(|(_, known, _)| *known == name);
        entry.map(|(status, ..)| *status)
    }
}

/// Status of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum JobStatus {
    Scheduled,
    InProgress,
    Canceled,
    Completed,
}

impl JobStatus {
    /// Returns the name of the published API.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "SCHEDULED",
            Self::InProgress => "IN_PROGRESS",
            Self::Canceled => "CANCELED",
            Self::Completed => "COMPLETED",
        }
    }
}

/// Thing or thing group to which a job is addressed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Target {
    Thing(String),
    Group(String),
}

/// Event after which a rate of roll-out increases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Progress {
    Notified,
    Succeeded,
}

/// Rate of roll-out that grows with progress.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Growth {
    /// Devices in the first minute.
    pub base: u64,
    /// Factor of one increase, in tenths.
    pub factor_tenths: u64,
    /// Progress that is counted.
    pub by: Progress,
    /// Progress per increase.
    pub step: u64,
}

/// Rule that cancels a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Abort {
    /// Status that counts as failure; `None` counts each of them.
    pub failure: Option<Status>,
    /// Share of failures among the finished executions, in hundredths of a percent.
    pub threshold: u64,
    /// Finished executions before the rule applies.
    pub minimum: u64,
}

/// Rule that repeats executions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Retry {
    /// Status that is repeated; `None` repeats FAILED and TIMED_OUT.
    pub failure: Option<Status>,
    /// Number of repetitions for one thing.
    pub times: u64,
}

/// Effect of the end of a schedule on what is queued and in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum EndBehavior {
    StopRollout,
    Cancel,
    ForceCancel,
}

/// Validated configuration of a job.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Config {
    /// Largest number of devices that one minute adds.
    pub maximum_per_minute: u64,
    /// Growth of the rate; `None` is a constant rate.
    pub growth: Option<Growth>,
    /// Rules that cancel the job.
    pub aborts: Vec<Abort>,
    /// Limit from the first IN_PROGRESS, in minutes.
    pub timeout: Option<u64>,
    /// Rules that repeat executions.
    pub retries: Vec<Retry>,
    /// Start of the roll-out, Unix time.
    pub starts_at: Option<u64>,
    /// End of the roll-out, Unix time, and its effect.
    pub ends_at: Option<(u64, EndBehavior)>,
}

/// Execution of a job on a thing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Execution {
    pub thing: String,
    pub number: u64,
    /// Position among all executions that were ever queued.
    pub sequence: u64,
    pub status: Status,
    pub details: BTreeMap<String, String>,
    pub queued_at: u64,
    pub started_at: Option<u64>,
    pub updated_at: u64,
    pub version: u64,
    pub force_canceled: bool,
    /// End of the job's timer.
    pub job_timer: Option<u64>,
    /// End of the step timer.
    pub step_timer: Option<u64>,
    /// Statuses of the executions that this one repeats.
    pub repeats: Vec<Status>,
}

impl Execution {
    /// Returns the time at which the first of the two timers ends.
    pub(super) fn due(&self) -> Option<u64> {
        if self.status != Status::InProgress {
            return None;
        }
        self.job_timer.into_iter().chain(self.step_timer).min()
    }
}

/// Job with its executions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub id: String,
    pub targets: Vec<Target>,
    pub continuous: bool,
    pub document: String,
    pub config: Config,
    /// Configurations as they were requested, for DescribeJob.
    pub requested: Map<String, Value>,
    pub status: JobStatus,
    pub force_canceled: bool,
    pub reason_code: Option<String>,
    pub comment: Option<String>,
    pub created_at: u64,
    pub updated_at: u64,
    pub completed_at: Option<u64>,
    /// Things without an execution yet, in order of the roll-out.
    pub waiting: VecDeque<String>,
    /// Time of the next batch of the roll-out.
    pub next_batch: Option<u64>,
    /// Whether the schedule has ended the roll-out.
    pub stopped: bool,
    pub executions: Vec<Execution>,
}

impl Job {
    /// Returns the latest execution on a thing.
    pub(super) fn latest(&self, thing: &str) -> Option<&Execution> {
        let mine = self.executions.iter().filter(|e| e.thing == thing);
        mine.max_by_key(|e| e.number)
    }

    /// Returns an execution on a thing, the latest one without a number.
    pub(super) fn execution(&self, thing: &str, number: Option<u64>) -> Option<&Execution> {
        match number {
            None => self.latest(thing),
            Some(number) => {
                (self.executions.iter()).find(|e| e.thing == thing && e.number == number)
            }
        }
    }

    /// Returns the number of executions with a status.
    pub(super) fn count(&self, status: Status) -> u64 {
        self.executions
            .iter()
            .filter(|e| e.status == status)
            .count() as u64
    }
}

/// Static thing group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Group {
    pub id: String,
    pub properties: Value,
    pub created_at: u64,
    pub version: u64,
    pub members: BTreeSet<String>,
}

/// List of a device as it was last announced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Announced {
    /// Sequence numbers of the pending executions.
    pub members: BTreeSet<u64>,
    /// Sequence number of the first one.
    pub front: Option<u64>,
}

/// State of the account. Times are seconds of Unix time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Account {
    /// Newest time that any request had.
    pub clock: u64,
    /// Number of executions that were ever queued.
    pub sequence: u64,
    pub things: BTreeSet<String>,
    pub groups: BTreeMap<String, Group>,
    pub jobs: BTreeMap<String, Job>,
    /// Tags by ARN.
    pub tags: BTreeMap<String, BTreeMap<String, String>>,
    pub announced: BTreeMap<String, Announced>,
    /// Things whose list may have changed since it was announced.
    #[serde(skip)]
    pub changed: BTreeSet<String>,
}

impl Account {
    /// Returns the pending executions of a thing, IN_PROGRESS first, then by age.
    pub(super) fn pending(&self, thing: &str) -> Vec<(&Job, &Execution)> {
        let all = self.jobs.values();
        let mut pending: Vec<_> = all
            .flat_map(|job| job.executions.iter().map(move |e| (job, e)))
            .filter(|(_, e)| e.thing == thing && !e.status.is_final())
            .collect();
        pending.sort_by_key(|(_, e)| (e.status != Status::InProgress, e.queued_at, e.sequence));
        pending
    }

    /// Returns the things that a list of targets names, each once.
    pub(super) fn members(&self, targets: &[Target]) -> BTreeSet<String> {
        let of = |target: &Target| match target {
            Target::Thing(name) => BTreeSet::from([name.clone()]),
            Target::Group(name) => (self.groups.get(name))
                .map(|group| group.members.clone())
                .unwrap_or_default(),
        };
        targets.iter().flat_map(of).collect()
    }
}
