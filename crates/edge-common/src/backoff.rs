//! Random pauses, so that a fleet which lost power or network together does not come
//! back together.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Pauses between attempts by decorrelated jitter: each is drawn between the shortest
/// pause and three times the last one. Of the usual schemes it serves a fleet behind a
/// limited cloud soonest and with the fewest requests.
#[derive(Debug, Clone)]
pub struct Backoff {
    shortest: Duration,
    longest: Duration,
    last: Duration,
}

impl Backoff {
    /// Pauses from `shortest` to `longest`.
    pub fn new(shortest: Duration, longest: Duration) -> Self {
        let last = shortest;
        Self {
            shortest,
            longest,
            last,
        }
    }

    /// Returns the next pause.
    pub fn next_pause(&mut self) -> Duration {
        self.last = self.pause_at(random_fraction());
        self.last
    }

    /// Starts again with short pauses.
    pub fn reset(&mut self) {
        self.last = self.shortest;
    }

    fn pause_at(&self, fraction: f64) -> Duration {
        // The limit bounds the interval and not the draw: else most pauses would be
        // exactly the longest one, and the fleet in step again.
        let widest = (self.last * 3).clamp(self.shortest, self.longest);
        self.shortest + (widest - self.shortest).mul_f64(fraction)
    }
}

/// Returns a random number from 0 to 1, for spreading load and not for secrets.
pub fn random_fraction() -> f64 {
    // The keys of a new hasher are random.
    let random = RandomState::new().build_hasher().finish();
    f64::from((random >> 32) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn pauses_stay_between_shortest_and_longest() {
        let backoff = |last| Backoff {
            last: seconds(last),
            ..Backoff::new(seconds(2), seconds(300))
        };
        assert_eq!(backoff(2).pause_at(0.0), seconds(2));
        assert_eq!(backoff(2).pause_at(1.0), seconds(6));
        assert_eq!(backoff(300).pause_at(1.0), seconds(300));
    }

    #[test]
    fn pauses_spread() {
        let mut backoff = Backoff::new(seconds(10), seconds(300));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let pause = backoff.next_pause();
            assert!((10..=300).contains(&pause.as_secs()), "{pause:?}");
            seen.insert(pause.as_millis());
        }
        assert!(seen.len() > 500, "{}", seen.len());
        backoff.reset();
        assert!(backoff.next_pause() <= seconds(30));
    }
}
