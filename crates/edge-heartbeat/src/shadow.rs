//! The session and the device's shadow on it, as AWS IoT publishes it:
//! <https://docs.aws.amazon.com/iot/latest/developerguide/device-shadow-mqtt.html>.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use edge_common::log::printable;
use edge_common::mqtt::{Event, Message, Options, Session};
use serde_json::{Map, Value};

use crate::document;

/// What somebody wishes of this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Nothing: as it was built.
    Nothing,
    /// `desired.heartbeat_seconds`.
    Seconds(u64),
}

/// One session, and what arrived over it.
pub struct Shadow {
    session: Session,
    topic: String,
    sent: u32,
    wish: Option<Wish>,
    vpn: Option<VpnWish>,
}

/// `desired.vpn`; nothing if it is not there.
pub type VpnWish = Option<Map<String, Value>>;

/// Where the broker says that this device is gone. Reserved topics (`$aws/…`)
/// take no last will.
pub fn will_topic(thing: &str) -> String {
    format!("edge-ai/{thing}/offline")
}

impl Shadow {
    /// Connects and listens for answers and wishes.
    ///
    /// # Errors
    /// As [`Session::connect`]; refused or unanswered.
    pub fn connect(options: &Options) -> Result<Self> {
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
            sent: 0,
            wish: None,
            vpn: None,
        })
    }

    /// Asks what is wished: the answer comes when it comes. A wish that was
    /// made while this device was away is not sent again by itself.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn ask(&self) -> Result<()> {
        self.session.publish(&format!("{}/get", self.topic), "{}")
    }

    /// Reports `state` and waits until the shadow has it.
    ///
    /// # Errors
    /// Rejected, no answer in time, or the connection lost.
    pub fn report(&mut self, state: Map<String, Value>, limit: Duration) -> Result<()> {
        self.sent = self.sent.wrapping_add(1);
        let token = format!("{:x}-{:x}", std::process::id(), self.sent);
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
            let (kind, answer) = self.open(&message);
            match kind {
                "update/accepted" if answer["clientToken"] == *token => return Ok(()),
                "update/rejected" if answer["clientToken"] == *token => bail!(
                    "reporting: rejected: {} {}",
                    answer["code"],
                    printable(&answer["message"].to_string())
                ),
                _ => self.note(kind, &answer),
            }
        }
    }

    /// Waits at most `limit` for one message; false when the connection is lost.
    pub fn wait(&mut self, limit: Duration) -> bool {
        match self.session.receive(limit) {
            Event::Message(message) => {
                let (kind, answer) = self.open(&message);
                self.note(kind, &answer);
                true
            }
            Event::Timeout => true,
            Event::Disconnected => false,
        }
    }

    fn open<'a>(&self, message: &'a Message) -> (&'a str, Value) {
        let kind = message.topic.strip_prefix(&self.topic);
        let kind = kind.and_then(|k| k.strip_prefix('/')).unwrap_or_default();
        let answer = serde_json::from_slice(&message.payload).unwrap_or_default();
        (kind, answer)
    }

    fn note(&mut self, kind: &str, answer: &Value) {
        if let Some(wish) = wish(kind, answer) {
            self.wish = Some(wish);
        }
        if let Some(wish) = vpn_wish(kind, answer) {
            self.vpn = Some(wish);
        }
        // Such messages hold parts; whoever asks gets the whole.
        if touches_vpn(kind, answer) {
            let _ = self.ask();
        }
    }

    /// A wish about the VPN that arrived since this was called last.
    pub fn wished_vpn(&mut self) -> Option<VpnWish> {
        self.vpn.take()
    }

    /// A wish that arrived since this was called last.
    pub fn wished(&mut self) -> Option<Wish> {
        self.wish.take()
    }

    /// Says goodbye, so that nobody is told that this device is gone.
    pub fn close(self) {
        self.session.close();
    }
}

/// What is wished of the VPN, if a message says it wholly. What is no object is
/// no wish.
fn vpn_wish(kind: &str, answer: &Value) -> Option<VpnWish> {
    if kind != "get/accepted" {
        return None;
    }
    match &answer["state"]["desired"]["vpn"] {
        Value::Null => Some(None),
        Value::Object(wish) => Some(Some(wish.clone())),
        _ => None,
    }
}

/// Does a message say that the wish about the VPN is another?
fn touches_vpn(kind: &str, answer: &Value) -> bool {
    match kind {
        "update/delta" => answer["state"].get("vpn").is_some(),
        "update/accepted" => answer["state"]["desired"].get("vpn").is_some(),
        _ => false,
    }
}

/// What a message wishes, if it is about wishes. What is no number is none.
fn wish(kind: &str, answer: &Value) -> Option<Wish> {
    let desired = match kind {
        "update/delta" => &answer["state"],
        "get/accepted" => &answer["state"]["desired"],
        _ => return None,
    };
    match desired["heartbeat_seconds"].as_u64() {
        Some(seconds) => Some(Wish::Seconds(seconds)),
        None => (kind == "get/accepted").then_some(Wish::Nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn wishes() {
        let delta = |v: Value| wish("update/delta", &json!({ "state": v }));
        assert_eq!(
            delta(json!({ "heartbeat_seconds": 60 })),
            Some(Wish::Seconds(60))
        );
        for odd in [json!("60"), json!(-1), json!(1.5), json!(null), json!([60])] {
            assert_eq!(delta(json!({ "heartbeat_seconds": odd })), None);
        }
        assert_eq!(delta(json!({ "other": 1 })), None);
        let get = |v: Value| wish("get/accepted", &json!({ "state": v }));
        let desired = json!({ "desired": { "heartbeat_seconds": 60 }, "reported": {} });
        assert_eq!(get(desired), Some(Wish::Seconds(60)));
        assert_eq!(
            get(json!({ "reported": { "heartbeat_seconds": 60 } })),
            Some(Wish::Nothing)
        );
        assert_eq!(wish("update/accepted", &json!({})), None);
        assert_eq!(wish("update/delta", &Value::Null), None);
    }

    #[test]
    fn wishes_about_the_vpn_are_taken_whole() {
        let get = |v: Value| vpn_wish("get/accepted", &json!({ "state": { "desired": v } }));
        assert_eq!(get(json!({})), Some(None));
        let wish = json!({ "address": "10.0.0.1" });
        let expected = wish.as_object().cloned();
        assert_eq!(get(json!({ "vpn": wish })), Some(expected));
        assert_eq!(get(json!({ "vpn": "on" })), None);
        assert_eq!(
            vpn_wish("update/delta", &json!({ "state": { "vpn": {} } })),
            None
        );
        assert!(touches_vpn(
            "update/delta",
            &json!({ "state": { "vpn": { "peers": [] } } })
        ));
        assert!(touches_vpn(
            "update/accepted",
            &json!({ "state": { "desired": { "vpn": null } } })
        ));
        assert!(!touches_vpn(
            "update/accepted",
            &json!({ "state": { "reported": { "vpn": {} } } })
        ));
        assert!(!touches_vpn(
            "get/accepted",
            &json!({ "state": { "desired": { "vpn": {} } } })
        ));
    }
}
