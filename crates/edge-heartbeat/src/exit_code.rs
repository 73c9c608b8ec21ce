//! Exit codes beyond 0, 1 and 2, as `--help` lists them.

/// The device has no valid identity.
pub(crate) const NO_IDENTITY: u8 = 3;
