//! Identity that was valid and that the cloud refuses now: an operator deactivated the
//! certificate, or the device image belongs to another account.
//!
//! After a day of refusals, and then once a day, another identity is requested like in
//! a renewal. The cloud admits it by a proof of possession, which holds only against an
//! active certificate, or by an operator's window; nobody has to be at the device. A
//! device that is switched off every night has to get there as well, so the times are on
//! `/data`.

use std::time::Instant;

use anyhow::{Context, Result};
use edge_common::contract::path::REFUSED;
use edge_common::refusal::Connection;
use edge_common::{Root, boot, file, known_time, log};
use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::renewal;

/// Size limit of [`REFUSED`], in bytes.
const MAX_BYTES: u64 = 4096;
/// Time after which another identity is requested, in seconds: a day.
const DAY: u64 = 24 * 3600;
/// Times before this one, 2026-01-01, come from a clock that was not set.
const EARLIEST: u64 = 1_767_225_600;

/// Refusals of the identity in use: the contents of [`REFUSED`]. The fields are those of
/// the last release as well, so unknown ones are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Refusals {
    v: u32,
    /// Time of the first refusal, in seconds of Unix time.
    since: u64,
    /// Time of the last request for another identity, in seconds of Unix time.
    asked: Option<u64>,
    #[serde(flatten)]
    other: serde_json::Map<String, serde_json::Value>,
}

/// Notes on `/data` what edge-heartbeat noted in memory, and requests another identity
/// if that is due.
pub(crate) fn run(root: &Root, device: &Device, end: Instant) -> Result<()> {
    let Some(connection) = Connection::load(root) else {
        return Ok(());
    };
    let Some(first) = connection.refused_since else {
        return file::remove(&root.path(REFUSED)).map(drop);
    };
    let now = known_time::clock();
    if now < EARLIEST {
        return Ok(());
    }
    let before = load(root);
    let mut refusals = before.clone().unwrap_or(Refusals {
        v: 1,
        since: first.clamp(EARLIEST, now),
        asked: None,
        other: serde_json::Map::new(),
    });
    // The clock was set back: the day begins again.
    refusals.since = refusals.since.min(now);
    let due = next(&refusals, now);
    if due {
        // Written before the request, so that a run that is killed does not ask again.
        refusals.asked = Some(now);
    }
    if before.as_ref() != Some(&refusals) {
        save(root, &refusals)?;
    }
    if !due {
        return Ok(());
    }
    log::warn("the cloud has refused the identity for a day: requesting another one");
    boot::recorded(root, "edge-provision-refused", || {
        renewal::run(root, device, None, end)
    })?;
    file::remove(&root.path(REFUSED)).map(drop)
}

/// Returns whether another identity is to be requested at `now`.
fn next(refusals: &Refusals, now: u64) -> bool {
    // A request from the future comes from a clock that was wrong.
    let asked = refusals.asked.filter(|asked| *asked <= now);
    let last = asked.unwrap_or(0).max(refusals.since);
    now - last >= DAY
}

fn load(root: &Root) -> Option<Refusals> {
    let text = file::read(&root.path(REFUSED), MAX_BYTES).ok()?;
    serde_json::from_slice(&text).ok()
}

fn save(root: &Root, refusals: &Refusals) -> Result<()> {
    let text = serde_json::to_vec(refusals).context("writing the refusals")?;
    file::write(&root.path(REFUSED), &text, 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_identity_is_requested_once_a_day() {
        let refusals = |since, asked| Refusals {
            v: 1,
            since,
            asked,
            other: serde_json::Map::new(),
        };
        for (since, asked, now, due) in [
            (0, None, DAY - 1, false),
            (0, None, DAY, true),
            (0, Some(DAY), DAY + 1, false),
            (0, Some(DAY), 2 * DAY - 1, false),
            (0, Some(DAY), 2 * DAY, true),
            // A request that the clock then dates to the future.
            (0, Some(9 * DAY), DAY, true),
            (DAY, None, DAY, false),
        ] {
            assert_eq!(
                next(&refusals(since, asked), now),
                due,
                "{since} {asked:?} {now}"
            );
        }
    }
}
