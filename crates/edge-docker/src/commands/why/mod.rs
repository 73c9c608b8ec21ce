//! `why`: says in plain words why an app does not run, and what to type next. An engineer
//! who may only look cannot read the journal, and production has no root.

mod reasons;
mod sources;
#[cfg(test)]
mod tests;

use std::io::{ErrorKind, Write};

use anyhow::{Context as _, Result, bail};
use edge_common::Root;
use edge_common::log::printable;
use edge_docker_policy::cli::args::Parsed;

use self::reasons::{Reason, explain, of_unit};
use self::sources::Sources;

/// Carries out `why [APP]`.
pub(super) async fn run(root: &Root, parsed: &Parsed<'_>) -> Result<()> {
    let sources = Sources::read(root).await;
    let lines = match parsed.arguments[..] {
        [app] => one(app, &sources)?,
        _ => all(&sources),
    };
    let mut out = std::io::stdout().lock();
    for line in lines {
        match writeln!(out, "{}", printable(&line)) {
            // A pager that was left.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            result => result.context("writing to standard output")?,
        }
    }
    Ok(())
}

/// Returns the explanation of one app.
fn one(app: &str, sources: &Sources) -> Result<Vec<String>> {
    let mut lines = of_device(sources, false);
    let Some(answer) = explain(app, sources) else {
        let known = match sources.apps() {
            apps if apps.is_empty() => "this device has no app".into(),
            apps => format!("this device has {}", apps.join(", ")),
        };
        // An engine that is down knows no app: nothing can be said against the name.
        if sources.engine_error.is_some() {
            return Ok(lines);
        }
        bail!("no app {app}, and no trace of it: {known}; edge-app deploy brings one");
    };
    lines.push(format!("{app}: {}", answer.state));
    lines.extend(answer.reasons.iter().flat_map(shown));
    Ok(lines)
}

/// Returns the explanation of all apps, and what concerns the device.
fn all(sources: &Sources) -> Vec<String> {
    let mut lines = of_device(sources, true);
    for app in sources.apps() {
        if let Some(answer) = explain(&app, sources) {
            lines.push(format!("{app}: {}", answer.state));
            lines.extend(answer.reasons.iter().flat_map(shown));
        }
    }
    if lines.is_empty() {
        lines.push("no app, and nothing was refused".into());
    }
    lines
}

/// Returns what concerns all apps: the engine, the steps of the boot and, unless it is
/// about one app, refused units.
fn of_device(sources: &Sources, is_about_all: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(error) = &sources.engine_error {
        lines.push(format!("no app runs: {error}"));
        let next = "restart the device; if the engine stays down, see boot.edge-docker-audit in \
                    the shadow, and `systemctl status docker` as root on the console";
        lines.push(format!("  next: {next}"));
    }
    for step in &sources.boot {
        let code = step.code.unwrap_or(1);
        lines.push(format!(
            "boot step {} failed with code {code}: {}",
            step.tool, step.message
        ));
    }
    if is_about_all {
        let apps = sources.apps();
        let is_of_app = |message: &&String| {
            let stem = message.split(['.', '@']).next().unwrap_or_default();
            apps.iter().any(|app| app == stem)
        };
        for message in sources.units.iter().filter(|m| !is_of_app(m)) {
            let reason = of_unit(message);
            lines.push(reason.text.replacen("its unit", "a unit", 1));
            lines.push(format!("  next: {}", reason.next));
        }
    }
    lines
}

fn shown(reason: &Reason) -> [String; 2] {
    [
        format!("  why:  {}", reason.text.replace('\n', " | ")),
        format!("  next: {}", reason.next),
    ]
}
