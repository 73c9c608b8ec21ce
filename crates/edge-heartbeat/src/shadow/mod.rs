//! Client of one shadow of the device over MQTT, the classic one or a named one. See
//! <https://docs.aws.amazon.com/iot/latest/developerguide/device-shadow-mqtt.html>.

mod desired;
mod rejection;

use std::time::{Duration, Instant};

use anyhow::Result;
use edge_common::backoff::Backoff;
use edge_common::log;
use serde_json::{Map, Value, json};

use crate::document::{self, Document};
use crate::link::Link;
pub(crate) use desired::{DesiredInterval, DesiredVpn};
pub(crate) use rejection::Rejection;

/// Code of the answer that no shadow exists.
const NO_SHADOW: u64 = 404;
/// Topic filters of the answers and changes of the classic and of the named shadows, below
/// the prefix of the thing. Of `update`, AWS publishes a message `documents` as well, which
/// would double the traffic.
pub(crate) const FILTERS: [&str; 9] = [
    "shadow/update/accepted",
    "shadow/update/rejected",
    "shadow/update/delta",
    "shadow/get/+",
    "shadow/delete/accepted",
    "shadow/name/+/update/accepted",
    "shadow/name/+/update/rejected",
    "shadow/name/+/get/+",
    "shadow/name/+/delete/accepted",
];

/// Answer of the shadow to a report.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The shadow has stored the report.
    Accepted,
    /// The shadow has rejected the report, for example for its size or for the rate of
    /// requests. The connection works.
    Rejected(Rejection),
    /// No answer came in time.
    Missing,
}

/// Shadow of the device, as far as the device knows it.
pub(crate) struct Shadow {
    /// Path of the shadow's topics, for example `shadow/name/apps`.
    path: String,
    /// Shadow as of the last answer, if there was one on this connection.
    document: Option<Document>,
    /// Version of `document`; 0 if it is not known.
    version: u64,
    interval: Option<DesiredInterval>,
    vpn: Option<DesiredVpn>,
    pending: Pending,
    report: Option<Report>,
    answer: Option<Answer>,
}

/// Request for the whole shadow.
struct Pending {
    token: String,
    /// Time at which the request is sent again; `None` if it is answered.
    repeat: Option<Instant>,
    pauses: Backoff,
    /// Newest version of the shadow that was known to differ at the request.
    version: u64,
    /// Last delta, which AWS repeats after each report.
    delta: Value,
}

/// Report whose answer has not come.
struct Report {
    token: String,
    update: Map<String, Value>,
    /// Size with what the shadow has already, in bytes.
    bytes: usize,
}

impl Shadow {
    /// Creates the client of the classic shadow, or of the one named `name`. `pauses` are
    /// the shortest and the longest time after which a request of the whole shadow is
    /// repeated.
    pub(crate) fn new(name: Option<&str>, pauses: (Duration, Duration)) -> Self {
        Self {
            path: name.map_or("shadow".into(), |name| format!("shadow/name/{name}")),
            document: None,
            version: 0,
            interval: None,
            vpn: None,
            pending: Pending {
                token: String::new(),
                repeat: None,
                pauses: Backoff::new(pauses.0, pauses.1),
                version: 0,
                delta: Value::Null,
            },
            report: None,
            answer: None,
        }
    }

    /// Forgets what a new connection has to ask again.
    pub(crate) fn disconnected(&mut self) {
        (self.document, self.version) = (None, 0);
        (self.report, self.answer) = (None, None);
        (self.pending.repeat, self.pending.version) = (None, 0);
        self.pending.token.clear();
        self.pending.delta = Value::Null;
        self.pending.pauses.reset();
    }

    /// Requests the whole shadow without waiting for the answer. AWS publishes a change
    /// only once and only in part, so a device that was disconnected, and one whose
    /// shadow somebody else has changed, have to request the state.
    pub(crate) fn request_state(&mut self, link: &mut Link) -> Result<()> {
        self.pending.token = link.next_token();
        self.pending.repeat = Some(Instant::now() + self.pending.pauses.next_pause());
        let request = json!({ "clientToken": self.pending.token }).to_string();
        link.request(&format!("{}/get", self.path), request)
    }

    /// Returns whether the shadow has answered a request of its state on this connection.
    pub(crate) fn is_known(&self) -> bool {
        self.document.is_some()
    }

    /// Returns the time at which the request of the whole shadow has to be repeated, if it
    /// is not answered.
    pub(crate) fn repeat_at(&self) -> Option<Instant> {
        self.pending.repeat
    }

    /// Returns the shadow as far as it is known, an empty one otherwise.
    pub(crate) fn document(&self) -> Document {
        self.document.clone().unwrap_or_default()
    }

    /// Sends of the reported state `whole` what the shadow does not have, without waiting for
    /// the answer. Returns `false` if it has all of it, and `always` is not set.
    pub(crate) fn send(
        &mut self,
        link: &mut Link,
        whole: Map<String, Value>,
        always: bool,
    ) -> Result<bool> {
        let token = link.next_token();
        let bytes = document::payload(&whole, &token).len();
        let update = match &self.document {
            Some(document) => document.changed(whole),
            None => whole,
        };
        if update.is_empty() && !always {
            return Ok(false);
        }
        let text = document::payload(&update, &token);
        self.answer = None;
        self.report = Some(Report {
            token,
            update,
            bytes,
        });
        link.request(&format!("{}/update", self.path), text)?;
        Ok(true)
    }

    /// Returns the answer to the last report, once.
    pub(crate) fn take_answer(&mut self) -> Option<Answer> {
        self.answer.take()
    }

    /// Gives up waiting for the answer to the last report. The shadow may have stored it, so
    /// its state is requested before the next one is compared with it.
    pub(crate) fn give_up(&mut self, link: &mut Link) -> Result<()> {
        self.report = None;
        self.document = None;
        self.request_state(link)
    }

    /// Returns the answer that a topic names, for example `get/accepted`, if the topic is
    /// one of this shadow.
    fn kind<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let kind = topic.strip_prefix(&self.path)?.strip_prefix('/')?;
        (!kind.starts_with("name/")).then_some(kind)
    }

    /// Handles a message; returns whether it is one of this shadow.
    pub(crate) fn handle(&mut self, link: &mut Link, topic: &str, payload: &[u8]) -> bool {
        let Some(kind) = self.kind(topic) else {
            return false;
        };
        let answer: Value = serde_json::from_slice(payload).unwrap_or_default();
        link.note_time(&answer["timestamp"]);
        let token = &answer["clientToken"];
        let to_request = *token == *self.pending.token;
        let to_report = self.report.as_ref().is_some_and(|r| *token == *r.token);
        match kind {
            "get/accepted" if to_request => self.take_state(link, &answer),
            "get/rejected" if to_request && answer["code"] == NO_SHADOW => {
                self.take_state(link, &Value::Null);
            }
            "get/rejected" if to_request => log::warn(format_args!(
                "reading the shadow: rejected: {}; it is read again later",
                Rejection::of(&answer, 0)
            )),
            "update/accepted" if to_report => self.accepted(link, &answer),
            "update/rejected" if to_report => {
                let report = self.report.take();
                let bytes = report.map_or(0, |report| report.bytes);
                self.answer = Some(Answer::Rejected(Rejection::of(&answer, bytes)));
            }
            _ if desired::changes(kind, &answer) => self.request_changed(link, kind, &answer),
            _ => {}
        }
        true
    }

    /// Records that the shadow has stored the report.
    fn accepted(&mut self, link: &mut Link, answer: &Value) {
        let version = answer["version"].as_u64().unwrap_or(0);
        let update = self.report.take().map(|report| report.update);
        if let (Some(document), Some(update)) = (&mut self.document, update) {
            document.merge(&update);
        }
        let follows = self.version == 0 || version == self.version + 1;
        let is_known = self.document.is_some();
        self.version = version;
        self.answer = Some(Answer::Accepted);
        if version != 0 && is_known && !follows {
            self.request_again(link);
        }
    }

    fn take_state(&mut self, link: &mut Link, answer: &Value) {
        let version = answer["version"].as_u64().unwrap_or(0);
        // A report that was accepted meanwhile is not in this state.
        if version != 0 && version < self.version {
            return self.request_again(link);
        }
        let state = &answer["state"];
        self.version = version;
        self.pending.repeat = None;
        self.pending.pauses.reset();
        self.document = Some(Document::of(state));
        self.interval = Some(desired::interval(&state["desired"]));
        self.vpn = Some(desired::vpn(&state["desired"]));
    }

    fn request_again(&mut self, link: &mut Link) {
        if let Err(error) = self.request_state(link) {
            // The request is repeated, or the next report notices a lost connection.
            log::warn(format_args!("{error:#}"));
        }
    }

    /// Requests the state after a message that somebody else has changed it, once for all
    /// messages about one change.
    fn request_changed(&mut self, link: &mut Link, kind: &str, answer: &Value) {
        if kind == "update/delta" {
            if self.pending.delta == answer["state"] {
                return;
            }
            self.pending.delta = answer["state"].clone();
        }
        let version = answer["version"].as_u64().unwrap_or(0);
        // The versions of a shadow begin again after it was deleted.
        if kind == "delete/accepted" {
            (self.pending.version, self.version) = (0, 0);
            self.document = Some(Document::default());
        } else if version > 0 && version == self.pending.version {
            return;
        } else {
            self.pending.version = version;
        }
        self.request_again(link);
    }

    /// Returns `desired.vpn` if it was received since the last call.
    pub(crate) fn take_desired_vpn(&mut self) -> Option<DesiredVpn> {
        self.vpn.take()
    }

    /// Returns the requested interval if it was received since the last call.
    pub(crate) fn take_desired_interval(&mut self) -> Option<DesiredInterval> {
        self.interval.take()
    }
}
