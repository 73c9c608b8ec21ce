//! Replaces: the `edge-docker` wrapper script.
//! Reads: trust anchors in `/etc/edge-ai/container-config`, proofs on `/data`.
//! Writes: proofs, switches, the registry's login on `/data`; asks the engine.
//! Runs when: engineers (through sudo), edge-app, and units of `/data/services`.
//! Exits: as docker; 125 refused or the engine's error, 124 cannot verify now,
//! 123 switched back, 122 not even that.

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
use edge_docker_policy::cli::commands::ungroup;
use edge_docker_policy::refusal::Refusal;

use crate::commands::{explain, help, passthrough};
use crate::image::{build, load, login, pull};
use crate::mounts::sync;
use crate::stored::{audit, fsck};

/// Exit code: wrong usage.
const USAGE: u8 = 2;

/// Carries out the command in `arguments` if the policy permits it; returns the exit
/// code of what was run.
///
/// # Errors
/// With the exit codes of [`edge_common::contract::exit_code`].
pub fn run(root: &Root, arguments: Result<Vec<String>, OsString>) -> Result<ExitCode> {
    command(root, arguments).map_err(with_exit_code)
}

/// Gives a refusal, wherever in the chain of causes it is, its exit code.
fn with_exit_code(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Refusal>() {
        Some(_) => Failure::wrap(REFUSED, error),
        None => error,
    }
}

fn command(root: &Root, words: Result<Vec<String>, OsString>) -> Result<ExitCode> {
    let words = words.map_err(|_| Failure::error(USAGE, "an argument is not UTF-8"))?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (verb, rest) = match words.split_first() {
        None | Some((&("--help" | "-h" | "help"), _)) => return good(help::print()),
        Some((&("--version" | "-v"), _)) => return good(help::version()),
        Some((verb, rest)) => (*verb, rest),
    };
    match verb {
        // systemd's, not an engineer's.
        "authz" => return good(authz::serve(root)),
        "sweep" => return good(audit::sweep(root, rest)),
        _ => {}
    }
    let result = ungroup(verb, rest).and_then(|(verb, rest)| {
        if rest.first().is_some_and(|w| *w == "--help") && verb != "exec" {
            return good(help::print());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(dispatch(root, verb, rest))
    });
    if let Err(error) = &result {
        audit_log::Decision {
            verb,
            image: "",
            identity: None,
            container: "",
        }
        .refused(root, &format!("{error:#}"));
    }
    result
}

/// What has no exit code of its own.
fn good(result: Result<()>) -> Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}

async fn dispatch(root: &Root, verb: &str, words: &[&str]) -> Result<ExitCode> {
    match verb {
        "run" => return create::run(root, words).await,
        "rm" => return passthrough::remove(root, words).await,
        _ => {}
    }
    good(match verb {
        "create" => create::create(root, words).await,
        "replace" | "rollback" => deploy::command(root, verb, words).await,
        "explain" => explain::explain(root, words).await,
        "pull" => pull::command(root, words).await,
        "push" => pull::push(root, words).await,
        "login" => login::login(root, words).await,
        "logout" => login::logout(root, words),
        "sync" => sync::command(root, words),
        "load" => load::load(root, words).await,
        "build" => build::build(root, words).await,
        "fsck" => fsck::fsck(root, words).await,
        "exec" => passthrough::exec(root, words).await,
        _ => passthrough::command(root, verb, words).await,
    })
}
