//! Signals to stop, noticed between two steps of a command.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result};
use edge_common::exit::Failure;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Exit code after a signal to stop.
const INTERRUPTED: u8 = 130;

static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Notes signals to stop instead of ending at once, so that daemons and virtual
/// machines are stopped first. Child processes keep the default action.
pub(crate) fn notice() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&STOP)).context("noticing signals")?;
    }
    Ok(())
}

/// Fails once a signal to stop has been noticed. To be called in every loop that
/// waits.
pub(crate) fn check() -> Result<()> {
    if STOP.load(Ordering::Relaxed) {
        return Err(Failure::error(INTERRUPTED, "interrupted"));
    }
    Ok(())
}
