//! Replaces: the `edge-docker` wrapper script.
//! Reads: trust anchors in `/etc/edge-ai/container-config`, proofs on `/data`.
//! Writes: proofs, switches, the registry's login on `/data`; asks the engine.
//! Runs when: engineers (through sudo), edge-app, and units of `/data/services`.
//! Exits: as docker; 125 refused or the engine's error, 124 cannot verify now,
//! 123 switched back, 122 not even that.

mod attach;
mod attach_copy;
mod audit;
mod authz;
mod authz_http;
mod authz_rules;
mod authz_uri;
mod body;
mod build;
mod commands;
mod containers;
mod downloads;
mod engine;
mod environment;
mod explain;
mod fsck;
mod fsck_layer;
mod garbage;
mod grammar;
mod grants;
mod help;
mod inflate;
mod load;
mod login;
mod options;
mod passthrough;
mod pins;
mod policy;
mod proofs;
mod pull;
mod record;
mod replace;
mod serials;
mod start;
mod stored;
mod stored_config;
mod stored_host;
mod stored_json;
mod stored_layers;
mod stored_policy;
mod stored_record;
mod stored_same;
mod subject;
mod surface;
mod sweep;
mod sweep_state;
mod switch;
mod sync;
mod tickets;
mod trust;
mod values;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use edge_common::Root;
use edge_common::exit::Failure;

/// Exit code: refused by the policy, or the engine's error, as docker's own.
pub const REFUSED: u8 = 125;
/// Exit code: whether the image is signed cannot be told now.
pub const CANNOT_TELL: u8 = 124;
/// Exit code of `fsck`: a layer is not what was signed.
const DAMAGED: u8 = 3;
/// Exit code: the new container does not work; the old one is back.
pub const SWITCHED_BACK: u8 = 123;
/// Exit code: the new container does not work, and there is none to go back to,
/// or going back is still to be done.
pub const NOT_BACK: u8 = 122;
/// Exit code: wrong usage.
const USAGE: u8 = 2;

/// A refusal: the rule, and what to do instead.
pub(crate) fn refuse(rule: impl std::fmt::Display) -> anyhow::Error {
    Failure::error(REFUSED, rule)
}

/// Does what the words ask for, if the policy permits it; gives the exit code of
/// what was run.
///
/// # Errors
/// As the exit codes say.
pub fn run(root: &Root, words: Result<Vec<String>, OsString>) -> Result<ExitCode> {
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
        "sweep" => return good(sweep::sweep(root, rest)),
        _ => {}
    }
    let result = commands::ungroup(verb, rest).and_then(|(verb, rest)| {
        if rest.first().is_some_and(|w| *w == "--help") && verb != "exec" {
            return good(help::print());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(dispatch(root, verb, rest))
    });
    if let Err(error) = &result {
        audit::Decision {
            verb,
            image: "",
            subject: None,
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
        "run" => return start::run(root, words).await,
        "rm" => return passthrough::remove(root, words).await,
        _ => {}
    }
    good(match verb {
        "create" => start::create(root, words).await,
        "replace" | "rollback" => replace::command(root, verb, words).await,
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
