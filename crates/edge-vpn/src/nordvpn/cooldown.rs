//! Cooldown after a request that NordVPN rejected or that failed at NordVPN's servers.
//! NordVPN limits logins, devices and changes. A device that repeats a failed request
//! every few seconds, or again at each boot, would use up the limit of the whole account;
//! so the record is kept on `/data`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Error, Result};
use edge_common::backoff::random_fraction;
use edge_common::exit::{self, Failure};
use edge_common::{Root, file, time};
use serde::{Deserialize, Serialize};

use super::DIRECTORY;
use crate::cause::Cause;

/// Requests that are recorded.
pub(super) const REQUESTS: [&str; 3] = ["login", "meshnet", "nickname"];
/// First pause, if the cause may pass by itself. Each further failure doubles it.
const FIRST: Duration = Duration::from_secs(300);
/// Longest pause, and the first one where another attempt uses up a limit.
const LONGEST: Duration = Duration::from_secs(6 * 3600);
/// Longest pause while NordVPN's servers do not answer.
const LONGEST_OFFLINE: Duration = Duration::from_secs(900);
/// Size limit of a record, in bytes.
const MAX_RECORD_BYTES: u64 = 4096;
/// Length limit of the message in a record, in characters.
const MAX_MESSAGE_CHARS: usize = 500;

/// Failures of a request since its last success.
#[derive(Serialize, Deserialize)]
struct Record {
    /// Version of the format.
    v: u32,
    /// Key of the request, for example the hash of the token. Another one may be
    /// requested at once.
    key: String,
    /// Exit code of the last failure.
    code: u8,
    /// Message of the last failure.
    message: String,
    /// Number of failures.
    failures: u32,
    /// Unix time of the next request.
    next: u64,
}

fn path(root: &Root, request: &str) -> PathBuf {
    root.path(format!("{DIRECTORY}/failed-{request}.json"))
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

fn record(root: &Root, request: &str) -> Option<Record> {
    let text = file::read(&path(root, request), MAX_RECORD_BYTES).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Returns the error of the last `request` with the same `key` if its cooldown has not
/// ended. A request with another key, such as a new token, is possible at once.
pub(super) fn check(root: &Root, request: &str, key: &str) -> Result<()> {
    match load(root, request) {
        Some((old, error)) if old == key => Err(error),
        _ => Ok(()),
    }
}

/// Returns key and error of a failed request, or `None` if no cooldown is in effect.
pub(super) fn load(root: &Root, request: &str) -> Option<(String, Error)> {
    let record = record(root, request)?;
    // No pause is that long, so the clock was wrong then or is now.
    let longest = LONGEST.as_secs() * 2;
    let left = record.next.checked_sub(now()).filter(|left| *left > 0)?;
    if left > longest {
        return None;
    }
    let message = format!(
        "{}; it is tried again later, after {}",
        record.message,
        time::rfc3339(record.next)
    );
    Some((record.key, Failure::error(record.code, message)))
}

/// Records that `request` failed, which starts its cooldown, and returns the error.
pub(super) fn start(root: &Root, request: &str, key: &str, error: Error) -> Error {
    let old = record(root, request).filter(|old| old.key == key);
    let failures = old.map_or(0, |old| old.failures).saturating_add(1);
    let code = exit::code_of(&error);
    // With jitter, because devices of one account fail together.
    let pause = pause(request, code, failures).mul_f64(1.0 + random_fraction() / 4.0);
    let message: String = format!("{error:#}")
        .chars()
        .take(MAX_MESSAGE_CHARS)
        .collect();
    let record = Record {
        v: 1,
        key: key.into(),
        code,
        message,
        failures,
        next: now() + pause.as_secs(),
    };
    let written = serde_json::to_vec(&record)
        .context("recording the failure")
        .and_then(|text| file::write(&path(root, request), &text, 0o600));
    match written {
        Ok(()) => error,
        Err(other) => error.context(format!("{other:#}")),
    }
}

fn pause(request: &str, code: u8, failures: u32) -> Duration {
    let scarce = [Cause::Token, Cause::AccountFull, Cause::RateLimit];
    if request == "nickname" || scarce.iter().any(|cause| cause.code() == code) {
        return LONGEST;
    }
    let factor = 1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
    // A network that comes back is used within a quarter of an hour.
    let longest = if code == Cause::Network.code() {
        LONGEST_OFFLINE
    } else {
        LONGEST
    };
    FIRST.saturating_mul(factor).min(longest)
}

/// Ends the cooldown of `request`, after its success or because it is not needed any
/// more.
pub(super) fn clear(root: &Root, request: &str) -> Result<()> {
    file::remove(&path(root, request)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_survive_a_reboot() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        file::create_directory(&root.path(DIRECTORY), 0o700).unwrap();
        let fail = |key: &str| {
            let before = now();
            start(&root, "meshnet", key, Cause::Registration.error("no"));
            record(&root, "meshnet").unwrap().next - before
        };
        let pauses: Vec<_> = (0..40).map(|_| fail("a")).collect();
        for (number, pause) in pauses.iter().enumerate() {
            let least = (300_u64 << number.min(20)).min(21_600);
            assert!(
                (least..=least * 5 / 4 + 2).contains(pause),
                "{number}: {pause}"
            );
        }
        let error = check(&root, "meshnet", "a").unwrap_err();
        assert_eq!(exit::code_of(&error), Cause::Registration.code());
        assert!(check(&root, "meshnet", "b").is_ok());
        assert!(fail("b") < 400);
        clear(&root, "meshnet").unwrap();
        clear(&root, "meshnet").unwrap();
        assert!(check(&root, "meshnet", "b").is_ok());
        assert_eq!(pause("login", Cause::Token.code(), 1), LONGEST);
    }

    #[test]
    fn damaged_records_and_wrong_clocks_end_the_cooldown() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        file::create_directory(&root.path(DIRECTORY), 0o700).unwrap();
        let far = now() + 1_000_000;
        let record = |next: u64| {
            format!(
                r#"{{"v":1,"key":"a","code":13,"message":"m","failures":2,"next":{next},"later":0}}"#
            )
        };
        for text in [
            "",
            "{",
            "null",
            "[]",
            &record(far),
            &record(1),
            &"x".repeat(9000),
        ] {
            file::write(&path(&root, "login"), text.as_bytes(), 0o600).unwrap();
            assert!(check(&root, "login", "a").is_ok(), "{text}");
        }
        file::write(&path(&root, "login"), record(now() + 60).as_bytes(), 0o600).unwrap();
        assert!(check(&root, "login", "a").is_err());
    }
}
