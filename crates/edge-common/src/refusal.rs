//! Refusal of the device identity by the cloud: edge-heartbeat, which owns the
//! connection, notes it in memory, and edge-provision reads it.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::contract::path::CONNECTION;
use crate::{Root, file, known_time};

/// Size limit of [`CONNECTION`], in bytes.
const MAX_BYTES: u64 = 1024;

/// Result of the last connection to the cloud as the device: the contents of
/// [`CONNECTION`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Time of the first refusal since the last connection, in seconds of Unix time;
    /// `None` if the device is or was connected.
    pub refused_since: Option<u64>,
}

impl Connection {
    /// Returns the noted result; `None` if the cloud was not reached since the start of
    /// the device, or the file is damaged.
    pub fn load(root: &Root) -> Option<Self> {
        let text = file::read(&root.path(CONNECTION), MAX_BYTES).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Notes a connection, or a refusal unless one is noted already.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note(root: &Root, refused: bool) -> Result<()> {
        let before = Self::load(root);
        let connection = match before {
            Some(before) if before.refused_since.is_some() == refused => return Ok(()),
            _ => Self {
                refused_since: refused.then(known_time::clock),
            },
        };
        let path = root.path(CONNECTION);
        if let Some(directory) = path.parent() {
            file::create_directory(directory, 0o755)?;
        }
        file::write(&path, &serde_json::to_vec(&connection)?, 0o644)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_refusal_is_kept_until_a_connection() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        assert_eq!(Connection::load(&root), None);
        Connection::note(&root, true).unwrap();
        let text = br#"{"refused_since":7}"#;
        file::write(&root.path(CONNECTION), text, 0o644).unwrap();
        Connection::note(&root, true).unwrap();
        let since = Connection::load(&root).unwrap().refused_since;
        assert_eq!(since, Some(7));
        Connection::note(&root, false).unwrap();
        assert_eq!(Connection::load(&root).unwrap().refused_since, None);
        for damaged in ["", "{", "7", &"x".repeat(2000)] {
            file::write(&root.path(CONNECTION), damaged.as_bytes(), 0o644).unwrap();
            assert_eq!(Connection::load(&root), None);
        }
    }
}
