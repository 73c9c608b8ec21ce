//! Protection against topics that the device's policy does not allow.
//!
//! AWS IoT closes the connection of a device that publishes to such a topic. A device whose
//! image is newer than the policy would connect, be closed and be announced as offline for
//! ever, so after two such ends it does without the topic for an hour.

use std::time::{Duration, Instant};

use edge_common::log;

/// Ends of a connection in a row after which a topic counts as not allowed.
const MAX_ENDS: u32 = 2;
/// Time for which a topic that is not allowed is not used.
const PAUSE: Duration = Duration::from_secs(3600);

/// Use of a topic, from the first publication on a connection to the answer.
#[derive(Debug)]
pub(crate) struct Guard {
    topic: &'static str,
    /// Whether something was published on this connection and nothing came back.
    open: bool,
    proven: bool,
    ends: u32,
    paused_until: Option<Instant>,
}

impl Guard {
    pub(crate) fn new(topic: &'static str) -> Self {
        Self {
            topic,
            open: false,
            proven: false,
            ends: 0,
            paused_until: None,
        }
    }

    /// Returns whether the topic may be used now.
    pub(crate) fn allows(&self) -> bool {
        self.paused_until
            .is_none_or(|until| Instant::now() >= until)
    }

    /// Records a publication.
    pub(crate) fn published(&mut self) {
        self.open = !self.proven;
    }

    /// Records an answer: the topic is allowed.
    pub(crate) fn answered(&mut self) {
        (self.open, self.proven, self.ends) = (false, true, 0);
    }

    /// Records the end of the connection.
    pub(crate) fn disconnected(&mut self) {
        if self.open {
            self.ends += 1;
        }
        if self.ends >= MAX_ENDS {
            self.ends = 0;
            self.paused_until = Some(Instant::now() + PAUSE);
            log::warn(format_args!(
                "the connection ended twice at {}: not used for an hour; \
                 check that the device policy allows it",
                self.topic
            ));
        }
        (self.open, self.proven) = (false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_ends_two_connections_is_not_used() {
        let mut guard = Guard::new("x");
        for _ in 0..5 {
            guard.published();
            guard.answered();
            guard.published();
            guard.disconnected();
            assert!(guard.allows());
        }
        guard.published();
        guard.disconnected();
        // A connection that ended before anything was published says nothing.
        guard.disconnected();
        assert!(guard.allows());
        guard.published();
        guard.disconnected();
        assert!(!guard.allows());
    }
}
