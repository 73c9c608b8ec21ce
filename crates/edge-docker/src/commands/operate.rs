//! `start`, `restart`, `unpause`, `stop`, `kill`, `pause`, `rm` and `wait`: docker's client
//! acts on the IDs of the containers that were judged. A name could refer to another
//! container by then: a deployment renames containers.

use std::io::Write as _;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use edge_common::{Root, log};
use edge_docker_policy::cli::args::Parsed;
use edge_docker_policy::cli::commands::Command;
use edge_docker_policy::cli::streams::Streams;
use edge_docker_policy::refusal::refuse;
use edge_signature::Verified;

use super::passthrough::{self, client};
use crate::break_glass::{self, Change};
use crate::deploy::restore;
use crate::engine::attach;
use crate::engine::containers::{self, Container};
use crate::image::identify::{self, Judged};
use crate::image::release_numbers;
use crate::journal::{self, Journal};
use crate::mounts::collect;
use crate::stored::{app_limits, damage, interrupted};
use crate::trust;
use crate::units;

/// Container as typed, and its ID.
struct Target<'a> {
    typed: &'a str,
    id: String,
}

/// Carries out `start`, `restart` and `unpause`, if the images of all named containers are
/// still verified.
pub(super) async fn start(root: &Root, command: Command, parsed: &Parsed<'_>) -> Result<ExitCode> {
    let trust = trust::load(root)?;
    let mut judged = Vec::new();
    let mut targets = Vec::new();
    for typed in &parsed.arguments {
        let one = identify::verified(root, &trust, command.entry().name, typed).await?;
        let image = one.found["Image"].as_str().unwrap_or_default();
        damage::require_intact(root, command.entry().name, typed, image)?;
        break_glass::change(root, &one.found, Change::State)?;
        let id = one.id.clone();
        targets.push(Target { typed, id });
        judged.push(one);
    }
    let attached = parsed.is_set("attach") || parsed.is_set("interactive");
    match &judged[..] {
        [one] if attached && rises(root, one) => {
            passthrough::record(root, command, parsed)?;
            return attach_first(root, one, parsed).await;
        }
        _ if attached => {
            let parsed = by_id(parsed, &targets);
            passthrough::become_client(root, command, &parsed)?;
        }
        _ => {}
    }
    let code = act(root, command, parsed, &targets)?;
    for one in judged.iter().filter(|one| rises(root, one)) {
        let container = containers::find(root, &one.id).await?;
        if container.is_some_and(|c| c.state.has_started()) {
            accept(root, one)?;
        }
    }
    Ok(code)
}

/// Returns whether the start of a container raises the floor of the release numbers: it is
/// part of no deployment, which raises it at its commit.
fn rises(root: &Root, judged: &Judged) -> bool {
    let is_higher = |v: &Verified| release_numbers::is_higher(root, v);
    let named = || {
        journal::all(root)
            .iter()
            .any(|j| j.ids().contains(&&*judged.id))
    };
    judged.verified.as_ref().is_some_and(is_higher) && !named()
}

fn accept(root: &Root, judged: &Judged) -> Result<()> {
    let Some(verified) = &judged.verified else {
        return Ok(());
    };
    let annotations = &verified.annotations;
    release_numbers::raise(root, &annotations.app, annotations.release_number, false)
}

/// Carries out the first `start --attach` of a container. Not with docker's client, which
/// does not say when the container has started.
async fn attach_first(root: &Root, judged: &Judged, parsed: &Parsed<'_>) -> Result<ExitCode> {
    let container = containers::find(root, &judged.id).await?;
    let container = container.context("the container is gone")?;
    let streams = Streams {
        stdin: parsed.is_set("interactive") && container.opens_stdin(),
        stdout: true,
        stderr: true,
        tty: container.has_terminal(),
        signals: true,
    };
    if streams.tty && streams.stdin && !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        bail!("the input device is not a TTY");
    }
    let started = || {
        if let Err(error) = accept(root, judged) {
            log::error(format_args!("{error:#}"));
        }
    };
    attach::run(root, &judged.id, streams, container.vanishes(), started).await
}

/// Carries out `stop`, `kill` and `pause`.
pub(super) async fn stop(root: &Root, command: Command, parsed: &Parsed<'_>) -> Result<ExitCode> {
    let (targets, _) = find(root, parsed).await?;
    if command != Command::Pause {
        for target in &targets {
            // On a file system that is read-only now, stopping comes first.
            if let Err(error) = interrupted::forget(root, &target.id) {
                edge_common::log::warn(format_args!("{error:#}"));
            }
        }
    }
    act(root, command, parsed, &targets)
}

/// Carries out `wait`: docker's client prints each exit code as soon as it is known.
/// Containers that do not exist are reported after the others have ended, as the client
/// does.
pub(super) async fn wait(root: &Root, parsed: &Parsed<'_>) -> Result<ExitCode> {
    let (mut targets, mut absent) = (Vec::new(), Vec::new());
    for typed in &parsed.arguments {
        match containers::find(root, typed).await? {
            Some(container) => targets.push(Target {
                typed,
                id: container.id,
            }),
            None => absent.push(*typed),
        }
    }
    let mut code = 0;
    if !targets.is_empty() {
        let mut client = client(root, Command::Wait, &by_id(parsed, &targets));
        let status = client.status().context("starting docker")?;
        code = status
            .code()
            .and_then(|c| u8::try_from(c).ok())
            .unwrap_or(1);
    }
    for name in &absent {
        log::error(format_args!("no such container: {name}"));
        code = 1;
    }
    Ok(code.into())
}

/// Carries out `rm`, then removes the mount clones of the removed containers. Refuses a
/// container that an open deployment needs; the record of a closed one ends with it.
pub(super) async fn remove(root: &Root, parsed: &Parsed<'_>) -> Result<ExitCode> {
    let (targets, found) = find(root, parsed).await?;
    let mut locks = Vec::new();
    for container in &found {
        let name = container.name();
        let records = journal::all(root);
        let record = records.iter().find(|j| j.ids().contains(&&*container.id));
        if let Some(open) = record.filter(|j| j.is_open()) {
            return Err(refuse(format_args!(
                "rm {name} is refused: the open deployment of {0} needs it; edge-docker replace \
                 --recover finishes it",
                open.name
            )));
        }
        let base = record.map_or(journal::base(name), |j| &j.name);
        // Held until the record is written, so that no deployment begins meanwhile. Absent
        // if there never was a deployment of this name.
        if journal::has_lock(root, base) && !locks.iter().any(|(b, _)| b == base) {
            locks.push((base.to_string(), journal::lock(root, base)?));
        }
    }
    let code = act(root, Command::Remove, parsed, &targets)?;
    for target in &targets {
        if containers::find(root, &target.id).await?.is_none() {
            end_record(root, &target.id)?;
        }
    }
    for container in &found {
        units::update(root, container.name()).await;
    }
    app_limits::release(root).await;
    collect::collect(root).await?;
    Ok(code)
}

/// Removes a container from the deployment record that names it. A record without
/// containers is removed.
fn end_record(root: &Root, id: &str) -> Result<()> {
    let names = |j: &Journal| j.ids().contains(&id);
    for mut journal in journal::all(root).into_iter().filter(names) {
        journal.forget(id);
        match journal.ids().is_empty() {
            true => journal::remove(root, &journal.name)?,
            false => journal.write(root)?,
        }
    }
    Ok(())
}

/// Returns the named containers. One that does not exist is a target under its typed name
/// with an ID that no container has, so that docker's client reports it.
async fn find<'a>(root: &Root, parsed: &Parsed<'a>) -> Result<(Vec<Target<'a>>, Vec<Container>)> {
    let (mut targets, mut found) = (Vec::new(), Vec::new());
    for typed in &parsed.arguments {
        let container = containers::find(root, typed).await?;
        if let Some(container) = &container {
            restore::note_change(root, &container.id).await?;
        }
        let id = container.as_ref().map_or("0".repeat(64), |c| c.id.clone());
        targets.push(Target { typed, id });
        found.extend(container);
    }
    Ok((targets, found))
}

fn by_id<'a>(parsed: &Parsed<'a>, targets: &'a [Target]) -> Parsed<'a> {
    Parsed {
        options: parsed.options.clone(),
        arguments: targets.iter().map(|t| t.id.as_str()).collect(),
    }
}

/// Runs docker's client on the IDs, and prints its output with the names that were typed.
fn act(root: &Root, command: Command, parsed: &Parsed<'_>, targets: &[Target]) -> Result<ExitCode> {
    let _ticket = break_glass::hold(root)?;
    passthrough::record(root, command, parsed)?;
    let mut client = client(root, command, &by_id(parsed, targets));
    let output = client.stdin(Stdio::null()).output();
    let output = output.context("starting docker")?;
    let named = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        // One at a time, because several absent containers have the same ID.
        targets
            .iter()
            .fold(text, |t, target| t.replacen(&target.id, target.typed, 1))
    };
    // A closed pipe is no error: the command was carried out.
    let _ = std::io::stdout().write_all(named(&output.stdout).as_bytes());
    let _ = std::io::stderr().write_all(named(&output.stderr).as_bytes());
    let code = output
        .status
        .code()
        .and_then(|code| u8::try_from(code).ok());
    Ok(code.unwrap_or(1).into())
}
