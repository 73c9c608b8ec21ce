//! Cooldown after a request that NordVPN rejected, for six hours or until the next
//! boot. NordVPN limits logins, devices and changes. A device that repeats a rejected
//! request every five minutes would use up the limit of the whole account.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Error, Result};
use edge_common::exit::{self, Failure};
use edge_common::{Root, file};

use crate::files::RUNTIME_DIRECTORY;

/// Time for which a rejected request is not repeated.
const COOLDOWN: Duration = Duration::from_secs(6 * 3600);
/// Size limit of the file that records a rejected request, in bytes.
const MAX_FILE_BYTES: u64 = 4096;

fn path(root: &Root, request: &str) -> PathBuf {
    root.path(format!("{RUNTIME_DIRECTORY}/refused-{request}"))
}

/// Returns the error of the last `request` with the same `key` if its cooldown has not
/// ended. A request with another key, such as a new token, is possible at once.
pub(super) fn check(root: &Root, request: &str, key: &str) -> Result<()> {
    match load(root, request) {
        Some((old, error)) if old == key => Err(error),
        _ => Ok(()),
    }
}

/// Returns key and error of a rejected request, or `None` if no cooldown is in effect.
pub(super) fn load(root: &Root, request: &str) -> Option<(String, Error)> {
    let path = path(root, request);
    let text = file::read_text(&path, MAX_FILE_BYTES).ok()?;
    let modified = std::fs::metadata(&path).and_then(|m| m.modified()).ok()?;
    // A modification time in the future means that the clock was set back. As the age
    // is unknown, it counts as zero.
    let age = SystemTime::now()
        .duration_since(modified)
        .unwrap_or_default();
    if age >= COOLDOWN {
        return None;
    }
    let mut lines = text.splitn(3, '\n');
    let mut next = || lines.next().unwrap_or_default().trim().to_string();
    let (code, key, message) = (next(), next(), next());
    let message = format!("{message}; it is tried again later");
    Some((key, Failure::error(code.parse().unwrap_or(1), message)))
}

/// Records that NordVPN rejected `request`, which starts its cooldown, and returns the
/// error.
pub(super) fn start(root: &Root, request: &str, key: &str, error: Error) -> Error {
    let text = format!("{}\n{key}\n{error:#}\n", exit::code_of(&error));
    let written = file::write(&path(root, request), text.as_bytes(), 0o600);
    match written {
        Ok(()) => error,
        Err(other) => error.context(format!("{other:#}")),
    }
}

/// Ends the cooldown of `request`, after its success or because it is not needed any
/// more.
pub(super) fn clear(root: &Root, request: &str) {
    let _ = std::fs::remove_file(path(root, request));
}
