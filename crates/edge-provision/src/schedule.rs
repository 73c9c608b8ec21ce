//! Schedule of the attempts after a rejection: again after 5, 15 and 60 minutes, and
//! then every hour without end.
//!
//! A rejection may pass: the hook timed out, an operator admits the device later, a
//! template is corrected. Nobody is at the device to restart it. On the other hand a
//! rejected request uses up the quota of the whole fleet, so the waits grow. The timer
//! of the unit runs the program more often than that, with `--scheduled`.

use std::time::Duration;

use anyhow::Result;
use edge_common::exit::{self, Failure};
use edge_common::{Root, file, log};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::exit_code::{CLAIM, REJECTED, TLS};

/// File with [`Rejections`]. It is in memory, so that a restart of the device, which is
/// what an engineer does, attempts at once.
const FILE: &str = "/run/edge-ai/provision/rejections.json";
/// Size limit of [`FILE`], in bytes.
const MAX_BYTES: u64 = 1024;
/// Waits after the first, second, and every further rejection, in seconds.
const WAITS: [u64; 3] = [5 * 60, 15 * 60, 60 * 60];

/// Rejections since the start of the device: the contents of [`FILE`].
#[derive(Debug, Default, Serialize, Deserialize)]
struct Rejections {
    /// Number of runs that ended with a rejection.
    count: u32,
    /// Earliest time of the next attempt, in seconds of `CLOCK_BOOTTIME`. The system
    /// clock is not used, because it may be set in between.
    next: u64,
    /// Exit code of the last rejection.
    code: u8,
}

/// Returns the seconds since the start of the device.
fn now() -> u64 {
    u64::try_from(clock_gettime(ClockId::Boottime).tv_sec).unwrap_or(0)
}

/// Returns the file's content; absent or damaged counts as no rejection.
fn load(root: &Root) -> Rejections {
    let text = file::read(&root.path(FILE), MAX_BYTES).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Fails with the exit code of the last rejection if the next attempt is not due yet.
pub(crate) fn check(root: &Root) -> Result<()> {
    let rejections = load(root);
    // A damaged file must not postpone the next attempt beyond the longest wait.
    let left = rejections.next.saturating_sub(now()).min(WAITS[2]);
    if left == 0 {
        return Ok(());
    }
    Err(Failure::error(
        rejections.code,
        format_args!(
            "rejected {} times, next attempt in {} min; run edge-provision to attempt now",
            rejections.count,
            left.div_ceil(60)
        ),
    ))
}

/// Updates the schedule by the result of a run and returns the result.
pub(crate) fn note(root: &Root, result: Result<()>) -> Result<()> {
    let code = result.as_ref().err().map_or(0, exit::code_of);
    let noted = match code {
        0 => file::remove(&root.path(FILE)).map(drop),
        CLAIM | REJECTED | TLS => postpone(root, code),
        _ => Ok(()),
    };
    if let Err(error) = noted {
        log::warn(format_args!("{error:#}"));
    }
    result
}

fn postpone(root: &Root, code: u8) -> Result<()> {
    let count = load(root).count.saturating_add(1);
    let rejections = Rejections {
        count,
        next: now() + wait(count).as_secs(),
        code,
    };
    let path = root.path(FILE);
    if let Some(directory) = path.parent() {
        file::create_directory(directory, 0o755)?;
    }
    file::write(&path, &serde_json::to_vec(&rejections)?, 0o644)
}

/// Returns the wait after this many rejections.
fn wait(count: u32) -> Duration {
    let index = usize::try_from(count.saturating_sub(1)).unwrap_or(usize::MAX);
    Duration::from_secs(WAITS[index.min(WAITS.len() - 1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_an_hour_and_have_no_end() {
        let minutes = [1, 2, 3, 4, 1000, u32::MAX].map(|count| wait(count).as_secs() / 60);
        assert_eq!(minutes, [5, 15, 60, 60, 60, 60]);
    }

    #[test]
    fn a_rejection_postpones_and_success_resets() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        check(&root).unwrap();
        let rejected = || Err(Failure::error(REJECTED, "no"));
        note(&root, rejected()).unwrap_err();
        let error = check(&root).unwrap_err();
        assert_eq!(exit::code_of(&error), REJECTED);
        assert!(
            error.to_string().contains("next attempt in 5 min"),
            "{error}"
        );
        note(&root, rejected()).unwrap_err();
        let error = check(&root).unwrap_err().to_string();
        assert!(error.contains("next attempt in 15 min"), "{error}");
        // A lost network changes nothing.
        note(&root, Err(Failure::error(5, "no network"))).unwrap_err();
        assert_eq!(load(&root).count, 2);
        note(&root, Ok(())).unwrap();
        check(&root).unwrap();
    }

    #[test]
    fn a_damaged_file_does_not_end_the_attempts() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        let path = root.path(FILE);
        file::create_directory(path.parent().unwrap(), 0o755).unwrap();
        for text in ["", "{", "[]", r#"{"count":-1}"#, &"x".repeat(2000)] {
            file::write(&path, text.as_bytes(), 0o644).unwrap();
            check(&root).unwrap();
        }
        let far = format!(r#"{{"count":9,"next":{},"code":6}}"#, u64::MAX);
        file::write(&path, far.as_bytes(), 0o644).unwrap();
        let error = check(&root).unwrap_err().to_string();
        assert!(error.contains("in 60 min"), "{error}");
    }
}
