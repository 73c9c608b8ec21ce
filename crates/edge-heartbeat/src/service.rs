//! Main loop of the service: connects, reports until the connection ends, pauses, and
//! connects again.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use edge_common::backoff::Backoff;
use edge_common::mqtt::ConnectError;
use edge_common::refusal::Connection;
use edge_common::{Root, exit, known_time, log};
use serde_json::{Value, json};

use crate::exchange::Exchange;
use crate::gatherer::Gatherer;
use crate::identity::{self, Identity, NO_IDENTITY};
use crate::link::Link;
use crate::rejections::Rejections;
use crate::samples::{self, Samples};
use crate::sd_notify::Notifier;
use crate::shadow::Answer;
use crate::stamp::Stamp;
use crate::timing::Timing;
use crate::vpn;

/// Part of the gathered state that has a shadow of its own.
pub(crate) const APPS: &str = "apps";

/// Reports until the process is ended, or until the device has no valid identity any
/// more.
pub(crate) fn run(root: &Root, timing: &Timing) -> Result<()> {
    let notifier = Notifier::from_environment();
    let (shortest, longest) = timing.pauses;
    let mut backoff = Backoff::new(shortest, longest);
    let mut reporter = Reporter {
        root,
        notifier: &notifier,
        timing,
        interval: timing.interval,
        gatherer: Gatherer::new(root),
        rejections: Rejections::new(timing),
        exchange: Exchange::new(root, timing),
        samples: Samples::new(root, &timing.sampling),
    };
    Identity::load(root)?;
    // Ready before the first connection: units that are ordered after this service must
    // not wait for a network, which may be missing for days.
    notifier.ready();
    loop {
        let start = Instant::now();
        match reporter.report_over_one_connection() {
            Ok(End::IdentityRenewed) => {
                log::info("the identity was renewed: connecting again");
                backoff.reset();
                continue;
            }
            Ok(End::Disconnected) => log::warn("the connection was lost"),
            Err(error) if exit::code_of(&error) == NO_IDENTITY => return Err(error),
            Err(error) => log::warn(format_args!("{error:#}")),
        }
        // A connection that lasted shows that the cloud is available, so the pauses
        // begin short.
        if start.elapsed() > longest {
            backoff.reset();
        }
        notifier.status("waiting to connect again");
        reporter.sleep(backoff.next_pause());
    }
}

/// Reason for which a connection ended without an error.
enum End {
    Disconnected,
    IdentityRenewed,
}

/// Event that ends the wait for the next report.
enum Wake {
    Due,
    Disconnected,
    IdentityRenewed,
}

/// Notes for edge-provision whether the cloud refused the identity. A cloud that was not
/// reached says nothing about the identity.
fn note_refusal(root: &Root, connected: &Result<Link>) {
    let error = connected.as_ref().err();
    let error = error.and_then(|e| e.downcast_ref::<ConnectError>());
    if error.is_some_and(|e| !e.reached) {
        return;
    }
    if let Err(error) = Connection::note(root, connected.is_err()) {
        log::warn(format_args!("{error:#}"));
    }
}

struct Reporter<'a> {
    root: &'a Root,
    notifier: &'a Notifier,
    timing: &'a Timing,
    interval: Duration,
    gatherer: Gatherer,
    rejections: Rejections,
    exchange: Exchange,
    samples: Samples,
}

impl Reporter<'_> {
    /// Connects with the identity on disk and reports at every interval until the
    /// connection ends.
    fn report_over_one_connection(&mut self) -> Result<End> {
        // The version is read before the identity, so that a renewal in between is
        // noticed.
        let version = identity::version(self.root);
        let identity = Identity::load(self.root)?;
        self.notifier.status("connecting");
        let connected = identity.connect(self.timing);
        note_refusal(self.root, &connected);
        let mut link = connected?;
        let end = self.report_over(&mut link, version);
        self.exchange.disconnected();
        self.samples.disconnected();
        if matches!(end, Ok(End::IdentityRenewed)) {
            link.close();
        }
        end
    }

    fn report_over(&mut self, link: &mut Link, version: Stamp<3>) -> Result<End> {
        self.exchange.connected();
        self.exchange.fetch_state(link, self.timing.step)?;
        self.apply_desired();
        loop {
            let start = Instant::now();
            let pause = self.report(link)?;
            match self.wait(link, start + pause, version)? {
                Wake::Due => {}
                Wake::Disconnected => return Ok(End::Disconnected),
                Wake::IdentityRenewed => return Ok(End::IdentityRenewed),
            }
        }
    }

    /// Returns the last rejection of a report, of the classic shadow if it has one.
    fn last_rejection(&self) -> Value {
        let all = [
            self.rejections.report(),
            self.exchange.apps.rejection(),
            self.exchange.fleet.rejection(),
        ];
        let rejection = all.into_iter().find(|rejection| !rejection.is_null());
        rejection.unwrap_or_default()
    }

    /// Sends one report and returns the time until the next one. A rejection does not
    /// end the connection: it works, and its end would announce the device as offline.
    fn report(&mut self, link: &mut Link) -> Result<Duration> {
        let mut state = self.gatherer.gather(self.timing.gather);
        let apps = state.remove(APPS).unwrap_or_default();
        let seconds = self.interval.as_secs().max(1);
        state.insert("heartbeat_seconds".into(), json!(seconds));
        state.insert("report_rejected".into(), self.last_rejection());
        let limit = self.timing.step;
        let budget = self.rejections.budget();
        let answer = self.exchange.report(link, state, budget, limit)?;
        // After the classic shadow, which matters most.
        self.exchange.apps.want(apps);
        note_cloud_time(self.root, link);
        let (pause, cause) = match answer {
            Answer::Accepted => {
                self.rejections.accepted();
                self.notifier.status("reported");
                return Ok(self.interval);
            }
            Answer::Rejected(rejection) => {
                let cause = format!("the report was rejected: {rejection}");
                (self.rejections.rejected(rejection), cause)
            }
            Answer::Missing => {
                let cause = format!("the report was not answered within {} s", limit.as_secs());
                match self.rejections.unanswered() {
                    Some(pause) => (pause, cause),
                    None => bail!("{cause}"),
                }
            }
        };
        let cause = format!("{cause}; the next one follows in {} s", pause.as_secs());
        log::warn(&cause);
        self.notifier.status(&cause);
        Ok(pause)
    }

    /// Waits until the next report is due at `next`. Meanwhile desired state that
    /// arrives is applied, and the watchdog is notified.
    fn wait(&mut self, link: &mut Link, mut next: Instant, version: Stamp<3>) -> Result<Wake> {
        loop {
            // The next report is sent at once, so that the operator can check what is
            // in force.
            if self.apply_desired() {
                next = Instant::now();
            }
            self.exchange.read_files(self.root);
            self.sample();
            self.samples.send(link)?;
            self.notifier.alive();
            if version != identity::version(self.root) {
                return Ok(Wake::IdentityRenewed);
            }
            let now = Instant::now();
            let left = next.saturating_duration_since(now);
            if left.is_zero() {
                return Ok(Wake::Due);
            }
            let samples = self.samples.sample_at().min(self.samples.send_at());
            let samples = samples.saturating_duration_since(now);
            let mut limit = left.min(samples).min(self.notifier.interval());
            if self.exchange.has_jobs() {
                limit = limit.min(self.timing.poll);
            }
            if !self.exchange.step(link, limit)? {
                return Ok(Wake::Disconnected);
            }
        }
    }

    /// Takes a sample if it is due.
    fn sample(&mut self) {
        if Instant::now() >= self.samples.sample_at() {
            let limit = self.timing.gather;
            let state = self.gatherer.gather_from(&samples::SOURCES, limit);
            self.samples.take(&state);
        }
    }

    /// Sleeps for `time`. Meanwhile samples are taken, and the watchdog is notified.
    fn sleep(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.sample();
            let next = self.samples.sample_at().min(end);
            let left = next.saturating_duration_since(Instant::now());
            self.notifier.sleep(left);
        }
    }

    /// Applies desired state that has arrived; returns whether something changed.
    fn apply_desired(&mut self) -> bool {
        let mut changed = false;
        let shadow = &mut self.exchange.classic;
        if let Some(desired) = shadow.take_desired_interval() {
            let interval = self.timing.interval_for(desired);
            changed = interval != self.interval;
            if changed {
                log::info(format_args!("reporting every {} s", interval.as_secs()));
                self.interval = interval;
            }
        }
        if let Some(desired) = shadow.take_desired_vpn() {
            match vpn::save_desired(self.root, desired.as_ref()) {
                Ok(false) => {}
                Ok(true) => {
                    log::info("desired.vpn changed: written for edge-vpn");
                    changed = true;
                }
                Err(error) => log::warn(format_args!("{error:#}")),
            }
        }
        changed
    }
}

/// Notes the newest time of the cloud for edge-docker. An error is only logged: the device
/// reports all the same.
pub(crate) fn note_cloud_time(root: &Root, link: &Link) {
    let Some(time) = link.cloud_time() else {
        return;
    };
    if let Err(error) = known_time::note_cloud(root, time) {
        log::warn(format_args!("noting the time of the cloud: {error:#}"));
    }
}
