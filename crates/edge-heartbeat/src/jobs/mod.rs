//! Jobs of AWS IoT: keeps the list of pending executions in a file for edge-fleet, and says
//! the results that edge-fleet leaves in another file.
//!
//! Reports are level-triggered: as long as the cloud has another status than the results, it
//! is said again, so an answer, a process or a file that is lost costs nothing. Which
//! execution is carried out is not decided here, and documents have no meaning here. AWS
//! publishes nothing when a device connects, delivers in any order and more than once, and a
//! list may lack the newest execution: so the list is requested, and an execution counts as
//! gone only if AWS says so of that execution.
//!
//! The machine has no clock and no connection. One request is under way at a time.

mod execution;
mod list_file;
mod requests;
mod results;
mod wire;

use std::time::Duration;

use edge_common::backoff::{Backoff, random_fraction};
use edge_common::{Root, log};
use serde_json::{Map, Value, json};

use execution::{Execution, Key, Status};
use requests::{InFlight, Refused, Request, Wanted};
use results::Outcome;
use wire::{List, Message};

/// Topic filters of the answers and notifications, below the prefix of the thing. Of
/// `notify-next`, a device hears only that the front of its queue has changed.
pub(crate) const FILTERS: [&str; 4] = [
    "jobs/notify",
    "jobs/get/+",
    "jobs/+/get/+",
    "jobs/+/update/+",
];
/// Prefix of all topics of jobs.
const PREFIX: &str = "jobs/";
/// Number of executions that AWS lists at most. A list with as many names not all.
const MAX_LISTED: usize = 10;
/// Maximum number of executions that are known.
const MAX_KNOWN: usize = 32;
/// Time after which writing the file is tried again.
const SAVE_AGAIN: Duration = Duration::from_secs(60);
/// Requests of an execution that AWS does not find before it counts as gone: directly after
/// a notification it may not be found yet.
const MAX_NOT_FOUND: u32 = 3;

/// Pauses of the requests about jobs.
#[derive(Debug, Clone)]
pub struct Pauses {
    /// Longest random time from a connection to the first request: a fleet whose network
    /// comes back shares 200 requests per second.
    pub jitter: Duration,
    /// Time between two requests of the list without a notification.
    pub list: Duration,
    /// Shortest time between two requests of the list.
    pub between: Duration,
    /// Time after which an execution that was not found is requested again.
    pub lag: Duration,
    /// Shortest and longest pause after a request that was throttled or not answered.
    pub retries: (Duration, Duration),
    /// Time for which an update that AWS finally refused is not repeated.
    pub refused: Duration,
    /// Shortest time between two updates about the progress of an execution.
    pub progress: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            jitter: seconds(60),
            list: seconds(3600),
            between: seconds(1),
            lag: seconds(4),
            retries: (seconds(2), seconds(300)),
            refused: seconds(3600),
            progress: seconds(10),
        }
    }
}

/// Pending executions, and what has to be requested about them. Times are those since any
/// fixed moment.
pub(crate) struct Jobs {
    root: Root,
    pauses: Pauses,
    /// Time limit of an answer.
    limit: Duration,
    known: Vec<Execution>,
    /// Whether the last list names all pending executions.
    is_whole: bool,
    /// Whether a list has come since the start.
    is_listed: bool,
    /// Whether every execution of that list was requested. Before, the file keeps what it has:
    /// an execution that is only listed would be missing in it.
    is_known: bool,
    list_at: Duration,
    wanted: Vec<Wanted>,
    results: Vec<Outcome>,
    refused: Vec<Refused>,
    /// Executions that are pending no more, so that nothing is said about them.
    closed: Vec<Key>,
    in_flight: Option<InFlight>,
    backoff: Backoff,
    earliest: Duration,
    /// Whether the file may differ from what is known.
    is_unsaved: bool,
    /// Earliest time at which writing the file is tried again after an error.
    save_at: Duration,
}

impl Jobs {
    pub(crate) fn new(root: &Root, pauses: &Pauses, limit: Duration) -> Self {
        Self {
            root: root.clone(),
            pauses: pauses.clone(),
            limit,
            known: Vec::new(),
            is_whole: false,
            is_listed: false,
            is_known: false,
            list_at: Duration::MAX,
            wanted: Vec::new(),
            results: Vec::new(),
            refused: Vec::new(),
            closed: Vec::new(),
            in_flight: None,
            backoff: Backoff::new(pauses.retries.0, pauses.retries.1),
            earliest: Duration::ZERO,
            is_unsaved: false,
            save_at: Duration::ZERO,
        }
    }

    /// Returns whether an execution is pending.
    pub(crate) fn is_open(&self) -> bool {
        !self.known.is_empty()
    }

    /// Returns whether nothing is to be done now, and a list has come.
    pub(crate) fn is_settled(&self, now: Duration) -> bool {
        self.is_listed && self.in_flight.is_none() && self.due() > now
    }

    /// Plans the first request of a new connection.
    pub(crate) fn connected(&mut self, now: Duration) {
        self.in_flight = None;
        self.earliest = now;
        self.backoff.reset();
        self.list_at = now + self.pauses.jitter.mul_f64(random_fraction());
    }

    /// Reads the results of edge-fleet. A file that cannot be read changes nothing.
    pub(crate) fn read_results(&mut self) {
        match results::load(&self.root) {
            Ok(results) => self.results = results,
            Err(error) => log::warn(error),
        }
    }

    /// Writes the file for edge-fleet if necessary. After an error it is tried again.
    pub(crate) fn save(&mut self, now: Duration, cloud_time: u64) {
        self.is_known |= self.is_listed && self.wanted.iter().all(|wanted| wanted.is_tried);
        if !self.is_unsaved || !self.is_known || now < self.save_at {
            return;
        }
        let complete = self.is_whole && self.wanted.is_empty();
        match list_file::save(&self.root, &self.known, complete, cloud_time) {
            Ok(()) => self.is_unsaved = false,
            Err(error) => {
                self.save_at = now + SAVE_AGAIN;
                log::warn(format_args!("{error:#}"));
            }
        }
    }

    /// Returns the time at which [`Jobs::next`] has something to do without a message.
    pub(crate) fn due(&self) -> Duration {
        if let Some(in_flight) = &self.in_flight {
            return in_flight.until;
        }
        let wanted = self.wanted.iter().map(|wanted| wanted.at);
        let updates = self.known.iter().filter_map(|e| self.update_at(e));
        let first = wanted.chain(updates).chain([self.list_at]).min();
        first.unwrap_or(Duration::MAX).max(self.earliest)
    }

    /// Returns topic and payload of the next request, if one is due.
    pub(crate) fn next(&mut self, now: Duration, token: String) -> Option<(String, String)> {
        if let Some(in_flight) = self.in_flight.take_if(|in_flight| in_flight.until <= now) {
            self.try_again(&in_flight.request, now);
            log::warn(format_args!("{} was not answered", in_flight.request));
        }
        if self.in_flight.is_some() || now < self.due() {
            return None;
        }
        let request = self.choose(now)?;
        let (topic, mut body) = self.content(&request);
        body.insert("clientToken".into(), json!(token));
        self.in_flight = Some(InFlight {
            token,
            request,
            until: now + self.limit,
        });
        Some((format!("{PREFIX}{topic}"), Value::Object(body).to_string()))
    }

    /// Returns the most urgent request that is due: new executions come first, because a
    /// rollout waits for them.
    fn choose(&mut self, now: Duration) -> Option<Request> {
        if let Some(wanted) = self
            .wanted
            .iter()
            .filter(|w| w.at <= now)
            .min_by_key(|w| w.at)
        {
            return Some(Request::Describe(wanted.id.clone()));
        }
        let update = self
            .known
            .iter()
            .find(|e| self.update_at(e).is_some_and(|at| at <= now));
        if let Some(execution) = update {
            let outcome = self.outcome(&execution.key)?;
            let is_plain = self.refused.iter().any(|r| r.concerns(outcome));
            return Some(Request::Update {
                outcome: outcome.clone(),
                is_plain,
            });
        }
        (self.list_at <= now).then(|| {
            self.list_at = now + self.pauses.list;
            Request::List
        })
    }

    fn content(&self, request: &Request) -> (String, Map<String, Value>) {
        let mut body = Map::new();
        match request {
            Request::List => ("get".into(), body),
            Request::Describe(id) => (format!("{id}/get"), body),
            Request::Update { outcome, is_plain } => {
                let key = &outcome.key;
                let known = self.known.iter().find(|e| e.key == *key);
                body.insert("status".into(), json!(outcome.status.word()));
                body.insert("executionNumber".into(), json!(key.number));
                body.insert("expectedVersion".into(), json!(known.map(|e| e.version)));
                body.insert("includeJobExecutionState".into(), json!(true));
                if !outcome.details.is_empty() && !is_plain {
                    body.insert("statusDetails".into(), json!(outcome.details));
                }
                (format!("{}/update", key.id), body)
            }
        }
    }

    fn outcome(&self, key: &Key) -> Option<&Outcome> {
        self.results
            .iter()
            .rev()
            .find(|outcome| outcome.key == *key)
    }

    /// Returns the time at which the result of an execution has to be said; `None` if the
    /// cloud has it.
    fn update_at(&self, execution: &Execution) -> Option<Duration> {
        // It is read again first.
        if self.wanted.iter().any(|w| w.id == execution.key.id) {
            return None;
        }
        let outcome = self.outcome(&execution.key)?;
        let refused = self
            .refused
            .iter()
            .find(|refused| refused.concerns(outcome));
        let at = refused.map_or(Duration::ZERO, |refused| refused.until);
        if outcome.status.is_final() || execution.status == Status::Queued {
            return Some(at);
        }
        let is_new = !outcome.details.is_empty() && outcome.details != execution.details;
        // Progress without its details would say nothing.
        (is_new && refused.is_none()).then_some(execution.progress_at)
    }

    /// Handles a message. Returns whether it is about jobs, and its time stamp.
    pub(crate) fn handle(&mut self, now: Duration, topic: &str, payload: &[u8]) -> Option<Value> {
        let topic = topic.strip_prefix(PREFIX)?;
        let Some(message) = Message::parse(payload) else {
            // No answer: the request is sent again.
            return Some(Value::Null);
        };
        if topic == "notify" {
            self.notified(&message.notified(), now);
            return Some(message.timestamp);
        }
        let is_own = |in_flight: &mut InFlight| {
            let (request, _) = topic.rsplit_once('/').unwrap_or_default();
            message.token == *in_flight.token && in_flight.request.topic() == request
        };
        if let Some(InFlight { request, .. }) = self.in_flight.take_if(is_own) {
            let is_usable = match topic.ends_with("/accepted") {
                true => self.accepted(&request, &message, now),
                false => self.rejected(&request, &message, now),
            };
            if is_usable {
                self.backoff.reset();
                self.tried(&request, None);
            } else {
                self.try_again(&request, now);
            }
        }
        Some(message.timestamp)
    }

    /// Pauses all requests after one that was throttled, not answered, or answered in
    /// another form. What is due stays due.
    fn try_again(&mut self, request: &Request, now: Duration) {
        self.earliest = now + self.backoff.next_pause();
        match request {
            Request::List => self.list_at = self.list_at.min(self.earliest),
            // Behind the others, so that one that is never answered well holds up none.
            request => self.tried(request, Some(self.earliest)),
        }
    }

    /// Records that an execution was requested, and when it is requested again.
    fn tried(&mut self, request: &Request, again: Option<Duration>) {
        let Request::Describe(id) = request else {
            return;
        };
        if let Some(wanted) = self.wanted.iter_mut().find(|wanted| wanted.id == *id) {
            wanted.is_tried = true;
            wanted.at = again.unwrap_or(wanted.at);
        }
    }

    /// Requests what a notification names and is not known, and the list.
    fn notified(&mut self, list: &List, now: Duration) {
        for entry in &list.entries {
            if !self.known.iter().any(|e| e.key == entry.key) {
                self.want(&entry.key.id, now);
            }
        }
        self.list_at = self.list_at.min(now + self.pauses.between);
    }

    fn want(&mut self, id: &str, at: Duration) {
        if self.wanted.len() < MAX_KNOWN && !self.wanted.iter().any(|w| w.id == id) {
            self.wanted.push(Wanted {
                id: id.into(),
                at,
                not_found: 0,
                is_tried: false,
            });
        }
    }

    /// Takes up an answer; returns whether it has the form that AWS publishes.
    fn accepted(&mut self, request: &Request, message: &Message, now: Duration) -> bool {
        match request {
            Request::List => message
                .list()
                .is_some_and(|list| self.take_list(&list, now)),
            Request::Describe(id) => match message.execution().filter(|e| e.key.id == *id) {
                Some(execution) => {
                    self.take_execution(execution);
                    true
                }
                None => false,
            },
            Request::Update { outcome, is_plain } => {
                self.said(outcome, *is_plain, message, now);
                true
            }
        }
    }

    fn take_list(&mut self, list: &List, now: Duration) -> bool {
        self.is_listed = true;
        self.is_unsaved = true;
        self.is_whole = list.whole && list.entries.len() < MAX_LISTED;
        for entry in &list.entries {
            match self.known.iter_mut().find(|e| e.key == entry.key) {
                // A list may be older than an answer.
                Some(known) if entry.version > known.version => {
                    (known.status, known.version) = (entry.status, entry.version);
                }
                Some(_) => {}
                None => self.want(&entry.key.id, now),
            }
        }
        let is_listed = |key: &Key| list.entries.iter().any(|entry| entry.key == *key);
        let unlisted = self.known.iter().filter(|e| !is_listed(&e.key));
        let mut ids: Vec<_> = unlisted.map(|e| e.key.id.clone()).collect();
        if list.entries.len() >= MAX_LISTED {
            // The list names not all: there may be a result to say for one that is behind it.
            let behind = self.results.iter().filter(|r| r.status.is_final());
            let behind = behind.filter(|r| !is_listed(&r.key) && !self.is_closed(&r.key));
            ids.extend(behind.map(|r| r.key.id.clone()));
        }
        ids.iter().for_each(|id| self.want(id, now));
        list.whole
    }

    fn take_execution(&mut self, mut execution: Execution) {
        self.drop_wanted(&execution.key.id);
        self.is_unsaved = true;
        let known = self.known.iter().find(|e| e.key == execution.key);
        execution.progress_at = known.map_or(Duration::ZERO, |known| known.progress_at);
        // One execution of a job at a time is pending for a device.
        self.known.retain(|e| e.key.id != execution.key.id);
        if !execution.status.is_final() && self.known.len() < MAX_KNOWN {
            self.known.push(execution);
        }
    }

    fn drop_wanted(&mut self, id: &str) {
        self.wanted.retain(|wanted| wanted.id != id);
    }
}

#[cfg(test)]
mod tests;
