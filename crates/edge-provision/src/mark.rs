//! The end of the bootstrap, and what is to be seen of it.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use edge_common::{Root, file, log};

use crate::device::Identity;
use crate::state;

/// RFC 3339 time at which the device was provisioned.
const MARKER: &str = "/data/.provisioned";

/// Writes the marker once, and only for a valid identity.
///
/// # Errors
/// No valid identity, or `/data` cannot be written.
pub fn mark(root: &Root, thing: &Identity) -> Result<()> {
    state::committed(root, &thing.name)?;
    let path = root.path(MARKER);
    if path.exists() {
        return Ok(());
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("reading the clock")?;
    file::write(
        &path,
        format!("{}\n", rfc3339(now.as_secs())).as_bytes(),
        0o644,
    )?;
    log::info("the device is provisioned");
    Ok(())
}

/// Prints what is there.
///
/// # Errors
/// No valid identity: exit code 1, with the reason.
pub fn status(root: &Root, thing: &Identity) -> Result<()> {
    println!("thing      {}", thing.name);
    let marker = file::read_text(&root.path(MARKER), 64).unwrap_or_else(|_| "no".into());
    println!("marked     {}", log::printable(&marker));
    let config = state::committed(root, &thing.name)?;
    println!("endpoint   {}", config.endpoint);
    println!("identity   valid");
    Ok(())
}

/// Seconds of Unix time as `2026-11-23T19:18:00Z`, by the civil calendar.
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March here, so that the leap day is the last of a year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest % 3_600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_civil() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_795_461_480), "2026-11-23T19:18:00Z");
        assert_eq!(rfc3339(4_107_542_399), "2100-02-28T23:59:59Z");
    }
}
