//! Exit codes of edge-heartbeat beyond 0, 1 and 2, as listed by `--help`.

/// The configuration of the device identity is missing or invalid.
pub(crate) const NO_IDENTITY: u8 = 3;
