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
    let path = path(root, what);
    let age = std::fs::metadata(&path)
        .and_then(|m| m.modified())
        .map(|m| SystemTime::now().duration_since(m).unwrap_or_default());
    let Ok(text) = file::read_text(&path, LARGEST) else {
        return Ok(());
    };
    let mut lines = text.splitn(3, '\n');
    let mut next = || lines.next().unwrap_or_default().trim();
    let (code, old, why) = (next(), next(), next());
    if old != key || age.is_ok_and(|age| age >= LATER) {
        return Ok(());
    }
    let code = code.parse().unwrap_or(1);
    Err(Failure::error(
        code,
        format_args!("{why}; it is tried again later"),
    ))
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
