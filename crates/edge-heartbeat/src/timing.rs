//! Intervals, time limits and pauses of the service, with their default values.

use std::time::Duration;

use crate::jobs::Pauses;
use crate::samples::Sampling;
use crate::shadow::DesiredInterval;

/// Intervals, time limits and pauses of the service, which tests shorten.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Time between two reports, unless the shadow requests another.
    pub interval: Duration,
    /// Shortest and longest interval between reports that the shadow may request.
    pub bounds: (Duration, Duration),
    /// Time limit of each network operation, such as connecting or the answer to a
    /// report.
    pub step: Duration,
    /// Time limit of gathering all that is reported.
    pub gather: Duration,
    /// Shortest and longest random pause before the next connection.
    pub pauses: (Duration, Duration),
    /// Shortest and longest random pause after a report that the cloud rejected or did
    /// not answer.
    pub rejected: (Duration, Duration),
    /// Time between two looks at the results of edge-fleet while a job is pending.
    pub poll: Duration,
    /// Pauses of the requests about jobs.
    pub jobs: Pauses,
    /// Times of sampling, and of sending the samples.
    pub sampling: Sampling,
}

impl Default for Timing {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            interval: seconds(300),
            // A typing error in the shadow must neither flood the cloud with reports
            // nor stop the reports for ever.
            bounds: (seconds(10), seconds(86_400)),
            step: seconds(15),
            gather: seconds(20),
            // AWS accepts a connection with the same client ID only every few seconds.
            pauses: (seconds(10), seconds(300)),
            rejected: (seconds(30), seconds(3_600)),
            poll: seconds(1),
            jobs: Pauses::default(),
            sampling: Sampling::default(),
        }
    }
}

impl Timing {
    /// Returns the interval to use: the desired one limited to the bounds, or the
    /// default.
    pub(crate) fn interval_for(&self, desired: DesiredInterval) -> Duration {
        match desired {
            DesiredInterval::Default => self.interval,
            DesiredInterval::Seconds(seconds) => {
                Duration::from_secs(seconds).clamp(self.bounds.0, self.bounds.1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn desired_intervals_are_kept_within_bounds() {
        let timing = Timing::default();
        for (desired, seconds) in [
            (DesiredInterval::Default, 300),
            (DesiredInterval::Seconds(0), 10),
            (DesiredInterval::Seconds(9), 10),
            (DesiredInterval::Seconds(60), 60),
            (DesiredInterval::Seconds(u64::MAX), 86_400),
        ] {
            assert_eq!(timing.interval_for(desired).as_secs(), seconds);
        }
    }
}
