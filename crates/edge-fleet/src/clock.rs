//! Clocks of a run: time that has certainly passed, time since the boot, local time.

use std::time::Duration;

use anyhow::{Context, Result};
use edge_common::command::run_within;
use edge_common::{Root, boot, hex, known_time};
use rustix::time::{ClockId, clock_gettime};

use crate::converge::{LocalTime, Moment};

/// Program that knows the time zone of the device.
const DATE: &str = "/bin/date";
/// Time limit of that program.
const DATE_LIMIT: Duration = Duration::from_secs(10);
/// Length of the ID of a run, in bytes.
const ID_BYTES: usize = 16;

/// Returns another ID for each run.
pub(crate) fn run_id() -> Result<String> {
    let mut bytes = [0; ID_BYTES];
    openssl::rand::rand_bytes(&mut bytes).context("drawing a random number")?;
    Ok(hex::encode(bytes))
}

/// Returns the seconds of Unix time that have certainly passed: a clock that was set back
/// neither prolongs a hold nor revives an expired set.
pub(crate) fn now(root: &Root) -> u64 {
    known_time::clock().max(known_time::newest(root))
}

/// Returns the present moment of this boot. Suspended time counts.
pub(crate) fn moment(root: &Root) -> Moment {
    let since = clock_gettime(ClockId::Boottime);
    Moment {
        boot: boot::id(root),
        at: u64::try_from(since.tv_sec).unwrap_or(0),
    }
}

/// Returns the local time; `None` if the clock is behind a time that has certainly passed,
/// or the time zone cannot be applied.
pub(crate) fn local(root: &Root) -> Option<LocalTime> {
    if known_time::clock() < known_time::newest(root) {
        return None;
    }
    let mut date = root.command(DATE);
    let printed = run_within(date.arg("+%w %H %M"), "", DATE_LIMIT, Duration::ZERO).ok()?;
    let mut numbers = printed.stdout.split_whitespace().map(str::parse);
    let mut number = || numbers.next()?.ok();
    LocalTime::new(number()?, number()?, number()?)
}
