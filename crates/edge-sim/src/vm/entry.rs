//! Entries of the root file system that are added to the base.

use std::path::PathBuf;

/// A file or link in the root file system of the test VM.
pub struct Entry {
    /// Absolute path in the test VM.
    pub to: String,
    /// Kind and content.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// User and group.
    pub owner: u32,
}

/// Kind and content of an entry.
pub enum Kind {
    /// A copy of a file of this machine.
    File(PathBuf),
    /// A file with this content.
    Bytes(Vec<u8>),
    /// A symbolic link.
    Link(String),
}
