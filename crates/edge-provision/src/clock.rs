//! TLS needs a clock; a board without a battery starts in 1970.

use std::time::{Duration, Instant};

use anyhow::Result;
use edge_common::exit::Failure;
use edge_common::log;

use crate::claim::Claim;
use crate::{CLOCK, pki};

/// Longest wait for the clock.
const LIMIT: Duration = Duration::from_secs(120);

/// Waits until the clock is past the begin of the claim certificate, which was
/// made before the image. Nothing announces a step of the clock to everyone,
/// so it is looked at once a second.
///
/// # Errors
/// Still before it after two minutes, or at `end`: exit code 4.
pub fn wait(claim: &Claim, end: Instant) -> Result<()> {
    let end = end.min(Instant::now() + LIMIT);
    let mut told = false;
    while pki::not_yet_valid(&claim.parsed)? {
        if Instant::now() >= end {
            return Err(Failure::error(
                CLOCK,
                "the clock is before the begin of the claim certificate: is time synchronisation running?",
            ));
        }
        if !told {
            log::info("waiting for the clock");
            told = true;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}
