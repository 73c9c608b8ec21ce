//! Commands that docker's client carries out, with only the options of the command table.

use std::os::unix::process::CommandExt as _;
use std::process;

use anyhow::{Context, Result};
use edge_common::Root;
use edge_docker_policy::cli::args::Parsed;
use edge_docker_policy::cli::commands::Command;

use crate::engine::docker_cli;
use crate::ledger::Decision;

/// Records the command as allowed, unless it only looks, and replaces this process by
/// docker's client, which ends with its own exit code. Returns only if the client cannot
/// be executed.
pub(super) fn become_client(root: &Root, command: Command, parsed: &Parsed<'_>) -> Result<()> {
    // Before `exec`: from then on this process is docker's client.
    record(root, command, parsed)?;
    docker_cli::limit_memory();
    Err(client(root, command, parsed).exec()).context("starting docker")
}

/// Records the command as allowed, unless it only looks, with its first argument as the
/// container.
pub(super) fn record(root: &Root, command: Command, parsed: &Parsed<'_>) -> Result<()> {
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

/// Returns docker's client with normalized arguments: each option as `--name=value`, all
/// other arguments after `--`, so that the client cannot read one as the other.
pub(super) fn client(root: &Root, command: Command, parsed: &Parsed<'_>) -> process::Command {
    let mut docker = docker_cli::docker(root);
    docker.args(command.entry().name.split(' '));
    let options = parsed.options.iter();
    docker.args(options.map(|(name, value)| format!("--{name}={value}")));
    if !parsed.arguments.is_empty() {
        docker.arg("--").args(&parsed.arguments);
    }
    docker
}
