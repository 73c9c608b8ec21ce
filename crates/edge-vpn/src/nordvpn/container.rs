//! Container of NordVPN's client: the signed app that `vpn.json` names, run by its signed
//! run specification and in no other way.
//!
//! `edge-vpn-client.service` creates the container. edge-vpn itself runs in a mount
//! namespace of its own, in which edge-docker cannot clone the mounts of a container.
//! Afterwards the engine keeps the container running, by the signed restart policy.

use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use edge_common::command::Completed;
use edge_common::contract::path::{EDGE_DOCKER, SERVICES};
use edge_common::contract::{exit_code, label};
use edge_common::exit::Failure;
use edge_common::{Root, file, log};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::DIRECTORY;
use crate::cause::Cause;
use crate::config::{Nordvpn, Provider};
use crate::programs;

/// Unit of the read-only root that runs `edge-vpn client`.
const UNIT: &str = "edge-vpn-client.service";
/// Unit in `/data/services` that earlier device images wrote in place of [`UNIT`].
const EARLIER_UNIT: &str = "vpn-nordvpn.service";
/// Record of the app whose container runs, because a later `vpn.json` may name another.
const RECORD: &str = "/data/config/nordvpn/client.json";
/// Size limit of the record, in bytes.
const MAX_RECORD_BYTES: u64 = 4096;
/// Time limit of one call of `systemctl` or of `edge-docker inspect` and `rm`.
const LIMIT: Duration = Duration::from_secs(60);

/// Content of [`RECORD`].
#[derive(Serialize, Deserialize)]
struct Record {
    /// Version of the format.
    v: u32,
    /// Name of the app and of its container.
    app: String,
}

/// State of the client's container, compared with the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is no container, or the engine does not answer.
    Absent,
    /// A container of another version, or one that was created from options.
    Other,
    /// The container of the configured version, which does not run.
    Down,
    /// The container of the configured version, which runs.
    Running,
}

/// Starts [`UNIT`] unless the container of the configured version runs.
pub(super) fn ensure(root: &Root, config: &Nordvpn) -> Result<()> {
    remove_earlier_unit(root)?;
    let same = recorded(root).is_some_and(|app| app == config.app);
    if same && state(root, config) == State::Running {
        return Ok(());
    }
    // `--no-block`: the first start pulls the container image, which must not delay the
    // first boot.
    must_succeed(root, &["--no-block", "start", UNIT])
}

/// Starts [`UNIT`] to remove the container, if there is one.
pub(crate) fn remove(root: &Root) -> Result<()> {
    remove_earlier_unit(root)?;
    if recorded(root).is_none() {
        return Ok(());
    }
    must_succeed(root, &["--no-block", "start", UNIT])
}

/// Carries out `edge-vpn client`: removes the container of an app that `vpn.json` does not
/// name any more, and replaces this process by edge-docker, which runs the named one.
pub(crate) fn reconcile(root: &Root, provider: &Provider) -> Result<()> {
    let config = match provider {
        Provider::Nordvpn(config) => Some(config),
        _ => None,
    };
    let app = config.map(|config| &*config.app);
    if let Some(old) = recorded(root).filter(|old| app != Some(old)) {
        remove_container(root, &old)?;
        file::remove(&root.path(RECORD))?;
    }
    let Some(config) = config else {
        return Ok(());
    };
    let app = config.app.clone();
    let record = serde_json::to_vec(&Record { v: 1, app }).context("writing the record")?;
    file::create_directory(&root.path(DIRECTORY), 0o700)?;
    // Before the container, so that none is forgotten after a power loss. Unknown fields of
    // a later version are kept as long as the app is the same.
    if recorded(root).is_none() {
        file::write(&root.path(RECORD), &record, 0o600)?;
    }
    let verb = match state(root, config) {
        State::Other => "replace",
        State::Down if !starts_again(root, config)? => "replace",
        // What runs is left alone, also if its version was signed again meanwhile: a
        // connection is not interrupted for that.
        State::Down | State::Running => return Ok(()),
        State::Absent => "run",
    };
    let mut command = root.command(EDGE_DOCKER);
    Err(command.args([verb, &config.image]).exec()).context("starting edge-docker")
}

/// Starts the container that does not run, also without the registry. Returns false if
/// edge-docker refuses that: its version may have been signed again for another image
/// meanwhile, which `replace` deploys in its place.
fn starts_again(root: &Root, config: &Nordvpn) -> Result<bool> {
    let mut command = root.command(EDGE_DOCKER);
    let status = command.args(["run", &config.image]).status();
    let status = status.context("starting edge-docker")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    match code {
        Some(0) => Ok(true),
        Some(exit_code::REFUSED) => {
            log::warn(format_args!(
                "the container {} does not start as {}: deploying that in its place",
                config.app, config.image
            ));
            Ok(false)
        }
        // The code tells edge-vpn the cause, see `explain`.
        code => Err(Failure::error(
            code.unwrap_or(1),
            format_args!("edge-docker run {}: {status}", config.image),
        )),
    }
}

/// Returns whether the container of the configured version runs.
pub(crate) fn is_running(root: &Root, config: &Nordvpn) -> bool {
    state(root, config) == State::Running
}

fn state(root: &Root, config: &Nordvpn) -> State {
    let mut command = root.command(EDGE_DOCKER);
    command.args(["inspect", "--type", "container", &config.app]);
    let Ok(inspected) = programs::run(&mut command, "", LIMIT) else {
        return State::Absent;
    };
    let found = serde_json::from_str::<Value>(&inspected.stdout);
    let Some(found) = found.ok().filter(|_| inspected.success()) else {
        return State::Absent;
    };
    let found = &found[0];
    let text = |name: &str| found["Config"]["Labels"][name].as_str().unwrap_or_default();
    let (version, digest) = config.version();
    let same = text(label::APP) == config.app
        && text(label::VERSION) == version
        && digest.is_none_or(|digest| text(label::DIGEST) == digest);
    let runs = ["Running", "Restarting"].iter();
    let runs = runs.map(|key| &found["State"][key]).any(|v| *v == true);
    match (same && !text(label::RUN).is_empty(), runs) {
        (false, _) => State::Other,
        (true, false) => State::Down,
        (true, true) => State::Running,
    }
}

/// Returns the name of the app in the record, if it is an app's name.
fn recorded(root: &Root) -> Option<String> {
    let text = file::read(&root.path(RECORD), MAX_RECORD_BYTES).ok()?;
    let record: Record = serde_json::from_slice(&text).ok()?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let starts = record.app.starts_with(|c: char| c.is_ascii_lowercase());
    (starts && record.app.chars().all(allowed)).then_some(record.app)
}

/// Removes the container of `app` and the one of its previous version.
fn remove_container(root: &Root, app: &str) -> Result<()> {
    for name in [format!("{app}-previous"), app.to_string()] {
        let mut inspect = root.command(EDGE_DOCKER);
        inspect.args(["inspect", "--type", "container", &name]);
        if !programs::run(&mut inspect, "", LIMIT)?.success() {
            continue;
        }
        let mut command = root.command(EDGE_DOCKER);
        let removed = programs::run(command.args(["rm", "--force", &name]), "", LIMIT)?;
        if !removed.success() {
            bail!("removing the container {name}: {}", removed.summary());
        }
        log::info(format_args!("removed the container {name}"));
    }
    Ok(())
}

/// Stops and removes the unit of an earlier device image. It runs edge-docker with options,
/// which a container with grants does not take.
fn remove_earlier_unit(root: &Root) -> Result<()> {
    let path = root.path(format!("{SERVICES}/{EARLIER_UNIT}"));
    if std::fs::symlink_metadata(&path).is_err() {
        return Ok(());
    }
    systemctl(root, &["stop", EARLIER_UNIT])?;
    file::remove(&path)?;
    log::info(format_args!("removed {SERVICES}/{EARLIER_UNIT}"));
    must_succeed(root, &["daemon-reload"])
}

/// Replaces `error` by a more specific one, if the exit code of edge-docker in the unit
/// shows why the container is not running.
pub(super) fn explain(root: &Root, error: anyhow::Error) -> anyhow::Error {
    let args = ["show", "--property=ExecMainStatus", "--value", UNIT];
    let status = systemctl(root, &args).ok();
    let status = status.and_then(|s| s.stdout.trim().parse().ok());
    let see = format!("journalctl -u {UNIT}");
    match status {
        Some(exit_code::REFUSED) => Cause::Refused.error(format_args!(
            "edge-docker refuses the client's container, or the engine failed: {see}"
        )),
        Some(exit_code::UNVERIFIABLE) => Cause::Network.error(format_args!(
            "the signature of the client's image cannot be verified now: {see}"
        )),
        _ => error,
    }
}

fn systemctl(root: &Root, args: &[&str]) -> Result<Completed> {
    let mut command = programs::find(root, "systemctl");
    programs::run(command.args(args), "", LIMIT)
}

fn must_succeed(root: &Root, args: &[&str]) -> Result<()> {
    let completed = systemctl(root, args)?;
    if !completed.success() {
        bail!("systemctl {}: {}", args.join(" "), completed.summary());
    }
    Ok(())
}
