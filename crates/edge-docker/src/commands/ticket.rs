//! `ticket`: takes a break-glass ticket, shows the one in effect, waits for its end or
//! ends it. At the lowest level: the signature of the ticket is the permission.

use std::io::Read as _;
use std::time::Duration;

use anyhow::{Context, Result};
use edge_common::contract::limit::BREAK_GLASS_BYTES;
use edge_common::level::RunMode;
use edge_common::{Root, log};
use edge_docker_policy::break_glass::ALL_APPS;
use edge_docker_policy::cli::args::Parsed;
use edge_docker_policy::cli::commands::Command;
use edge_docker_policy::cli::levels;
use edge_docker_policy::refusal::refuse;
use serde_json::json;

use crate::break_glass::{self, Effect};
use crate::deploy::restore;
use crate::ledger::Decision;
use crate::trust;

/// Size limit of a signed ticket: an envelope with the ticket in base64.
const MAX_ENVELOPE_BYTES: u64 = 4 * BREAK_GLASS_BYTES;
/// Longest pause of `ticket wait`, which also notices a ticket that was ended by hand.
const WAIT_INTERVAL: Duration = Duration::from_secs(1);

/// Carries out `ticket`, `ticket status`, `ticket end` and `ticket wait`.
pub(super) async fn run(root: &Root, parsed: &Parsed<'_>) -> Result<()> {
    match parsed.arguments[..] {
        [] => take(root).await,
        ["status"] => status(root, parsed.is_set("json")),
        ["end"] => end(root).await,
        ["wait"] => wait(root).await,
        _ => Err(refuse(
            "ticket takes status, end, wait, or a signed ticket on standard input",
        )),
    }
}

/// Puts the command under the ticket in effect, if the ticket permits it. Refuses commands
/// whose effect the end of a ticket could not undo.
pub(super) fn permits(root: &Root, command: Command, args: &[&str], mode: RunMode) -> Result<bool> {
    let Some(effect) = break_glass::current(root) else {
        return Ok(false);
    };
    let is_permitted = match command {
        // Each of these checks the app when it knows which one it is.
        Command::Run | Command::Create | Command::Rollback | Command::Exec | Command::Pull => true,
        // Like a program of the caller's choice: the files stay.
        Command::Copy => true,
        Command::Replace => args.first() != Some(&"--recover"),
        Command::Start | Command::Restart | Command::Unpause => true,
        Command::Stop | Command::Kill | Command::Pause | Command::Remove => true,
        // Images, files and credentials would stay when the ticket ends, and what is pruned
        // could not come back.
        _ => false,
    };
    if !is_permitted {
        return Err(refuse(format_args!(
            "{} is refused: this device does not permit it, and the ticket {} covers {}",
            command.entry().name,
            effect.id,
            covered(&effect)
        )));
    }
    Ok(break_glass::begin(
        root,
        levels::required(command, args, mode),
    ))
}

fn covered(effect: &Effect) -> String {
    match effect.app.as_str() {
        ALL_APPS => "the containers of all apps alone".into(),
        app => format!("the containers of {app} alone"),
    }
}

async fn take(root: &Root) -> Result<()> {
    let mut envelope = Vec::new();
    let input = std::io::stdin().lock().take(MAX_ENVELOPE_BYTES + 1);
    { input }
        .read_to_end(&mut envelope)
        .context("reading standard input")?;
    if envelope.len() as u64 > MAX_ENVELOPE_BYTES {
        return Err(refuse(format_args!(
            "ticket is refused: it has more than {MAX_ENVELOPE_BYTES} bytes"
        )));
    }
    let effect = break_glass::take(root, envelope.trim_ascii(), |effect| {
        let reason = format!(
            "ticket {} for {} by {}, until {}, signed by {}: {}",
            effect.level.name(),
            covered(effect),
            effect.who,
            effect.ends,
            effect.signer.get(..16).unwrap_or_default(),
            effect.reason
        );
        let decision = Decision {
            verb: "ticket",
            image: &effect.id,
            reason: &reason,
            ..Decision::default()
        };
        decision.record(root)
    })?;
    // An engine that does not answer is a reason to have a ticket. The states are noted
    // again before each change.
    if let Err(error) = restore::note_states(root, &effect).await {
        log::warn(format_args!("{error:#}"));
    }
    println!("{}", line(&effect));
    Ok(())
}

fn line(effect: &Effect) -> String {
    format!(
        "ticket {}: {} on {}, by {}, until {}: {}",
        effect.id,
        effect.level.name(),
        covered(effect),
        effect.who,
        effect.ends,
        effect.reason
    )
}

fn status(root: &Root, is_json: bool) -> Result<()> {
    let current = break_glass::current(root);
    let is_open = break_glass::open(root)?.is_some();
    if is_json {
        let status = json!({
            "v": 1,
            "thing": break_glass::thing(root).ok(),
            "enabled": trust::engineer_keys(root)?.is_some(),
            "ending": current.is_none() && is_open,
            "ticket": current,
        });
        println!("{status}");
        return Ok(());
    }
    match current {
        Some(effect) => println!("{}", line(&effect)),
        None if is_open => println!("a ticket has ended, and its changes are not yet undone"),
        None if trust::engineer_keys(root)?.is_none() => {
            println!("tickets are off: this device image has no engineer key");
        }
        None => println!("no ticket is in effect"),
    }
    Ok(())
}

async fn end(root: &Root) -> Result<()> {
    let is_open = break_glass::current(root).is_some() || break_glass::open(root)?.is_some();
    let ended = match is_open {
        true => restore::end(root, "it was ended by hand").await?,
        false => None,
    };
    let ended = ended.as_deref();
    println!("{}", ended.unwrap_or("no ticket is in effect"));
    Ok(())
}

/// Waits until the ticket in effect ends, and undoes what was done under it. The service
/// `edge-docker-ticket-end` runs this while a ticket is open.
async fn wait(root: &Root) -> Result<()> {
    // CLOCK_BOOTTIME is read again after each pause: timers of tokio stand still while the
    // device sleeps.
    while let Some(effect) = break_glass::current(root) {
        let left = Duration::from_millis(effect.left_ms());
        tokio::time::sleep(left.min(WAIT_INTERVAL)).await;
    }
    if let Some(ended) = restore::end(root, "its time has passed").await? {
        log::info(&ended);
    }
    Ok(())
}
