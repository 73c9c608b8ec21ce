//! Random pauses between connection attempts: a fleet that lost power or network at the
//! same time must not reconnect at the same time.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Pauses between attempts by decorrelated jitter: each pause is drawn between the
/// shortest pause and three times the previous one, up to the longest pause. Of the
/// common backoff schemes, this one connects a fleet to a rate-limited cloud soonest
/// and with the fewest requests.
#[derive(Debug, Clone)]
pub struct Backoff {
    shortest: Duration,
    longest: Duration,
    last: Duration,
}

impl Backoff {
    /// Creates a sequence of pauses between `shortest` and `longest`, beginning with
    /// short ones.
    pub fn new(shortest: Duration, longest: Duration) -> Self {
        let last = shortest;
        Self {
            shortest,
            longest,
            last,
        }
    }

    /// Draws the next pause at random; the range of later pauses grows with the drawn
    /// value.
    pub fn next_pause(&mut self) -> Duration {
        self.last = self.pause_at(random_fraction());
        self.last
    }

    /// Resets the sequence to short pauses, for example after a successful connection.
    pub fn reset(&mut self) {
        self.last = self.shortest;
    }

    fn pause_at(&self, fraction: f64) -> Duration {
        // `longest` bounds the interval and not the drawn value: otherwise most pauses
        // would be exactly `longest`, and the devices of the fleet would connect in
        // step again.
        let widest = (self.last * 3).clamp(self.shortest, self.longest);
        self.shortest + (widest - self.shortest).mul_f64(fraction)
    }
}

/// Returns a random number from 0 to 1 for spreading load. The number is not
/// cryptographically secure.
pub fn random_fraction() -> f64 {
    // `RandomState` has random keys, so even the hash of no input is a random number.
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
