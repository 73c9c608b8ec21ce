//! Replaces: the `edge-docker` wrapper script.
//! Reads: trust anchors in `/etc/edge-ai/container-config`, proofs on `/data`.
//! Writes: proofs and the registry's login on `/data`; asks the engine's socket.
//! Runs when: engineers (through sudo), edge-app, and units of `/data/services`.
//! Exits: as docker; 125 refused or the engine's error, 124 cannot verify now.

mod body;
mod engine;
mod grammar;
mod help;
mod login;
mod options;
mod passthrough;
mod policy;
mod proofs;
mod pull;
mod start;
mod trust;
mod values;

use std::ffi::OsString;

use anyhow::Result;
use edge_common::Root;
use edge_common::exit::Failure;

/// Exit code: refused by the policy, or the engine's error, as docker's own.
pub const REFUSED: u8 = 125;
/// Exit code: whether the image is signed cannot be told now.
pub const CANNOT_TELL: u8 = 124;
/// Exit code: wrong usage.
const USAGE: u8 = 2;

/// A refusal: the rule, and what to do instead.
pub(crate) fn refuse(rule: impl std::fmt::Display) -> anyhow::Error {
    Failure::error(REFUSED, rule)
}

/// Does what the words ask for, if the policy permits it.
///
/// # Errors
/// As the exit codes say.
pub fn run(root: &Root, words: Result<Vec<String>, OsString>) -> Result<()> {
    let words = words.map_err(|_| Failure::error(USAGE, "an argument is not UTF-8"))?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (verb, rest) = match words.split_first() {
        None | Some((&("--help" | "-h" | "help"), _)) => return help::print(),
        Some((&("--version" | "-v"), _)) => return help::version(),
        Some((verb, rest)) => (*verb, rest),
    };
    if rest.first().is_some_and(|w| *w == "--help") && verb != "exec" {
        return help::print();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match verb {
        "run" => runtime.block_on(start::run(root, rest)),
        "pull" => runtime.block_on(pull::command(root, rest)),
        "push" => runtime.block_on(pull::push(root, rest)),
        "login" => runtime.block_on(login::login(root, rest)),
        "logout" => login::logout(root, rest),
        "load" => runtime.block_on(passthrough::load(root, rest)),
        "exec" => runtime.block_on(passthrough::exec(root, rest)),
        _ => passthrough::command(root, verb, rest),
    }
}
