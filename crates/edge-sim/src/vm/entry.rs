//! Entries of the root file system that are added to the base.

use std::path::PathBuf;

/// A file or link in the root file system of the test VM.
pub(crate) struct Entry {
    /// Absolute path in the test VM.
    pub to: String,
    /// Kind and content.
    pub kind: Kind,
    /// Permissions.
    pub mode: u32,
    /// User id and group id.
    pub owner: u32,
}

/// Kind and content of an entry.
pub(crate) enum Kind {
    /// A copy of a file of this machine.
    File(PathBuf),
    /// A file with this content.
    Bytes(Vec<u8>),
    /// A symbolic link.
    Link(String),
}
