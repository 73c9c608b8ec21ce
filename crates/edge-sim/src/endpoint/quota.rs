//! The published quotas: requests a second of an account, connections of a
//! client id.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Connections a second of an account.
const CONNECTS: u32 = 500;
/// Least time between two connections of a client id.
const CLIENT: Duration = Duration::from_secs(1);

/// A bucket that fills with `rate` tokens a second and holds as many.
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

/// All buckets, or none.
pub struct Quotas(Option<Inner>);

struct Inner {
    connects: Bucket,
    creates: Bucket,
    registers: Bucket,
    clients: HashMap<String, Instant>,
}

impl Quotas {
    /// `rate` provisionings a second; `None`: no quotas.
    pub fn new(rate: Option<u32>) -> Self {
        Self(rate.map(|rate| Inner {
            connects: Bucket::new(CONNECTS),
            creates: Bucket::new(rate),
            registers: Bucket::new(rate),
            clients: HashMap::new(),
        }))
    }

    /// May this client connect now?
    pub fn connect(&mut self, client: &str) -> bool {
        self.0.as_mut().is_none_or(|quotas| {
            let last = quotas.clients.insert(client.into(), Instant::now());
            last.is_none_or(|last| last.elapsed() >= CLIENT) && quotas.connects.take()
        })
    }

    /// May another certificate be asked for?
    pub fn create(&mut self) -> bool {
        self.0.as_mut().is_none_or(|quotas| quotas.creates.take())
    }

    /// May another thing be registered?
    pub fn register(&mut self) -> bool {
        self.0.as_mut().is_none_or(|quotas| quotas.registers.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_rate_is_refused() {
        let mut quotas = Quotas::new(Some(10));
        let granted = (0..100).filter(|_| quotas.create()).count();
        assert!((10..=11).contains(&granted), "{granted}");
        assert!(quotas.connect("a") && quotas.connect("b") && !quotas.connect("a"));
        let mut none = Quotas::new(None);
        assert!((0..100).all(|_| none.create() && none.register() && none.connect("a")));
    }
}
