//! Limit of the refusals that are recorded one by one, so that nobody can fill the
//! ledger with them until the past has expired.

use edge_common::{Root, file};
use serde::{Deserialize, Serialize};

/// Number of refused or failed commands within [`WINDOW_MS`] that are recorded one by
/// one.
pub(super) const MAX_IN_WINDOW: u64 = 60;
/// Length of the window in milliseconds.
const WINDOW_MS: u64 = 60_000;
/// File with the count, in memory: after a reboot a new window begins.
const FILE: &str = "/run/edge-docker/ledger-refusals.json";
/// Size limit of the file in bytes.
const MAX_FILE_BYTES: u64 = 4096;

/// Count of the refusals in the current window.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Refusals {
    v: u32,
    since_ms: u64,
    count: u64,
}

impl Refusals {
    /// Reads the count. An invalid file counts as absent.
    pub(super) fn read(root: &Root) -> Self {
        let text = file::read(&root.path(FILE), MAX_FILE_BYTES).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Counts a refusal at `now_ms` and returns whether it gets a record of its own.
    pub(super) fn admit(&mut self, now_ms: u64) -> bool {
        if self.is_over(now_ms) {
            *self = Self {
                v: 1,
                since_ms: now_ms,
                count: 0,
            };
        }
        self.count += 1;
        self.count <= MAX_IN_WINDOW
    }

    /// Returns the number of refusals that have no record, once the window is over, and
    /// forgets them.
    pub(super) fn take_unrecorded(&mut self, now_ms: u64) -> Option<u64> {
        let unrecorded = self.count.saturating_sub(MAX_IN_WINDOW);
        if unrecorded == 0 || !self.is_over(now_ms) {
            return None;
        }
        self.count = 0;
        Some(unrecorded)
    }

    fn is_over(&self, now_ms: u64) -> bool {
        !(self.since_ms..self.since_ms.saturating_add(WINDOW_MS)).contains(&now_ms)
    }

    /// Writes the count. An error is ignored: the window then begins again.
    pub(super) fn write(&self, root: &Root) {
        let text = serde_json::to_vec(self).unwrap_or_default();
        let path = root.path(FILE);
        let _ = file::create_directory(path.parent().unwrap_or(&path), 0o700);
        let _ = file::put(&path, &text, 0o600);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_a_minute_and_one_line_for_the_rest() {
        let mut refusals = Refusals::default();
        let admitted = (0..1000).filter(|n| refusals.admit(100_000 + n)).count();
        assert_eq!(admitted as u64, MAX_IN_WINDOW);
        assert_eq!(refusals.take_unrecorded(101_000), None);
        assert_eq!(refusals.take_unrecorded(161_000), Some(940));
        assert_eq!(refusals.take_unrecorded(161_000), None);
        assert!(refusals.admit(161_001));
        // The clock of another boot.
        assert!(refusals.admit(5));
    }
}
