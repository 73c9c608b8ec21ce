//! Published quotas: requests of an account per second.

use std::collections::HashMap;

/// Reads and, apart from them, writes of the data plane per second.
pub(super) const DATA_PLANE: u64 = 200;
/// Requests of one kind to the control plane per second.
const CONTROL_PLANE: u64 = 10;

/// Requests in the present second.
#[derive(Debug, Default)]
pub(super) struct Quota {
    second: u64,
    count: u64,
}

impl Quota {
    /// Counts a request; returns whether it is within the quota.
    pub(super) fn take(&mut self, now: u64, limit: u64) -> bool {
        if self.second != now {
            (self.second, self.count) = (now, 0);
        }
        self.count += 1;
        self.count <= limit
    }
}

/// Requests to the control plane in the present second, by kind.
#[derive(Debug, Default)]
pub(super) struct Calls(HashMap<&'static str, Quota>);

impl Calls {
    /// Counts a request of a kind; returns whether it is within the quota.
    pub(super) fn take(&mut self, kind: &'static str, now: u64) -> bool {
        self.0.entry(kind).or_default().take(now, CONTROL_PLANE)
    }
}
