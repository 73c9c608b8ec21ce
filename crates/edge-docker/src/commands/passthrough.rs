//! Commands that docker's client carries out, with only the options of the command table.

use std::os::unix::process::CommandExt as _;
use std::process::{self, ExitCode};

use anyhow::{Context, Result};
use edge_common::Root;
use edge_docker_policy::cli::args::Parsed;
use edge_docker_policy::cli::commands::Command;

use crate::engine::docker_cli;
use crate::image::identify;
use crate::ledger::Decision;
use crate::mounts::collect;
use crate::trust;

/// Records the command as allowed, unless it only looks, and replaces this process by
/// docker's client, which ends with its own exit code. Returns only if the client cannot
/// be executed.
pub(super) fn become_client(root: &Root, command: Command, parsed: &Parsed<'_>) -> Result<()> {
    // Before `exec`: from then on this process is docker's client.
    record(root, command, parsed)?;
    docker_cli::limit_memory();
    Err(client(root, command, parsed).exec()).context("starting docker")
}

fn record(root: &Root, command: Command, parsed: &Parsed<'_>) -> Result<()> {
    if command.entry().only_looks() {
        return Ok(());
    }
    let decision = Decision {
        verb: command.entry().name,
        container: parsed.arguments.first().unwrap_or(&""),
        ..Decision::default()
    };
    decision.record(root)
}

/// Carries out `start`, `restart` and `unpause` with docker's client, if the images of
/// all named containers are still verified.
pub(super) async fn verified(root: &Root, command: Command, parsed: &Parsed<'_>) -> Result<()> {
    let trust = trust::load(root)?;
    for name in &parsed.arguments {
        identify::verified(root, &trust, command.entry().name, name).await?;
    }
    become_client(root, command, parsed)
}

/// Carries out `rm` with docker's client, then removes the mount clones of the removed
/// containers.
pub(super) async fn remove(root: &Root, parsed: &Parsed<'_>) -> Result<ExitCode> {
    record(root, Command::Remove, parsed)?;
    // Not by `exec`, because the mount clones are collected after the client has ended.
    let status = client(root, Command::Remove, parsed)
        .status()
        .context("starting docker")?;
    collect::collect(root).await?;
    // Docker's client has printed why, if it failed.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.unwrap_or(1).into())
}

/// Returns docker's client with normalized arguments: each option as `--name=value`, all
/// other arguments after `--`, so that the client cannot read one as the other.
fn client(root: &Root, command: Command, parsed: &Parsed<'_>) -> process::Command {
    let mut docker = docker_cli::docker(root);
    docker.args(command.entry().name.split(' '));
    let options = parsed.options.iter();
    docker.args(options.map(|(name, value)| format!("--{name}={value}")));
    if !parsed.arguments.is_empty() {
        docker.arg("--").args(&parsed.arguments);
    }
    docker
}
