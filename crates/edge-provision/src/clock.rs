//! Wait until the system clock is plausible, because TLS checks the dates of
//! certificates. A board without a clock battery starts in 1970, and one with a damaged
//! clock at any time.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use edge_common::exit::Failure;
use edge_common::log;

use crate::claim::Claim;
use crate::exit_code::CLOCK;
use crate::pki;

/// Longest wait for a plausible clock, after which provisioning fails.
const MAX_WAIT: Duration = Duration::from_secs(120);
/// Earliest plausible time, 2026-01-01 as Unix time: this program did not exist before.
/// The start date of the claim certificate is not sufficient, because it may be years
/// ago.
const EARLIEST: Duration = Duration::from_secs(1_767_225_600);

/// Waits until the claim certificate is valid according to the system clock. Fails with
/// exit code 4 after two minutes or at `end`.
pub(crate) fn wait(claim: &Claim, end: Instant) -> Result<()> {
    // `Instant` uses CLOCK_MONOTONIC, which does not change when the system clock is
    // set.
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
        // The clock is polled: `time-sync.target` is reached even if nothing
        // synchronises the clock, and the certificate may become valid without the
        // clock being set.
        let left = end.saturating_duration_since(Instant::now());
        std::thread::sleep(left.min(Duration::from_secs(1)));
    }
    Ok(())
}

/// Returns the reason why the clock is not plausible, or `None` if it is plausible.
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
