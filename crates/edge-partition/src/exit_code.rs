//! Exit codes of edge-partition beyond 0, 1 and 2, as listed by `--help`.

/// The partition did not appear within `--timeout`.
pub const DEVICE_ABSENT: u8 = 3;
/// The partition contains other data than ext4, or is in use, and is not formatted.
pub const FOREIGN_CONTENT: u8 = 4;
/// The content of the partition cannot be determined, for example after a read error.
pub const UNREADABLE: u8 = 5;
/// Several partitions have the GPT label `DATA`.
pub const AMBIGUOUS: u8 = 6;
/// The file system cannot be repaired, or is larger than the partition.
pub const DAMAGED: u8 = 7;
/// A repair would lose files; the partition is unchanged.
pub const LOSSY: u8 = 9;
/// The file system has features that this version does not know.
pub const NEWER: u8 = 10;
/// `--check`: the partition has to be formatted or grown.
pub const NOT_READY: u8 = 8;
