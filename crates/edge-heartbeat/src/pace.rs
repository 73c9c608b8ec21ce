//! How often, and how long to wait after a failure.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use crate::shadow::Wish;

/// The times that this program keeps to.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Time between two reports.
    pub interval: Duration,
    /// Shortest and longest that somebody may wish.
    pub bounds: (Duration, Duration),
    /// Limit of each step on the network.
    pub step: Duration,
    /// First and longest pause before connecting again.
    pub pauses: (Duration, Duration),
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            interval: seconds(300),
            bounds: (seconds(10), seconds(86_400)),
            step: seconds(15),
            // AWS takes one connection of a client in some seconds.
            pauses: (seconds(10), seconds(300)),
        }
    }
}

impl Pace {
    /// The interval that a wish leads to, within the bounds.
    pub fn wished(&self, wish: Wish) -> Duration {
        match wish {
            Wish::Nothing => self.interval,
            Wish::Seconds(seconds) => {
                Duration::from_secs(seconds).clamp(self.bounds.0, self.bounds.1)
            }
        }
    }

    /// The pause after one of `last`: decorrelated jitter, so that a fleet that
    /// was cut off together does not come back together.
    pub fn pause(&self, last: Duration) -> Duration {
        let (least, most) = self.pauses;
        let widest = (last * 3).clamp(least, most);
        // A new hasher has a random key.
        let random = RandomState::new().build_hasher().finish() % 1_000_001;
        let share = u32::try_from(random).unwrap_or(0);
        least + (widest - least) / 1_000_000 * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_kept_within_bounds() {
        let pace = Pace::default();
        for (wish, seconds) in [
            (Wish::Nothing, 300),
            (Wish::Seconds(0), 10),
            (Wish::Seconds(9), 10),
            (Wish::Seconds(60), 60),
            (Wish::Seconds(u64::MAX), 86_400),
        ] {
            assert_eq!(pace.wished(wish).as_secs(), seconds);
        }
    }

    #[test]
    fn pauses_spread_and_stay_within_limits() {
        let pace = Pace::default();
        let mut last = pace.pauses.0;
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            last = pace.pause(last);
            assert!((10..=300).contains(&last.as_secs()), "{last:?}");
            seen.insert(last.as_millis());
        }
        assert!(seen.len() > 500, "{}", seen.len());
    }
}
