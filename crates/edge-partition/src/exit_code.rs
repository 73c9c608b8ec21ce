//! Exit codes beyond 0, 1 and 2, as `--help` lists them.

/// The device did not appear.
pub const DEVICE_ABSENT: u8 = 3;
/// The device holds something that is not ours to overwrite.
pub const FOREIGN_CONTENT: u8 = 4;
/// The content of the device cannot be determined.
pub const UNREADABLE: u8 = 5;
/// Several partitions are labelled `DATA`.
pub const AMBIGUOUS: u8 = 6;
/// The file system is damaged and cannot be repaired.
pub const DAMAGED: u8 = 7;
/// `--check`: the device is not ready.
pub const NOT_READY: u8 = 8;
