//! What the vendor refused is not asked for again at every step: notes until the
//! next boot, or for some hours.

use std::time::{Duration, SystemTime};

use anyhow::{Error, Result};
use edge_common::exit::{self, Failure};
use edge_common::{Root, file};

use crate::RUN;

/// How long.
const LATER: Duration = Duration::from_secs(6 * 3600);
/// Largest note, in bytes.
const LARGEST: u64 = 4096;

fn path(root: &Root, what: &str) -> std::path::PathBuf {
    root.path(format!("{RUN}/refused-{what}"))
}

/// May `what` be asked for with `key`? A note of another key does not count.
///
/// # Errors
/// It was refused not long ago: that refusal.
pub fn check(root: &Root, what: &str, key: &str) -> Result<()> {
    match noted(root, what) {
        Some((old, error)) if old == key => Err(error),
        _ => Ok(()),
    }
}

/// What was refused not long ago: its key, and the refusal.
pub fn noted(root: &Root, what: &str) -> Option<(String, Error)> {
    let path = path(root, what);
    let text = file::read_text(&path, LARGEST).ok()?;
    let modified = std::fs::metadata(&path).and_then(|m| m.modified()).ok()?;
    // From the future: the clock was set back, and the age is not known.
    let age = SystemTime::now()
        .duration_since(modified)
        .unwrap_or_default();
    if age >= LATER {
        return None;
    }
    let mut lines = text.splitn(3, '\n');
    let mut next = || lines.next().unwrap_or_default().trim().to_string();
    let (code, key, why) = (next(), next(), next());
    let told = format!("{why}; it is tried again later");
    Some((key, Failure::error(code.parse().unwrap_or(1), told)))
}

/// Notes a refusal, and gives it back.
pub fn note(root: &Root, what: &str, key: &str, error: Error) -> Error {
    let text = format!("{}\n{key}\n{error:#}\n", exit::code_of(&error));
    let kept = file::write(&path(root, what), text.as_bytes(), 0o600);
    match kept {
        Ok(()) => error,
        Err(other) => error.context(format!("{other:#}")),
    }
}

/// It is as asked by now: whatever was refused does not matter any more.
pub fn forget(root: &Root, what: &str) {
    let _ = std::fs::remove_file(path(root, what));
}
