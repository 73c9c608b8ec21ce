//! MQTT session as the device, shared by the shadows and the jobs: the topics of the
//! thing, request tokens, and the newest time of the cloud.

use std::time::Duration;

use anyhow::Result;
use edge_common::mqtt::{Event, Message, Options, Session};
use serde_json::Value;

/// Maximum number of topic filters in one SUBSCRIBE packet at AWS IoT.
const MAX_FILTERS: usize = 8;

/// Largest time stamp that is one of seconds.
const MAX_SECONDS: u64 = 100_000_000_000;

/// Session of the thing.
pub(crate) struct Link {
    session: Session,
    /// Prefix of the topics that AWS reserves for the thing, `$aws/things/<thing>/`.
    prefix: String,
    /// Prefix of the other topics of the thing, `edge-ai/<thing>/`.
    own_prefix: String,
    requests: u32,
    /// Newest time that the cloud has stated, in seconds of Unix time.
    cloud_time: Option<u64>,
}

/// Event that ends [`Link::receive`].
pub(crate) enum Received {
    /// A message on a topic of the thing, with the topic after the prefix.
    Message(String, Vec<u8>),
    /// The time limit was reached, or a message came on another topic.
    Nothing,
    /// The connection was lost.
    Disconnected,
}

/// Returns the topic of the last will, `edge-ai/<thing>/offline`. AWS publishes no last
/// will to its reserved topics, `$aws/…`.
pub(crate) fn will_topic(thing: &str) -> String {
    format!("edge-ai/{thing}/offline")
}

impl Link {
    /// Connects, and subscribes to these filters below the prefix of the thing.
    pub(crate) fn connect(options: &Options, filters: &[&str]) -> Result<Self> {
        let prefix = format!("$aws/things/{}/", options.client_id);
        let session = Session::connect(options)?;
        let filters: Vec<_> = filters.iter().map(|f| format!("{prefix}{f}")).collect();
        for packet in filters.chunks(MAX_FILTERS) {
            let packet: Vec<_> = packet.iter().map(String::as_str).collect();
            session.subscribe(&packet)?;
        }
        Ok(Self {
            session,
            prefix,
            own_prefix: format!("edge-ai/{}/", options.client_id),
            requests: 0,
            cloud_time: None,
        })
    }

    /// Returns a token for the next request. It identifies the answer: answers to others
    /// arrive on the same topics.
    pub(crate) fn next_token(&mut self) -> String {
        self.requests = self.requests.wrapping_add(1);
        format!("{:x}-{:x}", std::process::id(), self.requests)
    }

    /// Publishes to a topic below the prefix of the thing.
    pub(crate) fn request(&self, topic: &str, payload: String) -> Result<()> {
        self.session
            .publish(&format!("{}{topic}", self.prefix), payload)
    }

    /// Publishes to `edge-ai/<thing>/<name>`.
    pub(crate) fn publish(&self, name: &str, payload: String) -> Result<()> {
        self.session
            .publish(&format!("{}{name}", self.own_prefix), payload)
    }

    /// Waits at most `limit` for a message.
    pub(crate) fn receive(&self, limit: Duration) -> Received {
        match self.session.receive(limit) {
            Event::Message(Message { topic, payload }) => match topic.strip_prefix(&self.prefix) {
                Some(topic) => Received::Message(topic.into(), payload),
                None => Received::Nothing,
            },
            Event::Timeout => Received::Nothing,
            Event::Disconnected => Received::Disconnected,
        }
    }

    /// Notes the time in a message. AWS alone publishes below `$aws`, so it is the cloud's
    /// own.
    pub(crate) fn note_time(&mut self, timestamp: &Value) {
        // Older pages of AWS show milliseconds.
        let seconds = |time| {
            if time > MAX_SECONDS {
                time / 1000
            } else {
                time
            }
        };
        self.cloud_time = self.cloud_time.max(timestamp.as_u64().map(seconds));
    }

    /// Returns the newest time that the cloud has stated, in seconds of Unix time.
    pub(crate) fn cloud_time(&self) -> Option<u64> {
        self.cloud_time
    }

    /// Sends DISCONNECT, so that the broker does not publish the last will.
    pub(crate) fn close(self) {
        self.session.close();
    }
}
