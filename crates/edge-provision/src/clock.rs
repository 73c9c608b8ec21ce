//! Wait for a valid clock. TLS needs one, a board without a battery starts in 1970, and
//! one with a damaged clock at any time.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use edge_common::exit::Failure;
use edge_common::log;

use crate::claim::Claim;
use crate::exit_code::CLOCK;
use crate::pki;

/// Longest wait for the clock.
const MAX_WAIT: Duration = Duration::from_secs(120);
/// Earliest valid time, 2026-01-01 in seconds of Unix time: this program did not exist
/// before. A claim certificate that began long ago would not tell a clock of 2025 apart.
const EARLIEST: Duration = Duration::from_secs(1_767_225_600);

/// Waits until the claim certificate is valid by the clock; with exit code 4 after two
/// minutes or at `end`.
pub(crate) fn wait(claim: &Claim, end: Instant) -> Result<()> {
    // Instants come from CLOCK_MONOTONIC, which no step of the clock moves.
    let end = end.min(Instant::now() + MAX_WAIT);
    let mut logged = false;
    while let Some(reason) = invalid(claim)? {
        if Instant::now() >= end {
            return Err(Failure::error(CLOCK, reason));
        }
        if !logged {
            log::info(format_args!("waiting for the clock: {reason}"));
            logged = true;
        }
        // Polled: `time-sync.target` is reached even where nothing synchronises, and the
        // certificate may become valid without a step of the clock.
        let left = end.saturating_duration_since(Instant::now());
        std::thread::sleep(left.min(Duration::from_secs(1)));
    }
    Ok(())
}

/// Returns the reason why the clock is invalid, if it is.
fn invalid(claim: &Claim) -> Result<Option<&'static str>> {
    let now = SystemTime::now();
    let early = now < SystemTime::UNIX_EPOCH + EARLIEST || pki::not_yet_valid(&claim.parsed)?;
    if early {
        return Ok(Some(
            "the clock is not set, it is before this image was made: is time synchronisation running?",
        ));
    }
    let late = pki::expired(&claim.parsed)?;
    Ok(late.then_some(
        "the clock is past the end of the claim certificate: it is wrong, or the image is too old",
    ))
}
