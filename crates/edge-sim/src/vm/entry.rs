//! Files and links that are added to the root file system of the base system.

use std::path::PathBuf;

/// File or symbolic link in the root file system of the test VM.
pub(crate) struct Entry {
    /// Absolute path in the test VM.
    pub to: String,
    /// Source of a file, or target of a link.
    pub kind: Kind,
    /// Permission bits, for example 0o644.
    pub mode: u32,
    /// UID of the owner, which is also the GID.
    pub owner: u32,
}

/// Source of a file in the test VM, or target of a link.
pub(crate) enum Kind {
    /// Regular file, copied from this path of this machine.
    File(PathBuf),
    /// Regular file with these bytes.
    Bytes(Vec<u8>),
    /// Symbolic link to this target.
    Link(String),
}
