//! Arguments that all deployments have: name, timeout, `--force`.

use std::time::Duration;

use anyhow::Result;
use edge_common::contract::suffix;
use edge_docker_policy::cli::values;
use edge_docker_policy::refusal::refuse;
use edge_signature::valid_app;

/// Default of `--timeout`: time in seconds within which a new container has to work.
const DEFAULT_TIMEOUT_SECONDS: i64 = 120;
/// Option of `replace`: deploys although the same version runs.
const FORCE: &str = "--force";

/// Beginning of the arguments of a deployment: `NAME [--timeout SECS] [--force] …`.
pub(super) struct Head<'a, 'b> {
    /// Name of the app.
    pub(super) name: &'b str,
    /// Time within which the new container has to work.
    pub(super) limit: Duration,
    /// Whether `--force` is given.
    pub(super) force: bool,
    /// Arguments after these.
    pub(super) rest: &'a [&'b str],
}

/// Parses the beginning of the arguments of the command `verb`.
pub(super) fn parse_head<'a, 'b>(verb: &str, args: &'a [&'b str]) -> Result<Head<'a, 'b>> {
    let Some((name, mut rest)) = args.split_first() else {
        return Err(refuse(format_args!("{verb} needs the name of an app")));
    };
    require_app_name(verb, name)?;
    let (mut limit, mut force) = (None, false);
    loop {
        if let Some((text, more)) = timeout(rest) {
            limit = Some(text);
            rest = more;
        } else if let [FORCE, more @ ..] = rest {
            force = true;
            rest = more;
        } else {
            break;
        }
    }
    Ok(Head {
        name,
        limit: trial_time(limit)?,
        force,
        rest,
    })
}

/// Refuses a name that cannot be that of an app.
pub(super) fn require_app_name(verb: &str, name: &str) -> Result<()> {
    // With a reserved suffix, for example `-previous`, a deployment names the other
    // versions of an app.
    if valid_app(name) && !suffix::RESERVED.iter().any(|s| name.ends_with(s)) {
        return Ok(());
    }
    Err(refuse(format_args!(
        "{verb} {name:?}: must be the name of an app: a-z, 0-9 and -, not ending in {}",
        suffix::RESERVED.join(", ")
    )))
}

/// Parses the value of `--timeout`, in seconds; `None` is the default.
pub(super) fn trial_time(text: Option<&str>) -> Result<Duration> {
    let seconds = match text {
        Some(text) => values::number("timeout", text, 1..=3600)?,
        None => DEFAULT_TIMEOUT_SECONDS,
    };
    Ok(Duration::from_secs(seconds.unsigned_abs()))
}

fn timeout<'a, 'b>(args: &'a [&'b str]) -> Option<(&'b str, &'a [&'b str])> {
    let (first, rest) = args.split_first()?;
    if let Some(text) = first.strip_prefix("--timeout=") {
        return Some((text, rest));
    }
    let (text, more) = rest.split_first()?;
    (*first == "--timeout").then_some((*text, more))
}
