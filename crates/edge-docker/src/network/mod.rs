//! Network settings of the device: shown, tried with a way back, and kept.
//!
//! `network set` takes settings on standard input and starts a trial in a unit of its own,
//! because the session of the caller may end with the old settings. The trial activates
//! them and waits for contact: `network confirm` over a new connection, or the cloud's
//! answer to edge-heartbeat. Without contact, and at the next boot after a power loss, the
//! settings before return. See `docs/decisions/0051-network-settings.md`.

mod activate;
mod files;
mod state;
mod trial;

use std::io::{Read as _, Write as _};

use anyhow::{Context, Result, bail};
use edge_common::command::CommandExt as _;
use edge_common::{Root, hex};
use edge_docker_policy::cli::args::Parsed;
use edge_docker_policy::refusal::refuse;
use edge_network_settings::{MAX_SETTINGS_BYTES, Settings, TRIAL_SECONDS};
use serde_json::json;

use self::state::{Pending, State};
use crate::ledger::Decision;

pub(crate) use self::trial::{restore, run as run_trial};

/// Unit that carries out a trial.
const TRIAL_UNIT: &str = "edge-network-trial.service";
/// Length of a token in bytes.
const TOKEN_BYTES: usize = 16;

/// Carries out `network show`, `network set` and `network confirm TOKEN`.
pub(crate) fn run(root: &Root, parsed: &Parsed<'_>) -> Result<()> {
    match parsed.arguments[..] {
        ["show"] => show(root),
        ["set"] => set(root),
        ["confirm", token] => confirm(root, token),
        _ => Err(refuse(
            "network takes show, set with the settings on standard input, or confirm TOKEN",
        )),
    }
}

fn print(value: &serde_json::Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value:#}").context("writing to standard output")
}

/// Prints the settings without passwords, the trial under way and the last result.
fn show(root: &Root) -> Result<()> {
    let state = State::load(root)?;
    let trial = state::pending(root)?.map(|pending| pending.settings.without_passwords());
    print(&json!({
        "settings": state.settings.without_passwords(),
        "trial": trial,
        "last": state.last,
    }))
}

/// Takes settings from standard input and starts their trial.
fn set(root: &Root) -> Result<()> {
    let mut text = Vec::new();
    let input = std::io::stdin().lock().take(MAX_SETTINGS_BYTES + 1);
    { input }
        .read_to_end(&mut text)
        .context("reading standard input")?;
    let settings =
        Settings::parse(&text).map_err(|why| refuse(format_args!("network set: {why:#}")))?;
    let _lock = state::lock(root)?;
    if state::pending(root)?.is_some() {
        bail!("other network settings are on trial: wait {TRIAL_SECONDS} s, then set these again");
    }
    let decision = Decision {
        verb: "network set",
        ..Decision::default()
    };
    decision.record(root)?;
    let mut token = [0; TOKEN_BYTES];
    openssl::rand::rand_bytes(&mut token).context("making a token")?;
    let pending = Pending::new(hex::encode(token), settings);
    pending.write(root)?;
    let mut systemctl = root.command("/usr/bin/systemctl");
    let started = systemctl.args(["start", "--no-block", TRIAL_UNIT]).run();
    if let Err(error) = started {
        state::remove_pending(root)?;
        return Err(error.context("starting the trial of the settings"));
    }
    print(&json!({ "token": pending.token, "seconds": TRIAL_SECONDS }))
}

/// Confirms that the caller has reached the device with the settings on trial, and waits
/// until they are kept.
fn confirm(root: &Root, token: &str) -> Result<()> {
    let pending = state::pending(root)?;
    let is_same = |pending: &Pending| {
        openssl::memcmp::eq(
            &openssl::sha::sha256(pending.token.as_bytes()),
            &openssl::sha::sha256(token.as_bytes()),
        )
    };
    match pending {
        // The caller may repeat a confirmation whose answer was lost.
        None if State::load(root)?.is_kept(token) => return Ok(()),
        Some(pending) if is_same(&pending) => {}
        _ => {
            return Err(refuse(
                "network confirm: no settings with this token are on trial",
            ));
        }
    }
    if !state::is_active(root, token) {
        bail!("the settings on trial are not active yet: confirm again");
    }
    let decision = Decision {
        verb: "network confirm",
        ..Decision::default()
    };
    decision.record(root)?;
    trial::confirm(root, token)
}
