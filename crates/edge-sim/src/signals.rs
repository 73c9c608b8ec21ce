//! SIGINT, SIGTERM and SIGHUP, which stop a command between two of its steps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result};
use edge_common::exit::Failure;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Exit code after SIGINT, SIGTERM or SIGHUP.
const INTERRUPTED: u8 = 130;

static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Installs handlers that only record SIGINT, SIGTERM and SIGHUP, so that the
/// command can stop daemons and virtual machines before it ends. Child processes
/// keep the default action.
pub(crate) fn notice() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&STOP)).context("noticing signals")?;
    }
    Ok(())
}

/// Returns an error if a stop signal was recorded. Every loop that waits must call
/// this function.
pub(crate) fn check() -> Result<()> {
    if STOP.load(Ordering::Relaxed) {
        return Err(Failure::error(INTERRUPTED, "interrupted"));
    }
    Ok(())
}
