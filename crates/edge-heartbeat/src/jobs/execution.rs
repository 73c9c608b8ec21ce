//! Executions of jobs, and what may be said about them.

use std::collections::BTreeMap;
use std::time::Duration;

/// Details of a status: at most [`MAX_DETAILS`] pairs.
pub(crate) type Details = BTreeMap<String, String>;

/// Maximum number of details.
pub(super) const MAX_DETAILS: usize = 10;
/// Length limits of a key and of a value of a detail, in characters.
const MAX_KEY_CHARS: usize = 128;
const MAX_VALUE_CHARS: usize = 1024;
/// Length limit of the ID of a job.
const MAX_ID_CHARS: usize = 64;
/// Words of the topics in the place of a job ID: a job of this name cannot be reached.
const RESERVED: [&str; 4] = ["get", "start-next", "notify", "notify-next"];

/// Key of an execution. All three are needed: a job has a new execution number after each
/// retry, and after a deletion AWS uses numbers and IDs again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub id: String,
    pub number: u64,
    /// Time at which it was queued, as AWS states it.
    pub queued: u64,
}

/// Status of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Queued,
    InProgress,
    Succeeded,
    Failed,
    Rejected,
    /// Ended by the cloud: timed out, canceled, removed, or a word that is not known.
    Ended,
}

impl Status {
    /// Parses a status of AWS.
    pub(super) fn parse(word: &str) -> Self {
        match word {
            "QUEUED" => Self::Queued,
            "IN_PROGRESS" => Self::InProgress,
            "SUCCEEDED" => Self::Succeeded,
            "FAILED" => Self::Failed,
            "REJECTED" => Self::Rejected,
            _ => Self::Ended,
        }
    }

    /// Returns the word of AWS.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::InProgress => "IN_PROGRESS",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Rejected => "REJECTED",
            Self::Ended => "CANCELED",
        }
    }

    /// Returns whether nothing follows this status.
    pub(super) fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::InProgress)
    }

    /// Returns whether a device may set this status.
    pub(super) fn may_be_set(self) -> bool {
        !matches!(self, Self::Queued | Self::Ended)
    }
}

/// Pending execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Execution {
    pub key: Key,
    pub status: Status,
    pub version: u64,
    pub details: Details,
    /// Text of the document; empty if it is not one that can be kept.
    pub document: String,
    /// Earliest time of the next update about its progress.
    pub progress_at: Duration,
}

/// Returns whether a job of this ID can be asked for.
pub(super) fn is_job_id(id: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=MAX_ID_CHARS).contains(&id.len()) && id.chars().all(is_part) && !RESERVED.contains(&id)
}

/// Returns whether AWS takes this detail.
pub(super) fn is_detail(key: &str, value: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || ":_-".contains(c);
    (1..=MAX_KEY_CHARS).contains(&key.len())
        && key.chars().all(is_part)
        && (1..=MAX_VALUE_CHARS).contains(&value.chars().count())
        && !value.contains(char::is_control)
}
