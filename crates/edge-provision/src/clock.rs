//! TLS needs a clock; a board without a battery starts in 1970, and a broken
//! one anywhere.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use edge_common::exit::Failure;
use edge_common::log;

use crate::claim::Claim;
use crate::{CLOCK, pki};

/// Longest wait for the clock.
const LIMIT: Duration = Duration::from_secs(120);
/// 2026-01-01: no device runs this program earlier, in seconds of Unix time.
const FLOOR: Duration = Duration::from_secs(1_767_225_600);

/// Waits until the clock is one at which the claim certificate is valid.
/// Nothing announces a step of the clock to everyone, so it is looked at once
/// a second.
///
/// # Errors
/// Still out of bounds after two minutes, or at `end`: exit code 4.
pub fn wait(claim: &Claim, end: Instant) -> Result<()> {
    let end = end.min(Instant::now() + LIMIT);
    let mut told = false;
    while let Some(why) = trouble(claim)? {
        if Instant::now() >= end {
            return Err(Failure::error(CLOCK, why));
        }
        if !told {
            log::info(format_args!("waiting for the clock: {why}"));
            told = true;
        }
        let left = end.saturating_duration_since(Instant::now());
        std::thread::sleep(left.min(Duration::from_secs(1)));
    }
    Ok(())
}

/// What is wrong with the clock.
fn trouble(claim: &Claim) -> Result<Option<&'static str>> {
    let now = SystemTime::now();
    let early = now < SystemTime::UNIX_EPOCH + FLOOR || pki::not_yet_valid(&claim.parsed)?;
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
