//! Client of the device's AWS IoT shadow over MQTT. See
//! <https://docs.aws.amazon.com/iot/latest/developerguide/device-shadow-mqtt.html>.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use edge_common::log::printable;
use edge_common::mqtt::{Event, Message, Options, Session};
use serde_json::{Map, Value};

use crate::document;

/// Interval between two reports that the shadow requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DesiredInterval {
    /// The shadow requests none, so the built-in interval applies.
    Default,
    /// The shadow requests the interval `desired.heartbeat_seconds`.
    Seconds(u64),
}

/// Object `desired.vpn` of the shadow; `None` if the shadow has none.
pub(crate) type DesiredVpn = Option<Map<String, Value>>;

/// MQTT session for the shadow, and the desired state that was received and not taken
/// yet.
pub(crate) struct Shadow {
    session: Session,
    topic: String,
    reports: u32,
    interval: Option<DesiredInterval>,
    vpn: Option<DesiredVpn>,
    /// Newest time that the shadow has stated, in seconds of Unix time.
    cloud_time: Option<u64>,
}

/// Returns the topic of the last will, `edge-ai/<thing>/offline`. AWS publishes no last
/// will to its reserved topics, `$aws/…`.
pub(crate) fn will_topic(thing: &str) -> String {
    format!("edge-ai/{thing}/offline")
}

impl Shadow {
    /// Connects and subscribes to the shadow's topics for answers and for desired
    /// state.
    pub(crate) fn connect(options: &Options) -> Result<Self> {
        let topic = format!("$aws/things/{}/shadow", options.client_id);
        let session = Session::connect(options)?;
        let filters = [
            "update/accepted",
            "update/rejected",
            "update/delta",
            "get/accepted",
        ];
        let filters = filters.map(|f| format!("{topic}/{f}"));
        session.subscribe(&filters.each_ref().map(String::as_str))?;
        Ok(Self {
            session,
            topic,
            reports: 0,
            interval: None,
            vpn: None,
            cloud_time: None,
        })
    }

    /// Requests the desired state without waiting for the answer. AWS publishes a
    /// change only once, so a device that was disconnected has to request the state.
    pub(crate) fn request_desired(&self) -> Result<()> {
        self.session.publish(&format!("{}/get", self.topic), "{}")
    }

    /// Reports `state` and waits until the shadow has accepted it.
    pub(crate) fn report(&mut self, state: Map<String, Value>, limit: Duration) -> Result<()> {
        self.reports = self.reports.wrapping_add(1);
        // The token identifies the answer to this report: answers to other reports, and
        // to updates by operators, arrive on the same topics.
        let token = format!("{:x}-{:x}", std::process::id(), self.reports);
        let text = document::text(state, &token)?;
        self.session
            .publish(&format!("{}/update", self.topic), text)?;
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let message = match self.session.receive(left) {
                Event::Message(message) => message,
                Event::Timeout => bail!("reporting: no answer within {} s", limit.as_secs_f32()),
                Event::Disconnected => bail!("reporting: the connection was lost"),
            };
            let (kind, answer) = self.parse(&message);
            match kind {
                "update/accepted" if answer["clientToken"] == *token => return Ok(()),
                "update/rejected" if answer["clientToken"] == *token => bail!(
                    "reporting: rejected: {} {}",
                    answer["code"],
                    printable(&answer["message"].to_string())
                ),
                _ => self.collect_desired(kind, &answer),
            }
        }
    }

    /// Waits at most `limit` for one message and keeps its desired state. Returns
    /// `false` if the connection was lost.
    pub(crate) fn wait(&mut self, limit: Duration) -> bool {
        match self.session.receive(limit) {
            Event::Message(message) => {
                let (kind, answer) = self.parse(&message);
                self.collect_desired(kind, &answer);
                true
            }
            Event::Timeout => true,
            Event::Disconnected => false,
        }
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

    fn collect_desired(&mut self, kind: &str, answer: &Value) {
        if let Some(interval) = desired_interval(kind, answer) {
            self.interval = Some(interval);
        }
        if let Some(vpn) = desired_vpn(kind, answer) {
            self.vpn = Some(vpn);
        }
        // Such a message contains only the changed keys, but edge-vpn needs the whole
        // object.
        if changes_vpn(kind, answer) {
            let _ = self.request_desired();
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

/// Returns `desired.vpn` from a message that contains the whole desired state. A value
/// that is neither an object nor null is ignored.
fn desired_vpn(kind: &str, answer: &Value) -> Option<DesiredVpn> {
    if kind != "get/accepted" {
        return None;
    }
    match &answer["state"]["desired"]["vpn"] {
        Value::Null => Some(None),
        Value::Object(vpn) => Some(Some(vpn.clone())),
        _ => None,
    }
}

/// Returns whether a message reports a change of `desired.vpn`.
fn changes_vpn(kind: &str, answer: &Value) -> bool {
    match kind {
        "update/delta" => answer["state"].get("vpn").is_some(),
        "update/accepted" => answer["state"]["desired"].get("vpn").is_some(),
        _ => false,
    }
}

/// Returns the interval that a message requests. In the whole state a missing or
/// invalid value requests the built-in interval; in a delta it is ignored.
fn desired_interval(kind: &str, answer: &Value) -> Option<DesiredInterval> {
    let desired = match kind {
        "update/delta" => &answer["state"],
        "get/accepted" => &answer["state"]["desired"],
        _ => return None,
    };
    match desired["heartbeat_seconds"].as_u64() {
        Some(seconds) => Some(DesiredInterval::Seconds(seconds)),
        // A delta without the key leaves the interval unchanged; the whole state
        // without the key resets it.
        None => (kind == "get/accepted").then_some(DesiredInterval::Default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn desired_intervals_are_numbers() {
        let delta = |v: Value| desired_interval("update/delta", &json!({ "state": v }));
        assert_eq!(
            delta(json!({ "heartbeat_seconds": 60 })),
            Some(DesiredInterval::Seconds(60))
        );
        for invalid in [json!("60"), json!(-1), json!(1.5), json!(null), json!([60])] {
            assert_eq!(delta(json!({ "heartbeat_seconds": invalid })), None);
        }
        assert_eq!(delta(json!({ "other": 1 })), None);
        let get = |v: Value| desired_interval("get/accepted", &json!({ "state": v }));
        let desired = json!({ "desired": { "heartbeat_seconds": 60 }, "reported": {} });
        assert_eq!(get(desired), Some(DesiredInterval::Seconds(60)));
        assert_eq!(
            get(json!({ "reported": { "heartbeat_seconds": 60 } })),
            Some(DesiredInterval::Default)
        );
        assert_eq!(desired_interval("update/accepted", &json!({})), None);
        assert_eq!(desired_interval("update/delta", &Value::Null), None);
    }

    #[test]
    fn the_desired_vpn_is_taken_as_a_whole() {
        let get = |v: Value| desired_vpn("get/accepted", &json!({ "state": { "desired": v } }));
        assert_eq!(get(json!({})), Some(None));
        let vpn = json!({ "address": "10.0.0.1" });
        let expected = vpn.as_object().cloned();
        assert_eq!(get(json!({ "vpn": vpn })), Some(expected));
        assert_eq!(get(json!({ "vpn": "on" })), None);
        assert_eq!(
            desired_vpn("update/delta", &json!({ "state": { "vpn": {} } })),
            None
        );
        assert!(changes_vpn(
            "update/delta",
            &json!({ "state": { "vpn": { "peers": [] } } })
        ));
        assert!(changes_vpn(
            "update/accepted",
            &json!({ "state": { "desired": { "vpn": null } } })
        ));
        assert!(!changes_vpn(
            "update/accepted",
            &json!({ "state": { "reported": { "vpn": {} } } })
        ));
        assert!(!changes_vpn(
            "get/accepted",
            &json!({ "state": { "desired": { "vpn": {} } } })
        ));
    }
}
