//! Exit codes of edge-provision beyond 0, 1 and 2, as listed by `--help`.

/// The claim files or the CA certificates are missing or unusable.
pub(crate) const CLAIM: u8 = 3;
/// The clock is not set, or outside the validity of the claim certificate.
pub(crate) const CLOCK: u8 = 4;
/// The endpoint cannot be reached or does not answer.
pub(crate) const NETWORK: u8 = 5;
/// The cloud rejected the connection or the registration of the device.
pub(crate) const REJECTED: u8 = 6;
/// The device does not trust the server, or the server the client certificate.
pub(crate) const TLS: u8 = 7;
