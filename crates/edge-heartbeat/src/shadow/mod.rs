//! Client of the device's AWS IoT shadow over MQTT. See
//! <https://docs.aws.amazon.com/iot/latest/developerguide/device-shadow-mqtt.html>.

mod desired;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use edge_common::backoff::Backoff;
use edge_common::log;
use edge_common::mqtt::{Event, Message, Options, Session};
use serde_json::{Map, Value, json};

use crate::document::{self, Document};
pub(crate) use desired::{DesiredInterval, DesiredVpn};

/// Code of the answer that no shadow exists.
const NO_SHADOW: u64 = 404;
/// Length limit of a message of the cloud in a report or log, in characters.
const MAX_MESSAGE_CHARS: usize = 120;

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

/// MQTT session for the shadow, and the desired state that was received and not taken
/// yet.
pub(crate) struct Shadow {
    session: Session,
    topic: String,
    requests: u32,
    /// Shadow as of the last answer, if there was one.
    document: Option<Document>,
    interval: Option<DesiredInterval>,
    vpn: Option<DesiredVpn>,
    /// Newest time that the shadow has stated, in seconds of Unix time.
    cloud_time: Option<u64>,
    pending: Pending,
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

/// Returns the topic of the last will, `edge-ai/<thing>/offline`. AWS publishes no last
/// will to its reserved topics, `$aws/…`.
pub(crate) fn will_topic(thing: &str) -> String {
    format!("edge-ai/{thing}/offline")
}

impl Shadow {
    /// Connects and subscribes to the shadow's topics for answers and for desired
    /// state. `pauses` are the shortest and the longest time after which a request of
    /// the whole shadow is repeated.
    pub(crate) fn connect(options: &Options, pauses: (Duration, Duration)) -> Result<Self> {
        let topic = format!("$aws/things/{}/shadow", options.client_id);
        let session = Session::connect(options)?;
        let filters = [
            "update/accepted",
            "update/rejected",
            "update/delta",
            "get/accepted",
            "get/rejected",
            "delete/accepted",
        ];
        let filters = filters.map(|f| format!("{topic}/{f}"));
        session.subscribe(&filters.each_ref().map(String::as_str))?;
        Ok(Self {
            session,
            topic,
            requests: 0,
            document: None,
            interval: None,
            vpn: None,
            cloud_time: None,
            pending: Pending {
                token: String::new(),
                repeat: None,
                pauses: Backoff::new(pauses.0, pauses.1),
                version: 0,
                delta: Value::Null,
            },
        })
    }

    /// Requests the whole shadow without waiting for the answer. AWS publishes a change
    /// only once and only in part, so a device that was disconnected, and one whose
    /// desired state has changed, have to request the state.
    pub(crate) fn request_state(&mut self) -> Result<()> {
        self.pending.token = self.next_token();
        self.pending.repeat = Some(Instant::now() + self.pending.pauses.next_pause());
        let request = json!({ "clientToken": self.pending.token }).to_string();
        self.session
            .publish(&format!("{}/get", self.topic), request)
    }

    /// Requests the whole shadow and waits at most `limit` for it, so that the first
    /// report takes into account what the shadow has.
    pub(crate) fn fetch_state(&mut self, limit: Duration) -> Result<()> {
        self.request_state()?;
        let end = Instant::now() + limit;
        while self.document.is_none() {
            let left = end.saturating_duration_since(Instant::now());
            match self.session.receive(left) {
                Event::Message(message) => self.collect(&message),
                Event::Timeout => break,
                Event::Disconnected => bail!("reading the shadow: the connection was lost"),
            }
        }
        Ok(())
    }

    /// Reports `state` in at most `budget` bytes and waits for the answer of the shadow.
    pub(crate) fn report(
        &mut self,
        state: Map<String, Value>,
        budget: usize,
        limit: Duration,
    ) -> Result<Answer> {
        let known = self.document.clone().unwrap_or_default();
        let update = known.update(state, budget);
        // The token identifies the answer to this report: answers to other reports, and
        // to updates by operators, arrive on the same topics.
        let token = self.next_token();
        let text = document::payload(&update, &token);
        let bytes = text.len();
        self.session
            .publish(&format!("{}/update", self.topic), text)?;
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let message = match self.session.receive(left) {
                Event::Message(message) => message,
                Event::Timeout => return Ok(Answer::Missing),
                Event::Disconnected => bail!("reporting: the connection was lost"),
            };
            let (kind, answer) = self.parse(&message);
            let own = answer["clientToken"] == *token;
            match kind {
                "update/accepted" if own => {
                    if let Some(document) = &mut self.document {
                        document.merge(&update);
                    }
                    return Ok(Answer::Accepted);
                }
                "update/rejected" if own => return Ok(Answer::Rejected(rejection(&answer, bytes))),
                _ => self.collect(&message),
            }
        }
    }

    /// Waits at most `limit` for one message and keeps its desired state. A request of
    /// the shadow that was not answered is repeated. Returns `false` if the connection
    /// was lost.
    pub(crate) fn wait(&mut self, limit: Duration) -> bool {
        let mut limit = limit;
        if let Some(repeat) = self.pending.repeat {
            let left = repeat.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.request_state().is_ok();
            }
            limit = limit.min(left);
        }
        match self.session.receive(limit) {
            Event::Message(message) => self.collect(&message),
            Event::Timeout => {}
            Event::Disconnected => return false,
        }
        true
    }

    fn next_token(&mut self) -> String {
        self.requests = self.requests.wrapping_add(1);
        format!("{:x}-{:x}", std::process::id(), self.requests)
    }

    fn parse<'a>(&mut self, message: &'a Message) -> (&'a str, Value) {
        let kind = message.topic.strip_prefix(&self.topic);
        let kind = kind.and_then(|k| k.strip_prefix('/')).unwrap_or_default();
        let answer: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        // AWS alone publishes below `$aws`, so the time is the cloud's own.
        if !kind.is_empty() {
            self.cloud_time = self.cloud_time.max(answer["timestamp"].as_u64());
        }
        (kind, answer)
    }

    fn collect(&mut self, message: &Message) {
        let (kind, answer) = self.parse(message);
        let own = answer["clientToken"] == *self.pending.token;
        match kind {
            "get/accepted" if own => self.take_state(&answer["state"]),
            "get/rejected" if own && answer["code"] == NO_SHADOW => self.take_state(&Value::Null),
            "get/rejected" if own => log::warn(format_args!(
                "reading the shadow: rejected: {}; it is read again later",
                rejection(&answer, 0)
            )),
            _ if desired::changes(kind, &answer) => self.request_changed(kind, &answer),
            _ => {}
        }
    }

    fn take_state(&mut self, state: &Value) {
        self.pending.repeat = None;
        self.pending.pauses.reset();
        self.document = Some(Document::of(state));
        self.interval = Some(desired::interval(&state["desired"]));
        self.vpn = Some(desired::vpn(&state["desired"]));
    }

    /// Requests the state after a message that it has changed, once for all messages
    /// about one change.
    fn request_changed(&mut self, kind: &str, answer: &Value) {
        if kind == "update/delta" {
            if self.pending.delta == answer["state"] {
                return;
            }
            self.pending.delta = answer["state"].clone();
        }
        let version = answer["version"].as_u64().unwrap_or(0);
        // The versions of a shadow begin again after it was deleted.
        if kind == "delete/accepted" {
            self.pending.version = 0;
        } else if version > 0 && version == self.pending.version {
            return;
        } else {
            self.pending.version = version;
        }
        if let Err(error) = self.request_state() {
            // The request is repeated, or the next report notices a lost connection.
            log::warn(format_args!("{error:#}"));
        }
    }

    /// Returns `desired.vpn` if it was received since the last call.
    pub(crate) fn take_desired_vpn(&mut self) -> Option<DesiredVpn> {
        self.vpn.take()
    }

    /// Returns the requested interval if it was received since the last call.
    pub(crate) fn take_desired_interval(&mut self) -> Option<DesiredInterval> {
        self.interval.take()
    }

    /// Returns the newest time that the shadow has stated, in seconds of Unix time.
    pub(crate) fn cloud_time(&self) -> Option<u64> {
        self.cloud_time
    }

    /// Sends DISCONNECT, so that the broker does not publish the last will.
    pub(crate) fn close(self) {
        self.session.close();
    }
}

fn rejection(answer: &Value, bytes: usize) -> Rejection {
    let message = answer["message"].as_str().unwrap_or("no message");
    let message = log::printable(message);
    Rejection {
        code: answer["code"].as_u64().unwrap_or(0),
        message: message.chars().take(MAX_MESSAGE_CHARS).collect(),
        bytes,
    }
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code, self.message)
    }
}
