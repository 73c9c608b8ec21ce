//! Published quotas of AWS IoT: requests per second of an account, connections of a
//! client id.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Quota of connections per second of an account.
const CONNECTS_PER_SECOND: u32 = 500;
/// Minimum time between two connections of the same client id.
const CLIENT_INTERVAL: Duration = Duration::from_secs(1);

/// Token bucket that gains `rate` tokens per second and holds at most `rate`
/// tokens.
struct Bucket {
    rate: f64,
    left: f64,
    seen: Instant,
}

impl Bucket {
    fn new(rate: u32) -> Self {
        Self {
            rate: rate.into(),
            left: rate.into(),
            seen: Instant::now(),
        }
    }

    fn take(&mut self) -> bool {
        let now = Instant::now();
        let fresh = now.duration_since(self.seen).as_secs_f64() * self.rate;
        self.left = (self.left + fresh).min(self.rate);
        self.seen = now;
        let enough = self.left >= 1.0;
        self.left -= f64::from(u8::from(enough));
        enough
    }
}

/// Quotas of an account; `None` permits every request.
pub(crate) struct Quotas(Option<Inner>);

struct Inner {
    connects: Bucket,
    creates: Bucket,
    registers: Bucket,
    clients: HashMap<String, Instant>,
}

impl Quotas {
    /// Creates quotas with `rate` provisionings per second; `None` disables all
    /// quotas.
    pub(crate) fn new(rate: Option<u32>) -> Self {
        Self(rate.map(|rate| Inner {
            connects: Bucket::new(CONNECTS_PER_SECOND),
            creates: Bucket::new(rate),
            registers: Bucket::new(rate),
            clients: HashMap::new(),
        }))
    }

    /// Counts a connection of the client id `client`; returns whether it is within
    /// the quotas.
    pub(crate) fn connect(&mut self, client: &str) -> bool {
        self.0.as_mut().is_none_or(|quotas| {
            let last = quotas.clients.insert(client.into(), Instant::now());
            last.is_none_or(|last| last.elapsed() >= CLIENT_INTERVAL) && quotas.connects.take()
        })
    }

    /// Counts a request for a certificate; returns whether it is within the quotas.
    pub(crate) fn create(&mut self) -> bool {
        self.0.as_mut().is_none_or(|quotas| quotas.creates.take())
    }

    /// Counts a registration; returns whether it is within the quotas.
    pub(crate) fn register(&mut self) -> bool {
        self.0.as_mut().is_none_or(|quotas| quotas.registers.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_above_the_rate_exceed_the_quota() {
        let mut quotas = Quotas::new(Some(10));
        let granted = (0..100).filter(|_| quotas.create()).count();
        assert!((10..=11).contains(&granted), "{granted}");
        assert!(quotas.connect("a") && quotas.connect("b") && !quotas.connect("a"));
        let mut none = Quotas::new(None);
        assert!((0..100).all(|_| none.create() && none.register() && none.connect("a")));
    }
}
