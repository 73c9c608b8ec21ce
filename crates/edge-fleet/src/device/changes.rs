//! Changes of apps: edge-docker replaces, restores and removes them.

use std::time::Duration;

use anyhow::Result;
use edge_common::command::Completed;
use edge_common::contract::suffix;
use edge_common::{Root, log};

use super::apps::Apps;
use super::docker::{self, Outcome};
use super::{open, sets};
use crate::converge::{Deployed, Obstacle, Purpose, Refused, Verdict};
use crate::login::Source;

/// Time limit of a pull: the engine continues with complete layers alone.
const PULL: Duration = Duration::from_secs(12 * 3600);
/// Time limit of a deployment: the longest trial, and the steps before and after it.
const REPLACE: Duration = Duration::from_secs(90 * 60);
/// Time limit of stopping and removing an app.
const REMOVE: Duration = Duration::from_secs(300);
/// Text of the engine and the kernel for a full disk.
const NO_SPACE: &str = "no space left on device";

/// Pulls the image of an app. One that is on the device serves without a network if `kept`
/// permits it.
///
/// # Errors
/// edge-docker cannot be started.
pub(crate) fn fetch(
    root: &Root,
    logins: &mut Source,
    (set, repository): (&str, &str),
    app: &str,
    version: &Deployed,
    kept: bool,
) -> Result<Result<(), Obstacle>> {
    let tag = format!("{app}-{}", version.version);
    let login = match logins.of(repository, set) {
        Ok(login) => login,
        Err(obstacle) if !kept => return Ok(Err(obstacle)),
        Err(_) => None,
    };
    let args = ["pull", "--quiet", "--set", set, &tag];
    let pulled = docker::run_with_login(root, &args, login, PULL)?;
    let obstacle = match docker::outcome(&pulled) {
        Outcome::Done => return permitted(root, set, &tag),
        _ if pulled.output().contains(NO_SPACE) => refused("disk", &pulled),
        Outcome::Refused => Obstacle::Refused(sets::refused(&pulled)),
        _ => {
            logins.forget();
            Obstacle::Offline(pulled.summary())
        }
    };
    if kept && matches!(obstacle, Obstacle::Offline(_)) && permitted(root, set, &tag)?.is_ok() {
        return Ok(Ok(()));
    }
    Ok(Err(obstacle))
}

/// Asks the policy whether an app may be replaced, before anything stops.
fn permitted(root: &Root, set: &str, tag: &str) -> Result<Result<(), Obstacle>> {
    let args = ["replace", "--check", "--set", set, tag];
    let checked = docker::run(root, &args, REMOVE)?;
    Ok(match docker::outcome(&checked) {
        Outcome::Done => Ok(()),
        Outcome::Refused => Err(refused("policy", &checked)),
        _ => Err(Obstacle::Offline(checked.summary())),
    })
}

fn refused(rule: &str, completed: &Completed) -> Obstacle {
    Obstacle::Refused(Refused {
        rule: rule.into(),
        message: completed.summary(),
    })
}

/// Replaces an app. To go back, the earlier container itself is restored if it is still
/// there: it runs without a network and without an image that was removed.
///
/// # Errors
/// edge-docker cannot be started.
pub(crate) fn replace(
    root: &Root,
    apps: &Apps,
    app: &str,
    version: &Deployed,
    set: Option<&str>,
    purpose: Purpose,
) -> Result<Verdict> {
    let is_kept = || {
        let kept = apps.previous.get(app);
        kept.is_some_and(|kept| kept.digest == version.digest)
    };
    let tag = format!("{app}-{}", version.version);
    let exact = format!("{tag}@{}", version.digest);
    let args = match set {
        _ if purpose == Purpose::Back && is_kept() => vec!["rollback", app],
        Some(set) => vec!["replace", "--set", set, &tag],
        None => vec!["replace", &exact],
    };
    log::info(format_args!("{app}: {} {}", args[0], version.version));
    let done = docker::run(root, &args, REPLACE)?;
    verdict(root, app, &done)
}

fn verdict(root: &Root, app: &str, done: &Completed) -> Result<Verdict> {
    let failed = |reason: &str, message: String| {
        let reason = reason.into();
        Ok(Verdict::Failed { reason, message })
    };
    match docker::outcome(done) {
        Outcome::Done => Ok(Verdict::Done),
        Outcome::Failed => {
            let last = open::deployments(root, Some(app)).ok();
            let last = last.and_then(|mut list| list.pop());
            failed(
                "health",
                last.map_or_else(|| done.summary(), |l| l.failure()),
            )
        }
        Outcome::Refused => failed("refused", done.summary()),
        Outcome::Offline => failed("fetch", done.summary()),
        Outcome::Late => failed("timeout", done.summary()),
        Outcome::Broken => failed("error", done.summary()),
    }
}

/// Stops and removes an app with its earlier version; its data stay.
///
/// # Errors
/// edge-docker cannot be started.
pub(crate) fn remove(root: &Root, apps: &Apps, app: &str) -> Result<Verdict> {
    log::info(format_args!("{app}: removing it"));
    let previous = format!("{app}{}", suffix::PREVIOUS);
    let mut commands = Vec::new();
    if apps.present.contains_key(app) {
        commands.extend([vec!["stop", app], vec!["rm", app]]);
    }
    if apps.previous.contains_key(app) {
        commands.push(vec!["rm", &previous]);
    }
    for command in commands {
        let done = docker::run(root, &command, REMOVE)?;
        if !done.success() {
            return verdict(root, app, &done);
        }
    }
    Ok(Verdict::Done)
}
