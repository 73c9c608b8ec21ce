//! The only way to the container engine on a device: docker's commands, as far as the
//! container policy permits them.
//!
//! Engineers call `edge-docker` through sudo, edge-app calls it over SSH, and units of
//! `/data/services` call it at boot. systemd also starts it as the engine's authorization
//! plugin and, before the engine, as the audit of stored containers. It reads the trust
//! anchors in `/etc/edge-ai/container-config`, lets `edge-docker-policy` decide, and
//! carries out what is permitted at the engine's socket. In `/data/config/edge-docker` it
//! keeps cached signatures, release sets, accepted release numbers, create requests, mount
//! records and the journals of deployments. A cached signature or a create request is checked again
//! whenever it is used.
//!
//! Modules form layers and import only from their own or a lower layer. From top to
//! bottom: `commands`; `deploy` and `network`; `create` and `stored`; `plan`; `signed_app`;
//! `storage`; `image` and `mounts`; `engine` and `set`; `journal` and `ledger`; `break_glass`
//! and `tickets`.

mod authz;
mod break_glass;
mod caller;
mod commands;
mod create;
mod deploy;
mod device_groups;
mod engine;
mod image;
mod journal;
mod ledger;
mod mounts;
mod network;
mod plan;
mod set;
mod signed_app;
pub mod start;
mod storage;
mod stored;
mod tickets;
mod trust;
mod units;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use edge_common::Root;
use edge_common::contract::exit_code::REFUSED;
use edge_common::exit::Failure;
use edge_docker_policy::refusal::Refusal;

use crate::engine::error::EngineError;

/// Exit code for wrong usage: an argument that is not UTF-8.
const USAGE: u8 = 2;

/// Carries out the command in `args` if the policy permits it. Returns the exit code of
/// the command, for example that of an attached container.
///
/// # Errors
/// A refusal or a failure, with an exit code of [`edge_common::contract::exit_code`], 3
/// for a damaged layer, or 2 for an argument that is not UTF-8.
pub fn run(root: &Root, args: Result<Vec<String>, OsString>) -> Result<ExitCode> {
    let args = args.map_err(|_| Failure::error(USAGE, "an argument is not UTF-8"))?;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    commands::run(root, &args).map_err(with_exit_code)
}

/// Attaches exit code 125 to a refusal or an error of the engine, whatever context was
/// added to it.
fn with_exit_code(error: anyhow::Error) -> anyhow::Error {
    match error.is::<Refusal>() || error.is::<EngineError>() {
        true => Failure::wrap(REFUSED, error),
        false => error,
    }
}
