//! Everything that edge-heartbeat exchanges with the cloud over one connection: the classic
//! shadow, the named ones, the jobs, and who receives which message.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use edge_common::Root;
use edge_common::contract::path::{FLEET_REPORT, FLEET_RESULTS};
use serde_json::{Map, Value};

use crate::document::{Document, apps, classic};
use crate::fleet;
use crate::jobs::Jobs;
use crate::link::{Link, Received};
use crate::named::Named;
use crate::shadow::{Answer, Shadow};
use crate::stamp::Stamp;
use crate::timing::Timing;

/// Shadows and jobs of the device, kept across connections.
pub(crate) struct Exchange {
    pub(crate) classic: Shadow,
    pub(crate) apps: Named,
    pub(crate) fleet: Named,
    jobs: Jobs,
    /// Moment from which the times of `jobs` count.
    start: Instant,
    /// Version of the files of edge-fleet that were read last.
    files: Option<Stamp<2>>,
}

impl Exchange {
    pub(crate) fn new(root: &Root, timing: &Timing) -> Self {
        Self {
            classic: Shadow::new(None, timing.rejected),
            apps: Named::new("apps", apps::update, timing),
            fleet: Named::new("fleet", replace, timing),
            jobs: Jobs::new(root, &timing.jobs, timing.step),
            start: Instant::now(),
            files: None,
        }
    }

    /// Returns whether a job is pending, so that edge-fleet may have something to say soon.
    pub(crate) fn has_jobs(&self) -> bool {
        self.jobs.is_open()
    }

    /// Takes up the files of edge-fleet if they have changed.
    pub(crate) fn read_files(&mut self, root: &Root) {
        let files = Some(Stamp::of(root, [FLEET_REPORT, FLEET_RESULTS]));
        if self.files != files {
            self.files = files;
            self.jobs.read_results();
            if let Some(report) = fleet::report(root) {
                self.fleet.want(report);
            }
        }
    }

    /// Plans the first request about jobs of a new connection.
    pub(crate) fn connected(&mut self) {
        self.jobs.connected(self.start.elapsed());
    }

    fn named(&mut self) -> [&mut Named; 2] {
        [&mut self.apps, &mut self.fleet]
    }

    /// Forgets what a new connection has to ask again.
    pub(crate) fn disconnected(&mut self) {
        self.classic.disconnected();
        for named in self.named() {
            named.disconnected();
        }
    }

    /// Requests the classic shadow and waits at most `limit` for it, so that the first
    /// report takes into account what the shadow has.
    pub(crate) fn fetch_state(&mut self, link: &mut Link, limit: Duration) -> Result<()> {
        self.classic.request_state(link)?;
        let end = Instant::now() + limit;
        while !self.classic.is_known() && Instant::now() < end {
            if !self.receive(link, end.saturating_duration_since(Instant::now())) {
                bail!("reading the shadow: the connection was lost");
            }
        }
        Ok(())
    }

    /// Reports `state` to the classic shadow in at most `budget` bytes, and waits for the
    /// answer.
    pub(crate) fn report(
        &mut self,
        link: &mut Link,
        state: Map<String, Value>,
        budget: usize,
        limit: Duration,
    ) -> Result<Answer> {
        // Messages that have come are taken into account.
        while self.take_waiting(link) {}
        let update = classic::update(&self.classic.document(), state, budget);
        // Also if nothing has changed: a report is a sign of life.
        self.classic.send(link, update, true)?;
        let end = Instant::now() + limit;
        loop {
            if let Some(answer) = self.classic.take_answer() {
                return Ok(answer);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.classic.give_up(link)?;
                return Ok(Answer::Missing);
            }
            if !self.receive(link, left) {
                bail!("reporting: the connection was lost");
            }
        }
    }

    /// Does what is due, and handles one message if it comes within `limit`. Returns
    /// `false` if the connection was lost.
    pub(crate) fn step(&mut self, link: &mut Link, limit: Duration) -> Result<bool> {
        if self
            .classic
            .repeat_at()
            .is_some_and(|at| Instant::now() >= at)
        {
            self.classic.request_state(link)?;
        }
        for named in self.named() {
            named.tick(link)?;
        }
        let token = link.next_token();
        if let Some((topic, payload)) = self.jobs.next(self.start.elapsed(), token) {
            link.request(&topic, payload)?;
        }
        let named = self.named().map(|named| named.due());
        let due = named.into_iter().chain([self.classic.repeat_at()]);
        let left = due
            .flatten()
            .min()
            .map(|due| due.saturating_duration_since(Instant::now()));
        let jobs = self.jobs.due().saturating_sub(self.start.elapsed());
        let limit = left.map_or(limit, |left| left.min(limit)).min(jobs);
        let is_connected = self.receive(link, limit);
        let cloud_time = link.cloud_time().unwrap_or(0);
        self.jobs.save(self.start.elapsed(), cloud_time);
        Ok(is_connected)
    }

    /// Waits until the named shadows have what they shall have and the jobs are exchanged,
    /// at most `limit`.
    pub(crate) fn settle(&mut self, link: &mut Link, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        let is_settled = |exchange: &mut Self| {
            let now = exchange.start.elapsed();
            exchange.named().iter().all(|named| named.is_settled()) && exchange.jobs.is_settled(now)
        };
        while !is_settled(self) && Instant::now() < end {
            if !self.step(link, end.saturating_duration_since(Instant::now()))? {
                bail!("reporting: the connection was lost");
            }
        }
        Ok(())
    }

    /// Handles a message if one has already come; returns whether there may be another.
    fn take_waiting(&mut self, link: &mut Link) -> bool {
        match link.receive(Duration::ZERO) {
            Received::Message(topic, payload) => {
                self.dispatch(link, &topic, &payload);
                true
            }
            // A lost connection is noticed by the report.
            Received::Nothing | Received::Disconnected => false,
        }
    }

    fn receive(&mut self, link: &mut Link, limit: Duration) -> bool {
        match link.receive(limit) {
            Received::Message(topic, payload) => self.dispatch(link, &topic, &payload),
            Received::Nothing => {}
            Received::Disconnected => return false,
        }
        true
    }

    fn dispatch(&mut self, link: &mut Link, topic: &str, payload: &[u8]) {
        let now = self.start.elapsed();
        if let Some(time) = self.jobs.handle(now, topic, payload) {
            return link.note_time(&time);
        }
        let _ = self.classic.handle(link, topic, payload)
            || self.apps.handle(link, topic, payload)
            || self.fleet.handle(link, topic, payload);
    }
}

/// Returns the update that replaces the reported state by `state`. The program that writes
/// the report keeps its limit, so a smaller budget changes nothing.
fn replace(document: &Document, state: &Value, _budget: usize) -> Map<String, Value> {
    document.replace(state.as_object().cloned().unwrap_or_default())
}
