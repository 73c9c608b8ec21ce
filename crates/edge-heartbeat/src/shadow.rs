//! Shadow of the device over MQTT:
//! <https://docs.aws.amazon.com/iot/latest/developerguide/device-shadow-mqtt.html>.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use edge_common::log::printable;
use edge_common::mqtt::{Event, Message, Options, Session};
use serde_json::{Map, Value};

use crate::document;

/// Desired interval between two reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DesiredInterval {
    /// None: the built-in one.
    Default,
    /// `desired.heartbeat_seconds`.
    Seconds(u64),
}

/// `desired.vpn`, if it is set.
pub(crate) type DesiredVpn = Option<Map<String, Value>>;

/// Session with the shadow, and the desired state that arrived and was not taken yet.
pub(crate) struct Shadow {
    session: Session,
    topic: String,
    reports: u32,
    interval: Option<DesiredInterval>,
    vpn: Option<DesiredVpn>,
}

/// Returns the topic of the last will. AWS publishes none to reserved topics, `$aws/…`.
pub(crate) fn will_topic(thing: &str) -> String {
    format!("edge-ai/{thing}/offline")
}

impl Shadow {
    /// Connects and subscribes to answers and desired state.
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
        })
    }

    /// Requests the desired state and does not wait for the answer. AWS publishes a change
    /// once: a device that was away has to ask for it.
    pub(crate) fn request_desired(&self) -> Result<()> {
        self.session.publish(&format!("{}/get", self.topic), "{}")
    }

    /// Reports `state` and waits until the shadow has accepted it.
    pub(crate) fn report(&mut self, state: Map<String, Value>, limit: Duration) -> Result<()> {
        self.reports = self.reports.wrapping_add(1);
        // Answers to another report, or to the console of an operator, come on the same
        // topics.
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

    /// Waits at most `limit` for one message. Returns false when the connection is lost.
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

    fn parse<'a>(&self, message: &'a Message) -> (&'a str, Value) {
        let kind = message.topic.strip_prefix(&self.topic);
        let kind = kind.and_then(|k| k.strip_prefix('/')).unwrap_or_default();
        let answer = serde_json::from_slice(&message.payload).unwrap_or_default();
        (kind, answer)
    }

    fn collect_desired(&mut self, kind: &str, answer: &Value) {
        if let Some(interval) = desired_interval(kind, answer) {
            self.interval = Some(interval);
        }
        if let Some(vpn) = desired_vpn(kind, answer) {
            self.vpn = Some(vpn);
        }
        // Such a message has the changed keys only, and half a VPN would be wrong.
        if changes_vpn(kind, answer) {
            let _ = self.request_desired();
        }
    }

    /// Returns the desired VPN if one arrived since the last call.
    pub(crate) fn take_desired_vpn(&mut self) -> Option<DesiredVpn> {
        self.vpn.take()
    }

    /// Returns the desired interval if one arrived since the last call.
    pub(crate) fn take_desired_interval(&mut self) -> Option<DesiredInterval> {
        self.interval.take()
    }

    /// Disconnects without a last will.
    pub(crate) fn close(self) {
        self.session.close();
    }
}

/// Returns the desired VPN of a message that contains the whole desired state. A value
/// that is not an object is ignored.
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

/// Whether a message changes the desired VPN.
fn changes_vpn(kind: &str, answer: &Value) -> bool {
    match kind {
        "update/delta" => answer["state"].get("vpn").is_some(),
        "update/accepted" => answer["state"]["desired"].get("vpn").is_some(),
        _ => false,
    }
}

/// Returns the desired interval of a message. A value that is not a number is ignored.
fn desired_interval(kind: &str, answer: &Value) -> Option<DesiredInterval> {
    let desired = match kind {
        "update/delta" => &answer["state"],
        "get/accepted" => &answer["state"]["desired"],
        _ => return None,
    };
    match desired["heartbeat_seconds"].as_u64() {
        Some(seconds) => Some(DesiredInterval::Seconds(seconds)),
        // A delta without the key says nothing about it; the whole state does.
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
