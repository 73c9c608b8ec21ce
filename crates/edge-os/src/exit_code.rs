//! Exit codes of edge-os beyond 0, 1 and 2, as listed by `--help`.

/// The firmware cannot change the slot: nothing was written.
pub const FIRMWARE: u8 = 3;
/// An update is under way, or there is none to act on.
pub const PHASE: u8 = 4;
/// The image is not for this device: signature, number, board, or one that failed before.
pub const IMAGE: u8 = 5;
/// The device is in no condition for an update: partitions, kernel, room, health.
pub const DEVICE: u8 = 6;
/// The server cannot send parts of the bundle, or the bundle is not the signed one.
pub const BUNDLE: u8 = 7;
