//! systemd unit of the client's container in `/data/services`. The unit starts only
//! edge-docker, so the same policy applies to this container as to any app.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use edge_common::command::Completed;
use edge_common::contract::exit_code;
use edge_common::contract::path::{APPS, EDGE_DOCKER, REPOSITORY, SERVICES};
use edge_common::{Root, file, log};

use crate::cause::Cause;
use crate::config::Nordvpn;
use crate::programs;

/// File name of the unit in `/data/services`.
const NAME: &str = "vpn-nordvpn.service";
/// Size limit of the existing unit, in bytes; a larger one is replaced.
const MAX_UNIT_BYTES: u64 = 64 * 1024;
/// Size limit of the file with the repository's URL, in bytes.
const MAX_REPOSITORY_BYTES: u64 = 4096;
/// Time limit of one call of `systemctl`.
const SYSTEMCTL_LIMIT: Duration = Duration::from_secs(60);

/// Writes the unit according to the configuration, and starts it unless it is active
/// and unchanged.
pub(super) fn ensure(root: &Root, config: &Nordvpn, thing: &str) -> Result<()> {
    file::create_directory(&root.path(SERVICES), 0o755)?;
    let path = root.path(format!("{SERVICES}/{NAME}"));
    let text = text(root, config, thing)?;
    let same = file::read_text(&path, MAX_UNIT_BYTES).is_ok_and(|old| old == text);
    if same && systemctl(root, &["is-active", "--quiet", NAME])?.success() {
        return Ok(());
    }
    if !same {
        // The unit is stopped before the file is replaced, so that an interruption
        // leaves no container that runs with the old unit.
        systemctl(root, &["stop", NAME])?;
        file::write(&path, text.as_bytes(), 0o644)?;
        log::info(format_args!("wrote {SERVICES}/{NAME}"));
    }
    must_succeed(root, &["daemon-reload"])?;
    // `--no-block`: the first start pulls the container image, which must not delay the
    // first boot.
    must_succeed(root, &["--no-block", "start", NAME])
}

/// Stops the unit and removes its file, if it exists.
pub(crate) fn remove(root: &Root) -> Result<()> {
    let path = root.path(format!("{SERVICES}/{NAME}"));
    if std::fs::symlink_metadata(&path).is_err() {
        return Ok(());
    }
    systemctl(root, &["stop", NAME])?;
    file::remove(&path)?;
    must_succeed(root, &["daemon-reload"])
}

/// Replaces `error` by a more specific one, if the exit code of edge-docker in the unit
/// shows why the container is not running.
pub(super) fn explain(root: &Root, error: anyhow::Error) -> anyhow::Error {
    let args = ["show", "--property=ExecMainStatus", "--value", NAME];
    let status = systemctl(root, &args).ok();
    let status = status.and_then(|s| s.stdout.trim().parse().ok());
    let see = format!("journalctl -u {NAME}");
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

/// Returns whether systemd reports the unit as active.
pub(crate) fn is_active(root: &Root) -> bool {
    systemctl(root, &["is-active", "--quiet", NAME]).is_ok_and(|c| c.success())
}

fn systemctl(root: &Root, args: &[&str]) -> Result<Completed> {
    let mut command = programs::find(root, "systemctl");
    programs::run(command.args(args), "", SYSTEMCTL_LIMIT)
}

fn must_succeed(root: &Root, args: &[&str]) -> Result<()> {
    let completed = systemctl(root, args)?;
    if !completed.success() {
        bail!("systemctl {}: {}", args.join(" "), completed.summary());
    }
    Ok(())
}

/// Returns the content of the unit file. The state directory and the host name never
/// change: the client derives its machine ID from them, and each new ID counts as
/// another of the account's ten devices.
fn text(root: &Root, config: &Nordvpn, thing: &str) -> Result<String> {
    let repository = file::read_text(&root.path(REPOSITORY), MAX_REPOSITORY_BYTES)?;
    let repository = repository.trim();
    // The URL becomes part of the unit, so it must not contain a blank or a line feed.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "./:_-".contains(c);
    if repository.is_empty() || !repository.chars().all(allowed) {
        let message = format!("{REPOSITORY} is not a repository: {repository:?}");
        return Err(Cause::Config.error(message));
    }
    let separator = if config.image.starts_with("sha256:") {
        "@"
    } else {
        ":"
    };
    let image = format!("{repository}{separator}{}", config.image);
    let app = &config.app;
    // Colons and underscores are valid in a thing name, but not in a host name.
    let host = thing.replace([':', '_'], "-");
    let host = host.get(..host.len().min(63));
    let host = host.context("the thing's name is not a host name")?;
    Ok(format!(
        "# Written by edge-vpn, from /etc/edge-ai/vpn.json.\n\
         [Unit]\n\
         Description=NordVPN Meshnet of this device\n\
         Wants=docker.service network-online.target\n\
         After=docker.service network-online.target\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         ExecStartPre=-{EDGE_DOCKER} rm --force {app}\n\
         ExecStart={EDGE_DOCKER} run --rm --name {app} --hostname {host} --grant vpn \
         --mount type=bind,source={APPS}/{app}/state,target=/var/lib/nordvpn {image}\n\
         ExecStop=-{EDGE_DOCKER} stop {app}\n\
         Restart=always\n\
         RestartSec=15\n\
         TimeoutStopSec=30\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    ))
}
