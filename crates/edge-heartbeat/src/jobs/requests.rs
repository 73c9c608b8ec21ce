//! Requests about jobs, and what follows from their answers.

use std::fmt;
use std::time::Duration;

use edge_common::log;

use super::execution::{Key, Status};
use super::results::Outcome;
use super::wire::Message;
use super::{Jobs, MAX_NOT_FOUND};

/// Maximum number of executions that are remembered as refused or closed.
const MAX_REMEMBERED: usize = 64;
/// Length limit of a message of the cloud in the log, in characters.
const MAX_MESSAGE_CHARS: usize = 120;

/// Request about jobs.
#[derive(Debug, Clone)]
pub(super) enum Request {
    List,
    /// An execution of the job with this ID.
    Describe(String),
    /// Report of a result, without its details if AWS refused them.
    Update {
        outcome: Outcome,
        is_plain: bool,
    },
}

/// Request whose answer has not come.
pub(super) struct InFlight {
    pub token: String,
    pub request: Request,
    pub until: Duration,
}

/// Job whose execution has to be requested.
pub(super) struct Wanted {
    pub id: String,
    pub at: Duration,
    /// Times that it was not found in a row.
    pub not_found: u32,
    /// Whether it was requested, whatever the answer was.
    pub is_tried: bool,
}

/// Result that AWS finally refused.
pub(super) struct Refused {
    outcome: Outcome,
    /// Time until which it is not said again.
    pub until: Duration,
}

impl Refused {
    pub(super) fn concerns(&self, outcome: &Outcome) -> bool {
        self.outcome == *outcome
    }
}

impl Request {
    /// Returns the topic of the request, below the prefix of jobs.
    pub(super) fn topic(&self) -> String {
        match self {
            Self::List => "get".into(),
            Self::Describe(id) => format!("{id}/get"),
            Self::Update { outcome, .. } => format!("{}/update", outcome.key.id),
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List => write!(f, "the request of the list of jobs"),
            Self::Describe(id) => write!(f, "the request of job {id}"),
            Self::Update { outcome, .. } => {
                let (id, status) = (&outcome.key.id, outcome.status.word());
                write!(f, "the report that job {id} is {status}")
            }
        }
    }
}

impl Jobs {
    /// Returns whether the cloud has closed an execution, so that nothing is said about it.
    pub(super) fn is_closed(&self, key: &Key) -> bool {
        self.closed.contains(key)
    }

    /// Forgets an execution that is pending no more.
    fn close(&mut self, key: &Key) {
        self.known.retain(|e| e.key != *key);
        self.drop_wanted(&key.id);
        self.is_unsaved = true;
        if !self.is_closed(key) {
            if self.closed.len() == MAX_REMEMBERED {
                self.closed.remove(0);
            }
            self.closed.push(key.clone());
        }
    }

    /// Records that AWS has taken a result.
    pub(super) fn said(
        &mut self,
        outcome: &Outcome,
        is_plain: bool,
        message: &Message,
        now: Duration,
    ) {
        let key = &outcome.key;
        if outcome.status.is_final() {
            log::info(format_args!("job {} is {}", key.id, outcome.status.word()));
            return self.close(key);
        }
        self.is_unsaved = true;
        let state = message.state();
        let progress = now + self.pauses.progress;
        let Some(known) = self.known.iter_mut().find(|e| e.key == *key) else {
            return;
        };
        known.status = outcome.status;
        known.progress_at = progress;
        if !is_plain {
            known.details = outcome.details.clone();
        }
        match state {
            Some(state) => known.version = state.version,
            None => self.want(&key.id, now),
        }
    }

    /// Takes up a rejection; returns whether it is final or says how to go on.
    pub(super) fn rejected(&mut self, request: &Request, message: &Message, now: Duration) -> bool {
        let code = message.code.as_str().unwrap_or_default();
        if matches!(code, "" | "InternalError" | "RequestThrottled") {
            return false;
        }
        match request {
            Request::List => {
                self.warn(request, message);
                false
            }
            Request::Describe(id) => {
                self.not_described(id, code, request, message, now);
                true
            }
            Request::Update { outcome, is_plain } => {
                self.not_said(outcome, *is_plain, request, message, now);
                // A version that never fits is not asked for without a pause.
                code != "VersionMismatch" || message.state().is_some()
            }
        }
    }

    fn not_described(
        &mut self,
        id: &str,
        code: &str,
        request: &Request,
        message: &Message,
        now: Duration,
    ) {
        let lag = self.pauses.lag;
        if code == "ResourceNotFound"
            && let Some(wanted) = self.wanted.iter_mut().find(|wanted| wanted.id == id)
        {
            wanted.not_found += 1;
            if wanted.not_found < MAX_NOT_FOUND {
                wanted.at = now + lag;
                return;
            }
        } else if code != "TerminalStateReached" {
            self.warn(request, message);
        }
        self.drop_wanted(id);
        if matches!(code, "ResourceNotFound" | "TerminalStateReached") {
            let known = self.known.iter().map(|e| &e.key);
            let said = self.results.iter().map(|outcome| &outcome.key);
            let keys: Vec<_> = known
                .chain(said)
                .filter(|key| key.id == id)
                .cloned()
                .collect();
            keys.iter().for_each(|key| self.close(key));
        }
    }

    /// Takes up the rejection of a result.
    fn not_said(
        &mut self,
        outcome: &Outcome,
        is_plain: bool,
        request: &Request,
        message: &Message,
        now: Duration,
    ) {
        let key = &outcome.key;
        let code = message.code.as_str().unwrap_or_default();
        match (code, message.state()) {
            // An earlier report, whose answer was lost, or the cloud has ended it.
            ("VersionMismatch" | "InvalidStateTransition", Some(state))
                if state.status.is_final() =>
            {
                if state.status != outcome.status {
                    self.warn(request, message);
                }
                self.close(key);
            }
            ("VersionMismatch", Some(state)) if state.status == outcome.status => {
                // Of this execution or of another one with the same number.
                self.take_version(key, state.status, state.version);
                self.want(&key.id, now);
            }
            ("VersionMismatch" | "ResourceNotFound" | "TerminalStateReached", _) => {
                self.want(&key.id, now);
            }
            // The details may be the cause, and the status matters more.
            ("InvalidRequest" | "InvalidJson", _) if !is_plain && !outcome.details.is_empty() => {
                self.warn(request, message);
                self.refuse(outcome, now);
            }
            _ => {
                self.warn(request, message);
                self.refuse(outcome, now + self.pauses.refused);
                self.want(&key.id, now);
            }
        }
    }

    fn take_version(&mut self, key: &Key, status: Status, version: u64) {
        if let Some(known) = self.known.iter_mut().find(|e| e.key == *key) {
            (known.status, known.version) = (status, version);
            self.is_unsaved = true;
        }
    }

    fn refuse(&mut self, outcome: &Outcome, until: Duration) {
        self.refused.retain(|refused| !refused.concerns(outcome));
        if self.refused.len() == MAX_REMEMBERED {
            self.refused.remove(0);
        }
        self.refused.push(Refused {
            outcome: outcome.clone(),
            until,
        });
    }

    fn warn(&self, request: &Request, message: &Message) {
        let code = log::printable(message.code.as_str().unwrap_or("no code"));
        let text = log::printable(message.message.as_str().unwrap_or("no message"));
        let text: String = text.chars().take(MAX_MESSAGE_CHARS).collect();
        log::warn(format_args!("{request} was rejected: {code} {text}"));
    }
}
