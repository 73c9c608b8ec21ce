//! The only way to the container engine: docker for what the policy permits.
//!
//! Engineers call it through sudo, edge-app over SSH, and units of `/data/services` at
//! boot; systemd starts it as the engine's authorization plugin, and before the engine
//! as the audit of stored containers. It reads the trust anchors in
//! `/etc/edge-ai/container-config`, asks `edge-docker-policy` for a decision, and carries
//! the decision out at the engine's socket. Below `/data/config/edge-docker` it keeps
//! cached signatures, accepted release numbers, create requests, mount records and the
//! journals of deployments; none of them is trusted when it is read again.
//!
//! Directories are layers, whose imports point down: `commands` above `deploy` above
//! `create` and `stored`, above `image` and `mounts`, above `engine`, above `tickets`.

mod audit_log;
mod authz;
mod commands;
mod create;
mod deploy;
mod engine;
mod image;
mod mounts;
mod stored;
mod tickets;
mod trust;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use edge_common::Root;
use edge_common::contract::exit_code::REFUSED;
use edge_common::exit::Failure;
use edge_docker_policy::refusal::Refusal;

use crate::engine::error::EngineError;

/// Exit code: wrong usage.
const USAGE: u8 = 2;

/// Carries out the command in `args` if the policy permits it; returns the exit code of
/// what was run.
///
/// # Errors
/// With the exit codes of [`edge_common::contract::exit_code`], 3 for a damaged layer,
/// and 2 for an argument that is not UTF-8.
pub fn run(root: &Root, args: Result<Vec<String>, OsString>) -> Result<ExitCode> {
    let args = args.map_err(|_| Failure::error(USAGE, "an argument is not UTF-8"))?;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    commands::run(root, &args).map_err(with_exit_code)
}

/// Adds the exit code of a refusal, or of an error of the engine, behind any context.
fn with_exit_code(error: anyhow::Error) -> anyhow::Error {
    match error.is::<Refusal>() || error.is::<EngineError>() {
        true => Failure::wrap(REFUSED, error),
        false => error,
    }
}
