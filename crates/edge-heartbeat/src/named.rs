//! Report to a named shadow: sent whenever it differs from what the shadow has, without
//! waiting for the answer. A rejection concerns this shadow alone.

use std::time::{Duration, Instant};

use anyhow::Result;
use edge_common::log;
use serde_json::{Map, Value};

use crate::document::Document;
use crate::guard::Guard;
use crate::link::Link;
use crate::rejections::Rejections;
use crate::shadow::{Answer, Shadow};
use crate::timing::Timing;

/// Function that returns the update that reports a state in a number of bytes.
type Build = fn(&Document, &Value, usize) -> Map<String, Value>;

/// Named shadow and the state to report to it.
pub(crate) struct Named {
    name: &'static str,
    shadow: Shadow,
    build: Build,
    /// State to report; `None` if there is nothing to say.
    wanted: Option<Value>,
    /// Whether the state or the shadow may have changed since they were compared.
    changed: bool,
    rejections: Rejections,
    guard: Guard,
    step: Duration,
    longest_pause: Duration,
    /// Time until which the first answer of this connection is awaited; `None` before the
    /// request.
    known_by: Option<Instant>,
    /// Time until which the answer to the last report is awaited.
    answer_by: Option<Instant>,
    /// Earliest time of the next report, after one that was not accepted.
    earliest: Option<Instant>,
}

impl Named {
    pub(crate) fn new(name: &'static str, build: Build, timing: &Timing) -> Self {
        Self {
            name,
            shadow: Shadow::new(Some(name), timing.rejected),
            build,
            wanted: None,
            changed: false,
            rejections: Rejections::new(timing),
            guard: Guard::new(name),
            step: timing.step,
            longest_pause: timing.rejected.1,
            known_by: None,
            answer_by: None,
            earliest: None,
        }
    }

    /// Sets the state to report.
    pub(crate) fn want(&mut self, state: Value) {
        if self.wanted.as_ref() != Some(&state) {
            self.wanted = Some(state);
            self.changed = true;
        }
    }

    /// Returns whether the state has been reported, as far as the cloud allows it.
    pub(crate) fn is_settled(&self) -> bool {
        let is_waiting = self.answer_by.is_some() || self.changed;
        self.wanted.is_none() || !is_waiting || self.earliest.is_some() || !self.guard.allows()
    }

    /// Returns the last rejection; null without one.
    pub(crate) fn rejection(&self) -> Value {
        let mut rejection = self.rejections.report();
        if rejection.is_object() {
            rejection["shadow"] = self.name.into();
        }
        rejection
    }

    /// Forgets what a new connection has to ask again.
    pub(crate) fn disconnected(&mut self) {
        self.guard.disconnected();
        self.shadow.disconnected();
        (self.known_by, self.answer_by) = (None, None);
        self.changed = true;
    }

    /// Handles a message; returns whether it is one of this shadow.
    pub(crate) fn handle(&mut self, link: &mut Link, topic: &str, payload: &[u8]) -> bool {
        let is_own = self.shadow.handle(link, topic, payload);
        if is_own {
            self.guard.answered();
            self.changed = true;
        }
        is_own
    }

    /// Returns the time at which [`Named::tick`] has something to do without a message.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.wanted.is_none() || !self.guard.allows() {
            return None;
        }
        let unknown = self.known_by.filter(|_| !self.shadow.is_known());
        let may_send = self.changed && self.answer_by.is_none();
        let send = unknown.max(self.earliest).filter(|_| may_send);
        let times = [send, self.answer_by, self.shadow.repeat_at()];
        times.into_iter().flatten().min()
    }

    /// Sends what is due.
    pub(crate) fn tick(&mut self, link: &mut Link) -> Result<()> {
        let now = Instant::now();
        self.take_answer(link, now)?;
        let Some(wanted) = self.wanted.as_ref().filter(|_| self.guard.allows()) else {
            return Ok(());
        };
        let Some(known_by) = self.known_by else {
            self.known_by = Some(now + self.step);
            self.guard.published();
            return self.shadow.request_state(link);
        };
        if self.shadow.repeat_at().is_some_and(|repeat| now >= repeat) {
            self.shadow.request_state(link)?;
        }
        let is_early = self.earliest.is_some_and(|earliest| now < earliest);
        let is_unknown = !self.shadow.is_known() && now < known_by;
        if !self.changed || self.answer_by.is_some() || is_early || is_unknown {
            return Ok(());
        }
        self.changed = false;
        self.earliest = None;
        let document = self.shadow.document();
        let update = (self.build)(&document, wanted, self.rejections.budget());
        if self.shadow.send(link, update, false)? {
            self.answer_by = Some(Instant::now() + self.step);
        }
        Ok(())
    }

    /// Takes up the answer to the last report, or its absence.
    fn take_answer(&mut self, link: &mut Link, now: Instant) -> Result<()> {
        let Some(answer_by) = self.answer_by else {
            return Ok(());
        };
        let (pause, cause) = match self.shadow.take_answer() {
            Some(Answer::Accepted) => {
                self.answer_by = None;
                self.rejections.accepted();
                return Ok(());
            }
            Some(Answer::Rejected(rejection)) => {
                let cause = format!("rejected: {rejection}");
                (self.rejections.rejected(rejection), cause)
            }
            Some(Answer::Missing) => return Ok(()),
            None if now < answer_by => return Ok(()),
            None => {
                self.shadow.give_up(link)?;
                let pause = self.rejections.unanswered();
                (pause.unwrap_or(self.longest_pause), "not answered".into())
            }
        };
        self.answer_by = None;
        self.earliest = Some(now + pause);
        self.changed = true;
        let (name, seconds) = (self.name, pause.as_secs());
        log::warn(format_args!(
            "the report to the shadow {name} was {cause}; the next one follows in {seconds} s"
        ));
        Ok(())
    }
}
