//! The shadow's update, as AWS IoT publishes it:
//! <https://docs.aws.amazon.com/iot/latest/developerguide/device-shadow-mqtt.html>.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use edge_common::log::printable;
use edge_common::mqtt::{Event, Session};
use serde_json::{Map, Value, json};

use crate::notify::Notify;

/// Largest document that AWS takes, in bytes.
const LARGEST: usize = 8 * 1024;

fn topic(thing: &str) -> String {
    format!("$aws/things/{thing}/shadow/update")
}

/// Listens for the answers.
///
/// # Errors
/// Refused or unanswered.
pub fn subscribe(session: &Session, thing: &str) -> Result<()> {
    let topic = topic(thing);
    session.subscribe(&[&format!("{topic}/accepted"), &format!("{topic}/rejected")])
}

/// Reports `state` and waits until the shadow has it.
///
/// # Errors
/// Too large, rejected, no answer in time, or the connection lost.
pub fn send(
    session: &Session,
    thing: &str,
    state: &Map<String, Value>,
    limit: Duration,
) -> Result<()> {
    let topic = topic(thing);
    let token = format!("{:x}", std::process::id());
    let document = json!({ "state": { "reported": state }, "clientToken": token }).to_string();
    if document.len() > LARGEST {
        bail!(
            "reporting: the document has {} bytes, more than {LARGEST}",
            document.len()
        );
    }
    session.publish(&topic, document)?;
    let end = Instant::now() + limit;
    loop {
        let message = match session.receive(end.saturating_duration_since(Instant::now())) {
            Event::Message(message) => message,
            Event::Silence => bail!("reporting: no answer within {} s", limit.as_secs()),
            Event::Lost => bail!("reporting: the connection was lost"),
        };
        let answer: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        match message.topic.strip_prefix(&topic) {
            Some("/accepted") if answer["clientToken"] == *token => return Ok(()),
            Some("/rejected") if answer["clientToken"] == *token => {
                bail!(
                    "reporting: rejected: {} {}",
                    answer["code"],
                    printable(&answer["message"].to_string())
                )
            }
            _ => {}
        }
    }
}

/// Waits for the next report, telling the watchdog; false when the connection
/// is lost.
pub fn idle(session: &Session, time: Duration, notify: &Notify) -> bool {
    let end = Instant::now() + time;
    while Instant::now() < end {
        notify.alive();
        let left = end.saturating_duration_since(Instant::now());
        if matches!(session.receive(left.min(notify.beat())), Event::Lost) {
            return false;
        }
    }
    true
}
