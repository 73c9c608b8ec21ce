//! Rejection of a report by the shadow.

use std::fmt;

use edge_common::log;
use serde_json::Value;

/// Length limit of a message of the cloud in a report or log, in characters.
const MAX_MESSAGE_CHARS: usize = 120;

/// Rejection of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// Code in the answer, an HTTP status.
    pub code: u64,
    /// Message in the answer, on one line.
    pub message: String,
    /// Size of the rejected report, in bytes.
    pub bytes: usize,
}

impl Rejection {
    /// Returns the rejection that an answer to a report of `bytes` bytes states.
    pub(super) fn of(answer: &Value, bytes: usize) -> Self {
        let message = answer["message"].as_str().unwrap_or("no message");
        let message = log::printable(message);
        Self {
            code: answer["code"].as_u64().unwrap_or(0),
            message: message.chars().take(MAX_MESSAGE_CHARS).collect(),
            bytes,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.message)
    }
}
