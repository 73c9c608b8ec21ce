//! Exit codes of edge-fleet beyond 0, 1 and 2, as listed by `--help`.

/// The last set was refused, or failed and the earlier apps were restored.
pub(crate) const REFUSED: u8 = 3;
/// A set is being carried out or waits, or apps do not run as the set says.
pub(crate) const PENDING: u8 = 4;
/// A state file is damaged.
pub(crate) const DAMAGED: u8 = 5;
/// Another edge-fleet is running.
pub(crate) const BUSY: u8 = 6;
