//! Exit codes beyond 0, 1 and 2, as `--help` lists them.

/// The claim files are missing or unusable.
pub(crate) const CLAIM: u8 = 3;
/// The clock is not set.
pub(crate) const CLOCK: u8 = 4;
/// The endpoint cannot be reached, or does not answer.
pub(crate) const NETWORK: u8 = 5;
/// The cloud rejected the device.
pub(crate) const REJECTED: u8 = 6;
/// The server or the claim certificate is not trusted by the other side.
pub(crate) const TLS: u8 = 7;
