//! Main loop of the service: connects, reports until the connection ends, pauses, and
//! connects again.

use std::time::{Duration, Instant};

use anyhow::Result;
use edge_common::backoff::Backoff;
use edge_common::{Root, exit, known_time, log};
use serde_json::json;

use crate::identity::{Identity, NO_IDENTITY, Version};
use crate::sd_notify::Notifier;
use crate::shadow::Shadow;
use crate::timing::Timing;
use crate::{reported_state, vpn};

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
        notifier.sleep(backoff.next_pause());
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

struct Reporter<'a> {
    root: &'a Root,
    notifier: &'a Notifier,
    timing: &'a Timing,
    interval: Duration,
}

impl Reporter<'_> {
    /// Connects with the identity on disk and reports at every interval until the
    /// connection ends.
    fn report_over_one_connection(&mut self) -> Result<End> {
        // The version is read before the identity, so that a renewal in between is
        // noticed.
        let version = Version::of(self.root);
        let identity = Identity::load(self.root)?;
        self.notifier.status("connecting");
        let mut shadow = identity.connect(self.timing.step)?;
        shadow.request_desired()?;
        loop {
            let next = Instant::now() + self.interval;
            let mut state = reported_state::gather(self.root);
            let seconds = self.interval.as_secs().max(1);
            state.insert("heartbeat_seconds".into(), json!(seconds));
            shadow.report(state, self.timing.step)?;
            note_cloud_time(self.root, &shadow);
            self.notifier.status("reported");
            match self.wait(&mut shadow, next, version) {
                Wake::Due => {}
                Wake::Disconnected => return Ok(End::Disconnected),
                Wake::IdentityRenewed => {
                    shadow.close();
                    return Ok(End::IdentityRenewed);
                }
            }
        }
    }

    /// Waits until the next report is due at `next`. Meanwhile desired state that
    /// arrives is applied, and the watchdog is notified.
    fn wait(&mut self, shadow: &mut Shadow, mut next: Instant, version: Version) -> Wake {
        loop {
            if let Some(desired) = shadow.take_desired_interval() {
                let interval = self.timing.interval_for(desired);
                if interval != self.interval {
                    log::info(format_args!("reporting every {} s", interval.as_secs()));
                    self.interval = interval;
                    // The next report is sent at once, so that the operator can check
                    // the new interval.
                    next = Instant::now();
                }
            }
            if let Some(desired) = shadow.take_desired_vpn() {
                match vpn::save_desired(self.root, desired.as_ref()) {
                    Ok(false) => {}
                    Ok(true) => {
                        log::info("desired.vpn changed: written for edge-vpn");
                        next = Instant::now();
                    }
                    Err(error) => log::warn(format_args!("{error:#}")),
                }
            }
            self.notifier.alive();
            if version != Version::of(self.root) {
                return Wake::IdentityRenewed;
            }
            let left = next.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Wake::Due;
            }
            if !shadow.wait(left.min(self.notifier.interval())) {
                return Wake::Disconnected;
            }
        }
    }
}

/// Notes the newest time of the cloud for edge-docker. An error is only logged: the device
/// reports all the same.
pub(crate) fn note_cloud_time(root: &Root, shadow: &Shadow) {
    let Some(time) = shadow.cloud_time() else {
        return;
    };
    if let Err(error) = known_time::note_cloud(root, time) {
        log::warn(format_args!("noting the time of the cloud: {error:#}"));
    }
}
