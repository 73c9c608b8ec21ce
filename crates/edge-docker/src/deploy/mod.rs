//! `replace` and `rollback`: the command lines, and the process that does the
//! work, which no lost connection and no closed terminal ends.

mod health;
mod journal;
mod transaction;

use edge_common::contract::label;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use edge_common::{Root, log};
use edge_signature::valid_app;
use rustix::process::{Pid, Signal, kill_process, setsid};

use edge_docker_policy::cli::request::{self, Request};
use edge_docker_policy::cli::values;
use edge_docker_policy::refusal::refuse;

use self::health::Watch;
use self::journal::{Kept, Phase, Record};
use self::transaction::{SUFFIXES, belongs, never};
use crate::engine::containers::{self, Container};
use crate::engine::signals::Event;
use crate::image::identify;
use crate::mounts::collect;
use crate::{create, trust};

/// How long a new container may take until it works, in seconds.
const LIMIT: i64 = 120;
/// First word of the process that does the work.
const APART: &str = "--apart";

/// `replace` and `rollback`.
///
/// # Errors
/// As the exit codes say.
pub async fn command(root: &Root, verb: &str, words: &[&str]) -> Result<()> {
    match (verb, words) {
        ("replace", ["--recover"]) => recover(root).await,
        ("replace", ["--status", names @ ..]) => status(root, names),
        ("replace", [APART, words @ ..]) => {
            apart();
            replace(root, words).await
        }
        ("rollback", [APART, words @ ..]) => {
            apart();
            rollback(root, words).await
        }
        _ => supervise(root, verb, words).await,
    }
}

/// Leaves the terminal and the process group of whoever started us.
fn apart() {
    // It only fails for a leader of a group, which has left already.
    let _ = setsid();
}

/// Starts the process that does the work, and waits for it. It goes on when we
/// are ended; a wish to stop is passed on, a lost connection is none.
async fn supervise(root: &Root, verb: &str, words: &[&str]) -> Result<()> {
    let mut watch = Watch::new()?;
    let mut child = root
        .command("/proc/self/exe")
        .args([verb, APART])
        .args(words)
        .stdin(Stdio::null())
        .spawn()
        .context("starting the switch")?;
    let pid = Pid::from_child(&child);
    let sender = watch.sender();
    let ended = tokio::task::spawn_blocking(move || {
        let status = child.wait();
        let _ = sender.send(Event::Changed);
        status
    });
    let mut connected = true;
    while let Some(event) = watch.events.recv().await {
        match event {
            Event::Changed => break,
            Event::Hangup => connected = false,
            // It may have ended in this moment.
            Event::Stop if connected => drop(kill_process(pid, Signal::TERM)),
            Event::Stop | Event::Lost => {}
        }
    }
    match ended.await.context("waiting for the switch")??.code() {
        Some(0) => Ok(()),
        Some(code) => std::process::exit(code),
        None => bail!("the switch was killed; edge-docker replace --recover finishes it"),
    }
}

/// `NAME [--timeout SECS] …`
fn head<'a, 'b>(verb: &str, words: &'a [&'b str]) -> Result<(&'b str, Duration, &'a [&'b str])> {
    let Some((name, mut rest)) = words.split_first() else {
        return Err(refuse(format_args!("{verb} needs the name of an app")));
    };
    if !valid_app(name) || SUFFIXES.iter().any(|s| name.ends_with(s)) {
        return Err(refuse(format_args!(
            "{verb} {name:?}: must be the name of an app: a-z, 0-9 and -, not ending in {}",
            SUFFIXES.join(", ")
        )));
    }
    let mut limit = LIMIT;
    if let Some((text, more)) = timeout(rest) {
        limit = values::number("timeout", text, 1, 3600)?;
        rest = more;
    }
    let limit = Duration::from_secs(limit.unsigned_abs());
    Ok((name, limit, rest))
}

fn timeout<'a, 'b>(words: &'a [&'b str]) -> Option<(&'b str, &'a [&'b str])> {
    let (first, rest) = words.split_first()?;
    if let Some(text) = first.strip_prefix("--timeout=") {
        return Some((text, rest));
    }
    let (text, more) = rest.split_first()?;
    (*first == "--timeout").then_some((*text, more))
}

async fn replace(root: &Root, words: &[&str]) -> Result<()> {
    let mut watch = Watch::new()?;
    let (name, limit, rest) = head("replace", words)?;
    let mut request = request::parse(rest)?;
    check(name, &request)?;
    let image = request.image.clone();
    let _lock = journal::lock(root, name)?;
    settle(root, name).await?;
    let places = Places::find(root, name).await?;
    let restart = serde_json::to_value(&request.body.host_config.restart_policy);
    let restart = restart.context("writing a switch")?;
    request.name = format!("{name}-next");
    let id = create::make(root, "replace", request).await?.id;
    if let Err(error) = same_app(root, &id, &places).await {
        containers::remove(root, &id).await?;
        return Err(error);
    }
    let record = Record {
        name: name.into(),
        phase: Phase::Trial,
        image,
        new: Kept {
            id,
            running: false,
            restart,
        },
        fresh: true,
        old: places.now.as_ref().map(kept),
        older: places.previous.map(|p| p.id),
        reason: String::new(),
        log: String::new(),
    };
    let result = transaction::run(root, &mut watch, record, limit).await;
    tidy(root).await;
    result
}

/// Pins of containers that are gone; that they stay a while harms nobody.
async fn tidy(root: &Root) {
    if let Err(error) = collect::collect(root).await {
        log::warn(format_args!("{error:#}"));
    }
}

/// A container takes the place of one of the same app only.
async fn same_app(root: &Root, id: &str, places: &Places) -> Result<()> {
    let new = containers::find(root, id).await?.context("it is gone")?;
    let app = new.app().context("a container without an app")?;
    for other in [&places.now, &places.previous].into_iter().flatten() {
        if !belongs(other, app) {
            return Err(refuse(format_args!(
                "the name {} is taken by a container of {}: remove it first",
                other.name(),
                other.app().unwrap_or("nobody")
            )));
        }
    }
    Ok(())
}

fn check(name: &str, request: &Request) -> Result<()> {
    if !request.name.is_empty() && request.name != name {
        return Err(refuse("replace: --name is the name that is replaced"));
    }
    if request.body.host_config.auto_remove {
        return Err(refuse("replace: --rm is refused: what runs is to be kept"));
    }
    Ok(())
}

/// What a container is like before a switch.
fn kept(container: &Container) -> Kept {
    Kept {
        id: container.id.clone(),
        running: container.state.running || container.state.restarting,
        restart: container.restart().clone(),
    }
}

/// Who holds the names of an app.
struct Places {
    now: Option<Container>,
    previous: Option<Container>,
}

impl Places {
    /// Looks, and takes away what an earlier switch could not.
    async fn find(root: &Root, name: &str) -> Result<Self> {
        let mut found = Vec::new();
        for suffix in [""].into_iter().chain(SUFFIXES) {
            found.push(containers::find(root, &format!("{name}{suffix}")).await?);
        }
        for left in found.drain(2..).flatten() {
            if left.app().is_none() {
                return Err(refuse(format_args!(
                    "the name {} is taken by a container that edge-docker did not make",
                    left.name()
                )));
            }
            log::warn(format_args!("removing {}, left over", left.name()));
            containers::remove(root, &left.id).await?;
        }
        let previous = found.pop().flatten();
        let now = found.pop().flatten();
        if now.as_ref().is_some_and(Container::vanishes) {
            return Err(refuse(format_args!(
                "{name} runs with --rm and could not come back: stop it first"
            )));
        }
        Ok(Self { now, previous })
    }
}

async fn rollback(root: &Root, words: &[&str]) -> Result<()> {
    let mut watch = Watch::new()?;
    let (name, limit, rest) = head("rollback", words)?;
    if !rest.is_empty() {
        return Err(refuse("rollback takes NAME and --timeout SECS"));
    }
    let _lock = journal::lock(root, name)?;
    settle(root, name).await?;
    let none = || {
        refuse(format_args!(
            "{name} has no previous version on this device"
        ))
    };
    let previous = containers::find(root, &format!("{name}-previous")).await?;
    let previous = previous.ok_or_else(none)?;
    let places = Places::find(root, name).await?;
    let image = previous.label(label::IMAGE).ok_or_else(none)?;
    let trust = trust::load(root)?;
    identify::held(root, &trust, "rollback", previous.name()).await?;
    same_app(root, &previous.id, &places).await?;
    let restart = asked(root, name, &previous)?;
    let record = Record {
        name: name.into(),
        phase: Phase::Trial,
        image: image.into(),
        new: Kept {
            restart,
            ..kept(&previous)
        },
        fresh: false,
        old: places.now.as_ref().map(kept),
        older: None,
        reason: String::new(),
        log: String::new(),
    };
    transaction::run(root, &mut watch, record, limit).await
}

/// The restart policy that the previous container was asked with: while it is
/// kept, the engine's own is `no`.
fn asked(root: &Root, name: &str, previous: &Container) -> Result<serde_json::Value> {
    let last = journal::read(root, name)?;
    let both = last.map(|r| [r.old, Some(r.new)]).into_iter().flatten();
    let kept = both.flatten().find(|k| k.id == previous.id);
    let policy = kept.map_or_else(|| previous.restart().clone(), |k| k.restart);
    Ok(if policy.is_null() { never() } else { policy })
}

/// Finishes a switch of `name` that was cut.
async fn settle(root: &Root, name: &str) -> Result<()> {
    match journal::read(root, name)? {
        Some(mut record) if record.open() => transaction::recover(root, &mut record).await,
        _ => Ok(()),
    }
}

/// `replace --recover`: every switch that was cut, unless somebody is at it.
async fn recover(root: &Root) -> Result<()> {
    let mut failed = 0;
    for name in journal::names(root)? {
        let Ok(_lock) = journal::lock(root, &name) else {
            continue;
        };
        if let Err(error) = settle(root, &name).await {
            log::error(format_args!("{error:#}"));
            failed += 1;
        }
    }
    if failed > 0 {
        bail!("{failed} switches stay open");
    }
    Ok(())
}

/// `replace --status [NAME…]`: the last switches, as JSON, one a line.
fn status(root: &Root, wanted: &[&str]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for name in journal::names(root)? {
        if !wanted.is_empty() && !wanted.contains(&name.as_str()) {
            continue;
        }
        if let Some(record) = journal::read(root, &name)? {
            let text = serde_json::to_string(&record).context("writing a switch")?;
            writeln!(out, "{text}").context("writing to standard output")?;
        }
    }
    Ok(())
}
