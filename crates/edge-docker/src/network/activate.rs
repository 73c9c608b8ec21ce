//! Activation of settings whose files are written, by NetworkManager and chrony.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use edge_common::command::run_within;
use edge_common::{Root, log};
use edge_network_settings::{PREFIX, Settings};

/// Time in seconds that NetworkManager has for one interface.
const WAIT_SECONDS: &str = "30";
/// Time limit of a call of nmcli.
const NMCLI_LIMIT: Duration = Duration::from_secs(40);
/// Time limit of a command that only reads files again.
const RELOAD_LIMIT: Duration = Duration::from_secs(15);

/// Activates the settings on all their interfaces.
///
/// # Errors
/// An interface does not exist, has no link, or gets no address.
pub(super) fn new(root: &Root, settings: &Settings, before: &Settings) -> Result<()> {
    reload(root)?;
    let kept: BTreeSet<_> = names(settings).collect();
    // What is not among the settings any more is automatic again.
    for name in names(before).filter(|name| !kept.contains(name)) {
        automatic(root, name);
    }
    for name in names(settings) {
        up(root, name)?;
    }
    Ok(())
}

/// Activates the earlier settings, as far as possible: an interface that had no cable
/// before has none now.
pub(super) fn earlier(root: &Root, settings: &Settings, tried: &Settings) {
    warn(reload(root));
    for name in names(settings) {
        warn(up(root, name));
    }
    let kept: BTreeSet<_> = names(settings).collect();
    for name in names(tried).filter(|name| !kept.contains(name)) {
        automatic(root, name);
    }
    others(root);
}

fn names(settings: &Settings) -> impl Iterator<Item = &str> {
    settings
        .interfaces
        .iter()
        .map(|interface| interface.name.as_str())
}

fn warn(result: Result<()>) {
    if let Err(error) = result {
        log::warn(format_args!("{error:#}"));
    }
}

fn nmcli(root: &Root, args: &[&str]) -> Result<()> {
    run(root.command("/usr/bin/nmcli").args(args), NMCLI_LIMIT)
}

/// Runs a program that must end within `limit`: the way back waits for it.
fn run(command: &mut Command, limit: Duration) -> Result<()> {
    let completed = run_within(command, "", limit, Duration::ZERO)?;
    match completed.success() {
        true => Ok(()),
        false => bail!("{}", completed.summary()),
    }
}

fn reload(root: &Root) -> Result<()> {
    let reloaded = nmcli(root, &["connection", "reload"]);
    reloaded.context("having NetworkManager read its connections")
}

fn up(root: &Root, interface: &str) -> Result<()> {
    let id = format!("{PREFIX}{interface}");
    let args = ["--wait", WAIT_SECONDS, "connection", "up", "id", &id];
    nmcli(root, &args).with_context(|| format!("activating {interface}"))
}

/// Has NetworkManager choose a connection for an interface. It may be gone.
fn automatic(root: &Root, interface: &str) {
    let args = ["--wait", WAIT_SECONDS, "device", "connect", interface];
    warn(nmcli(root, &args));
}

/// Has the programs that use proxy and time servers read them again. Each may be absent.
pub(super) fn others(root: &Root) {
    let mut chrony = root.command("/usr/bin/chronyc");
    warn(run(chrony.args(["reload", "sources"]), RELOAD_LIMIT));
    let mut systemctl = root.command("/usr/bin/systemctl");
    let args = ["try-restart", "--no-block", "edge-heartbeat.service"];
    warn(run(systemctl.args(args), RELOAD_LIMIT));
}
