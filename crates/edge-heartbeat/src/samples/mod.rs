//! Samples of the device, so that a device that is gone can still be understood: one every
//! five minutes, kept for seven days in a ring, and sent once an hour.
//!
//! A message is an array of `{timestamp, message}`, as a rule of AWS IoT with `batchMode`
//! puts it into a log group: in order, and of at most a day.

mod ring;
mod sample;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Result;
use edge_common::backoff::random_fraction;
use edge_common::contract::path::SAMPLES;
use edge_common::{Root, boot, known_time, log};
use serde_json::{Map, Value, json};

use crate::guard::Guard;
use crate::link::Link;
use ring::Ring;
use sample::Sample;

/// Sources of the gathered state that a sample is taken from.
pub(crate) const SOURCES: [&str; 3] = ["system", "disk", "sensors"];
/// Size limit of a message, in bytes, below the 128 kB of AWS.
const MAX_MESSAGE_BYTES: usize = 96 * 1024;
/// Maximum number of samples in a message: a day.
const MAX_SAMPLES: usize = 24 * 12;
/// Number of samples in an hour.
const HOUR: u64 = 12;
/// Longest time that a message covers, in seconds. A log group takes at most 24 hours.
const MAX_SPAN: u64 = 23 * 3600;
/// Maximum number of samples that wait in memory while the ring cannot be written.
const MAX_WAITING: usize = MAX_SAMPLES;

/// Times of sampling and sending.
#[derive(Debug, Clone)]
pub struct Sampling {
    /// Time between two samples.
    pub every: Duration,
    /// Time between two messages.
    pub send: Duration,
    /// Time between two messages after a long time offline, so that they come one by one.
    pub backlog: Duration,
}

impl Default for Sampling {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            every: seconds(300),
            send: seconds(3600),
            backlog: seconds(30),
        }
    }
}

/// Samples that are kept, and when the next one is due.
pub(crate) struct Samples {
    root: Root,
    sampling: Sampling,
    /// Ring; `None` while it cannot be used.
    ring: Option<Ring>,
    /// Samples that are not in the ring yet.
    waiting: VecDeque<Sample>,
    sample_at: Instant,
    send_at: Instant,
    guard: Guard,
    boot: u32,
}

impl Samples {
    pub(crate) fn new(root: &Root, sampling: &Sampling) -> Self {
        let now = Instant::now();
        Self {
            root: root.clone(),
            sampling: sampling.clone(),
            ring: None,
            waiting: VecDeque::new(),
            sample_at: now,
            // Devices of a fleet that was switched on at once send at different times.
            send_at: now + sampling.send.mul_f64(random_fraction()),
            guard: Guard::new("samples"),
            boot: boot_number(root),
        }
    }

    /// Returns the time of the next sample.
    pub(crate) fn sample_at(&self) -> Instant {
        self.sample_at
    }

    /// Returns the time of the next message.
    pub(crate) fn send_at(&self) -> Instant {
        self.send_at
    }

    /// Keeps a sample of the gathered state.
    pub(crate) fn take(&mut self, state: &Map<String, Value>) {
        self.sample_at = Instant::now() + self.sampling.every;
        let sample = Sample::of(state, known_time::clock(), self.boot);
        if self.waiting.len() == MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(sample);
        if let Err(error) = self.store() {
            // It is opened again with the next sample.
            self.ring = None;
            log::warn(format_args!("{error:#}; samples are kept in memory"));
        }
    }

    /// Moves the samples that wait into the ring.
    fn store(&mut self) -> Result<()> {
        if self.ring.is_none() {
            self.ring = Some(Ring::open(&self.root.path(SAMPLES))?);
        }
        while let (Some(ring), Some(sample)) = (&mut self.ring, self.waiting.front()) {
            ring.push(sample)?;
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Records the end of the connection.
    pub(crate) fn disconnected(&mut self) {
        self.guard.disconnected();
    }

    /// Sends one message if it is due.
    ///
    /// # Errors
    /// The connection was lost. The samples are sent again.
    pub(crate) fn send(&mut self, link: &Link) -> Result<()> {
        if Instant::now() < self.send_at {
            return Ok(());
        }
        self.send_at = Instant::now() + self.sampling.send;
        if !self.guard.allows() {
            return Ok(());
        }
        let now = known_time::clock().max(link.cloud_time().unwrap_or(0));
        let Some((message, end)) = self.message(now) else {
            return Ok(());
        };
        self.guard.published();
        link.publish("samples", message)?;
        self.guard.answered();
        self.sent(end);
        // Samples of this hour come with the next message.
        let left = self.ring.as_ref().map_or(0, Ring::unsent_count);
        if left >= HOUR {
            self.send_at = Instant::now() + self.sampling.backlog;
        }
        Ok(())
    }

    /// Returns the next message, and the number after its last sample. `None` if there is
    /// nothing to send.
    fn message(&self, now: u64) -> Option<(String, u64)> {
        let samples = match &self.ring {
            Some(ring) => ring.unsent(MAX_SAMPLES),
            None => (0..).zip(self.waiting.iter().copied()).collect(),
        };
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let (mut first, mut last, mut end) = (None, 0, 0);
        for (number, sample) in samples {
            let dated = self.time_of(&sample, now);
            let time = dated.unwrap_or(now);
            let begin = *first.get_or_insert(time);
            let message = sample.message(dated.is_some());
            bytes += message.len() + message.matches('"').count() + 64;
            let is_in_order = time >= last && time.saturating_sub(begin) <= MAX_SPAN;
            if !entries.is_empty() && (!is_in_order || bytes > MAX_MESSAGE_BYTES) {
                break;
            }
            (last, end) = (time, number + 1);
            entries.push(json!({ "timestamp": time * 1000, "message": message }));
        }
        (!entries.is_empty()).then(|| (json!(entries).to_string(), end))
    }

    fn sent(&mut self, end: u64) {
        let Some(ring) = &mut self.ring else {
            let end = usize::try_from(end).unwrap_or(usize::MAX);
            self.waiting.drain(..end.min(self.waiting.len()));
            return;
        };
        if let Err(error) = ring.mark(end) {
            // They are sent again: a log has them twice and not never.
            log::warn(format_args!("marking samples as sent: {error}"));
        }
    }

    /// Returns the time of a sample, from the time since its boot and a clock that was right
    /// later in that boot; `None` if none was.
    fn time_of(&self, sample: &Sample, now: u64) -> Option<u64> {
        let (time, uptime) = if sample.boot == self.boot {
            (now, uptime(&self.root)?)
        } else {
            let newest = self.ring.as_ref()?.newest_of(sample.boot)?;
            (newest.time, u64::from(newest.uptime))
        };
        let age = uptime.checked_sub(u64::from(sample.uptime))?;
        let time = time.checked_sub(age)?;
        let earliest = known_time::image(&self.root).unwrap_or_default();
        (earliest..=now).contains(&time).then_some(time)
    }
}

/// Returns part of the ID of this boot.
fn boot_number(root: &Root) -> u32 {
    let id = boot::id(root);
    u32::from_str_radix(id.get(..8).unwrap_or_default(), 16).unwrap_or_default()
}

fn uptime(root: &Root) -> Option<u64> {
    let text = crate::files::text(root, "/proc/uptime")?;
    text.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests;
