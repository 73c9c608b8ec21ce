//! Options of the health check.

use anyhow::Result;

use crate::cli::quantities::duration;
use crate::cli::values::{bad, number};
use crate::create_body::Health;
use crate::limits::MIN_HEALTH_NANOSECONDS;
use crate::refusal::refuse;

const CONFLICT: &str = "--no-healthcheck and --health-… exclude each other";

/// Applies the option `--no-healthcheck` or `--health-…` to the health check.
pub(crate) fn apply(health: &mut Health, option: &str, text: &str) -> Result<()> {
    let (disabled, configured) = (health.test == ["NONE"], *health != Health::default());
    match option {
        "no-healthcheck" if text == "false" => return Ok(()),
        "no-healthcheck" if configured && !disabled => return Err(refuse(CONFLICT)),
        // `NONE` disables the health check in the API, also the one of the image.
        "no-healthcheck" => health.test = vec!["NONE".into()],
        _ if disabled => return Err(refuse(CONFLICT)),
        // As in docker, an empty command keeps the one of the image.
        "health-cmd" if text.is_empty() => health.test.clear(),
        // `CMD-SHELL` runs the command by the shell in the container, not by one of the
        // device. `NONE` is the name of a program here, not a keyword.
        "health-cmd" => health.test = vec!["CMD-SHELL".into(), text.into()],
        "health-interval" => health.interval = time(option, text)?,
        "health-timeout" => health.timeout = time(option, text)?,
        "health-start-period" => health.start_period = duration(option, text)?,
        "health-start-interval" => health.start_interval = time(option, text)?,
        _ => health.retries = number(option, text, 0..=1000)?,
    }
    Ok(())
}

fn time(option: &str, text: &str) -> Result<i64> {
    let time = duration(option, text)?;
    if !is_time(time) {
        return Err(bad(option, text, "0 or at least 100ms"));
    }
    Ok(time)
}

/// Returns whether an interval or timeout is the image's (0) or not too short.
pub(crate) fn is_time(nanoseconds: i64) -> bool {
    nanoseconds == 0 || nanoseconds >= MIN_HEALTH_NANOSECONDS
}
