//! Cooldown after a rejected request: some hours, or until the next boot. NordVPN limits
//! logins, devices and changes, and a device that repeats a rejected request every five
//! minutes would use the limit of the whole account up.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Error, Result};
use edge_common::exit::{self, Failure};
use edge_common::{Root, file};

use crate::files::RUNTIME_DIRECTORY;

/// Duration of a cooldown.
const COOLDOWN: Duration = Duration::from_secs(6 * 3600);
/// Largest file of a cooldown, in bytes.
const MAX_FILE_BYTES: u64 = 4096;

fn path(root: &Root, request: &str) -> PathBuf {
    root.path(format!("{RUNTIME_DIRECTORY}/refused-{request}"))
}

/// Returns the error of an earlier `request` with `key` during its cooldown. Another key,
/// such as a new token, may be used at once.
pub(super) fn check(root: &Root, request: &str, key: &str) -> Result<()> {
    match load(root, request) {
        Some((old, error)) if old == key => Err(error),
        _ => Ok(()),
    }
}

/// Returns key and error of a rejected request during its cooldown.
pub(super) fn load(root: &Root, request: &str) -> Option<(String, Error)> {
    let path = path(root, request);
    let text = file::read_text(&path, MAX_FILE_BYTES).ok()?;
    let modified = std::fs::metadata(&path).and_then(|m| m.modified()).ok()?;
    // A time in the future means that the clock was set back: the age is unknown, and
    // waiting is the safe side.
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

/// Starts the cooldown of a rejected request and returns its error.
pub(super) fn start(root: &Root, request: &str, key: &str, error: Error) -> Error {
    let text = format!("{}\n{key}\n{error:#}\n", exit::code_of(&error));
    let written = file::write(&path(root, request), text.as_bytes(), 0o600);
    match written {
        Ok(()) => error,
        Err(other) => error.context(format!("{other:#}")),
    }
}

/// Ends the cooldown: the request has succeeded, or is not needed any more.
pub(super) fn clear(root: &Root, request: &str) {
    let _ = std::fs::remove_file(path(root, request));
}
