//! Reasons why an app does not run, from what is known of it: pure functions.

use edge_common::contract::path::SERVICES;
use edge_common::contract::suffix;

use super::sources::{Seen, Sources};
use crate::engine::containers::State;
use crate::journal::{Journal, Phase};
use crate::ledger::events::Event;

/// Length limit of a text of somebody else, in characters.
const MAX_TEXT_CHARS: usize = 600;
/// Commands that bring a version into service.
const BEGINS: [&str; 5] = ["replace", "rollback", "run", "start", "restart"];

/// Explanation of one app.
pub(super) struct Answer {
    /// State of the app.
    pub(super) state: String,
    /// Reasons, the most important first. Empty if the app runs and nothing was refused.
    pub(super) reasons: Vec<Reason>,
}

/// Reason, and the command to type next.
pub(super) struct Reason {
    pub(super) text: String,
    pub(super) next: String,
}

fn reason(text: impl Into<String>, next: impl Into<String>) -> Reason {
    let text: String = text.into();
    Reason {
        text: text.trim().chars().take(MAX_TEXT_CHARS).collect(),
        next: next.into(),
    }
}

/// Returns the explanation of the app `name`; `None` if nothing is known of it.
pub(super) fn explain(name: &str, sources: &Sources) -> Option<Answer> {
    let is_it = |seen: &&Seen| seen.name == name;
    let seen = sources.containers.iter().find(is_it);
    let mut reasons = Vec::new();
    let state = match seen {
        Some(seen) => {
            let (state, found) = of_container(seen, sources);
            reasons.extend(found);
            format!(
                "{} {}",
                if seen.version.is_empty() {
                    "is"
                } else {
                    &seen.version
                },
                state
            )
        }
        None if sources.engine_error.is_some() => "cannot run: the engine is down".into(),
        None => {
            reasons.extend(of_absent(name, sources));
            "does not run: it has no container".into()
        }
    };
    let journal = sources.journals.iter().find(|j| j.name == name);
    reasons.extend(journal.and_then(of_deployment));
    reasons.extend(of_units(name, sources));
    reasons.extend(of_refusal(name, sources, journal));
    let is_known = seen.is_some() || journal.is_some() || !reasons.is_empty();
    if !is_known {
        return None;
    }
    if seen.is_none() && reasons.is_empty() && sources.engine_error.is_none() {
        reasons.push(reason(
            "neither the boot audit nor the ledger says why",
            format!("edge-docker run --detach {name}-VERSION"),
        ));
    }
    Some(Answer { state, reasons })
}

/// Returns the state of an existing container in words, and the reasons for it.
fn of_container(seen: &Seen, sources: &Sources) -> (String, Vec<Reason>) {
    let (name, state) = (&seen.name, &seen.state);
    let logs = format!("edge-docker logs --tail 50 {name}");
    let mut reasons = Vec::new();
    if let Some(why) = &seen.damage {
        let pull = format!("edge-docker pull {name}-{}", seen.version);
        reasons.push(reason(
            format!("layers of its image are damaged: {why}"),
            pull,
        ));
    }
    let words = match state {
        State { paused: true, .. } => {
            let who = sources
                .events
                .iter()
                .find(|e| is_about(e, name) && e.verb == "pause");
            let text = format!("all its processes are paused{}", by(who));
            reasons.push(reason(text, format!("edge-docker unpause {name}")));
            "is paused".into()
        }
        State {
            restarting: true, ..
        } => {
            reasons.push(reason(ended(state), logs));
            "ends, and is started again and again".into()
        }
        State { running: true, .. } => return (of_running(name, state, &mut reasons), reasons),
        _ if !state.has_started() => {
            let text = match state.error.as_str() {
                "" => "it was created and never started".to_string(),
                error => format!("the engine could not start it: {error}"),
            };
            reasons.push(reason(text, format!("edge-docker start {name}")));
            "does not run".into()
        }
        _ => {
            // A container that somebody stopped ends with an exit code, too.
            let last = last_change(name, sources);
            match last.filter(|event| ["stop", "kill"].contains(&event.verb.as_str())) {
                Some(event) => {
                    let text = format!("it was stopped{}", by(Some(event)));
                    reasons.push(reason(text, format!("edge-docker start {name}")));
                }
                None => reasons.push(reason(ended(state), logs)),
            }
            "does not run".into()
        }
    };
    (words, reasons)
}

fn of_running(name: &str, state: &State, reasons: &mut Vec<Reason>) -> String {
    let health = state.health.as_ref();
    match health.map_or("", |health| health.status.as_str()) {
        "healthy" => "runs, healthy".into(),
        "unhealthy" => {
            let checks = health.and_then(|h| h.log.as_ref());
            let output = checks
                .and_then(|c| c.last())
                .map_or("", |c| c.output.trim());
            let output = if output.is_empty() {
                "no output"
            } else {
                output
            };
            let logs = format!("edge-docker logs --tail 50 {name}");
            reasons.push(reason(format!("its health check fails: {output}"), logs));
            "runs, unhealthy".into()
        }
        "starting" => "runs, and its health check has no result yet".into(),
        _ => "runs, without a health check".into(),
    }
}

/// Returns how the main process of a container ended.
fn ended(state: &State) -> String {
    match state {
        State {
            oom_killed: true, ..
        } => "it exceeded its memory limit and was killed".into(),
        State { error, .. } if !error.is_empty() => {
            format!("the engine could not start it: {error}")
        }
        State { exit_code, .. } => format!("its process ended with exit code {exit_code}"),
    }
}

/// Returns why an app has no container.
fn of_absent(name: &str, sources: &Sources) -> Vec<Reason> {
    let run = format!("edge-docker run --detach {name}-VERSION");
    let mut reasons = Vec::new();
    if sources.withheld.iter().any(|withheld| withheld == name) {
        let audited = |e: &&Event| e.verb == "audit-stored" && e.container == name;
        let rule = sources.events.iter().find(audited).map(|e| e.rule.as_str());
        let rule = rule.unwrap_or("see boot step edge-docker-audit");
        reasons.push(reason(
            format!("the boot audit withholds its container until the next start: {rule}"),
            "restart the device; edge-docker why again if it stays",
        ));
    } else if let Some(found) = sources.quarantined.iter().find(|q| q.name == name) {
        let text = format!(
            "the boot audit quarantined its container at {}: {}",
            found.time, found.rule
        );
        reasons.push(reason(text, run.clone()));
    }
    let last = last_change(name, sources);
    if let Some(event) = last.filter(|e| ["rm", "container prune"].contains(&e.verb.as_str())) {
        reasons.push(reason(
            format!("its container was removed{}", by(Some(event))),
            run,
        ));
    }
    reasons
}

/// Returns the failure of the last deployment.
fn of_deployment(journal: &Journal) -> Option<Reason> {
    let name = &journal.name;
    let status = format!("edge-docker replace --status {name}");
    let image = &journal.image;
    let text = match journal.phase {
        Phase::Deployed => return None,
        Phase::Trial | Phase::Keep => format!(
            "a deployment of {image} is under way, or was interrupted; the next boot finishes it"
        ),
        Phase::RolledBack => format!(
            "the last deployment, of {image}, failed, and the version before runs again: {}",
            journal.reason
        ),
        Phase::Down => {
            format!(
                "the last deployment, of {image}, failed, and there is no older version: {}",
                journal.reason
            )
        }
    };
    Some(reason(text, status))
}

/// Returns the messages of edge-generator on the units of an app.
fn of_units(name: &str, sources: &Sources) -> Vec<Reason> {
    let is_of = |message: &&String| {
        let unit = message.split(':').next().unwrap_or_default();
        let stem = unit.split('.').next().unwrap_or_default();
        stem.split('@').next() == Some(name)
    };
    let messages = sources.units.iter().filter(is_of);
    messages.map(|message| of_unit(message)).collect()
}

/// Returns a message of edge-generator as a reason.
pub(super) fn of_unit(message: &str) -> Reason {
    reason(
        format!("its unit is not used: {SERVICES}/{message}"),
        "correct `unit` in app.yaml, push and deploy; a unit written by hand: correct the file \
         and restart the device",
    )
}

/// Returns the last refused or failed command on an app, if none brought it into service
/// since then.
fn of_refusal(name: &str, sources: &Sources, journal: Option<&Journal>) -> Option<Reason> {
    let mut events = sources.events.iter().filter(|e| is_about(e, name));
    let event = events.find(|event| {
        let begins = BEGINS.contains(&event.verb.as_str());
        event.verb != "audit-stored" && (!event.is_allowed || begins)
    })?;
    // The deployment journal says more than the end of its process.
    let is_told = journal.is_some_and(|j| j.phase != Phase::Deployed) && !event.is_denied;
    if event.is_allowed || is_told {
        return None;
    }
    let verdict = if event.is_denied { "refused" } else { "failed" };
    let line = match event.args.is_empty() {
        true => event.verb.clone(),
        false => event.args.join(" "),
    };
    Some(reason(
        format!("`{line}` {verdict}{}: {}", by(Some(event)), event.rule),
        format!("edge-docker ledger --since {}", event.time),
    ))
}

/// Returns the newest permitted command on an app that changed its state.
fn last_change<'a>(name: &str, sources: &'a Sources) -> Option<&'a Event> {
    let changes = |e: &&Event| {
        e.is_allowed && is_about(e, name) && !["exec", "cp"].contains(&e.verb.as_str())
    };
    sources.events.iter().find(changes)
}

/// Returns whether a record is about an app: by its verified image, its container, or an
/// argument that names either.
fn is_about(event: &Event, name: &str) -> bool {
    let names = |text: &str| {
        let tag = text.rsplit(['/', ':']).next().unwrap_or_default();
        let version = tag
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('-'));
        let is_container = |rest: &str| suffix::RESERVED.iter().any(|s| s[1..] == *rest);
        // `cp` names a path in the app.
        let is_path = event.verb == "cp" && text.split(':').next() == Some(name);
        is_path
            || text == name
            || version.is_some_and(|v| is_container(v) || v.starts_with(is_version))
    };
    event.app == name
        || event.container == name
        || event.args.iter().skip(1).any(|argument| names(argument))
}

/// Returns whether a version may begin with `c`. Of the names that begin with another one,
/// `hello-world` and `hello-v2`, this distinguishes the usual ones.
fn is_version(c: char) -> bool {
    c.is_ascii_digit() || c == 'v'
}

/// Returns time and caller of a record, as the end of a sentence.
fn by(event: Option<&Event>) -> String {
    event.map_or(String::new(), |event| {
        format!(" at {} by {}", event.time, event.who)
    })
}
