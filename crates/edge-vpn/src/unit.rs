//! The client's unit in `/data/services`: it starts edge-docker and nothing else.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use edge_common::{Root, file, log};

use crate::cause::Cause;
use crate::config::Nordvpn;
use crate::tool::{self, Answer};

/// Its name; there is one.
const NAME: &str = "vpn-nordvpn.service";
/// Directory of the units.
const DIRECTORY: &str = "/data/services";
/// The one repository, in the image.
const REPOSITORY: &str = "/etc/edge-ai/container-config/ecr-url.txt";
/// Limit of one `systemctl`.
const LIMIT: Duration = Duration::from_secs(60);

/// Keeps the unit as the configuration says, and running.
///
/// # Errors
/// It cannot be written, or systemd does not start it.
pub fn ensure(root: &Root, config: &Nordvpn, thing: &str) -> Result<()> {
    file::create_directory(&root.path(DIRECTORY), 0o755)?;
    let path = root.path(format!("{DIRECTORY}/{NAME}"));
    let text = text(root, config, thing)?;
    let same = file::read_text(&path, 64 * 1024).is_ok_and(|old| old == text);
    if same && systemctl(root, &["is-active", "--quiet", NAME])?.good() {
        return Ok(());
    }
    if !same {
        // Stopped first, so that a cut from here on leaves nothing that runs
        // under the old unit.
        systemctl(root, &["stop", NAME])?;
        file::write(&path, text.as_bytes(), 0o644)?;
        log::info(format_args!("{DIRECTORY}/{NAME} is written"));
    }
    must(root, &["daemon-reload"])?;
    must(root, &["--no-block", "start", NAME])
}

/// Takes the unit away; nothing to do without one.
///
/// # Errors
/// It cannot be removed.
pub fn remove(root: &Root) -> Result<()> {
    let path = root.path(format!("{DIRECTORY}/{NAME}"));
    if std::fs::symlink_metadata(&path).is_err() {
        return Ok(());
    }
    systemctl(root, &["stop", NAME])?;
    file::remove(&path)?;
    must(root, &["daemon-reload"])
}

/// Why the container is not there, if its unit tells more than `error`.
pub fn why(root: &Root, error: anyhow::Error) -> anyhow::Error {
    let words = ["show", "--property=ExecMainStatus", "--value", NAME];
    let status = systemctl(root, &words).map(|a| a.out.trim().to_string());
    let see = format!("journalctl -u {NAME}");
    match status.as_deref() {
        Ok("125") => Cause::Refused.error(format_args!(
            "edge-docker refuses the client's container, or the engine does: {see}"
        )),
        Ok("124") => Cause::Network.error(format_args!(
            "whether the client's image is signed cannot be told now: {see}"
        )),
        _ => error,
    }
}

/// Is it active?
pub fn active(root: &Root) -> bool {
    systemctl(root, &["is-active", "--quiet", NAME]).is_ok_and(|a| a.good())
}

fn systemctl(root: &Root, words: &[&str]) -> Result<Answer> {
    let mut command = tool::program(root, "systemctl");
    tool::ask(command.args(words), "", LIMIT)
}

fn must(root: &Root, words: &[&str]) -> Result<()> {
    let answer = systemctl(root, words)?;
    if !answer.good() {
        bail!("systemctl {}: {}", words.join(" "), answer.last());
    }
    Ok(())
}

/// The client makes a device of what it finds: its directory, and the host's name.
/// Both stay, or each boot would take another of the account's ten places.
fn text(root: &Root, config: &Nordvpn, thing: &str) -> Result<String> {
    let repository = file::read_text(&root.path(REPOSITORY), 4096)?;
    let repository = repository.trim();
    let good = |c: char| c.is_ascii_alphanumeric() || "./:_-".contains(c);
    if repository.is_empty() || !repository.chars().all(good) {
        return Err(Cause::Config.error(format_args!("{REPOSITORY} names no repository")));
    }
    let separator = if config.image.starts_with("sha256:") {
        "@"
    } else {
        ":"
    };
    let image = format!("{repository}{separator}{}", config.image);
    let app = &config.app;
    let host = thing.replace([':', '_'], "-");
    let host = host.get(..host.len().min(63)).context("a host name")?;
    Ok(format!(
        "# Written by edge-vpn, from /etc/edge-ai/vpn.json.\n\
         [Unit]\n\
         Description=NordVPN Meshnet of this device\n\
         Wants=docker.service network-online.target\n\
         After=docker.service network-online.target\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         ExecStartPre=-/usr/bin/edge-docker rm --force {app}\n\
         ExecStart=/usr/bin/edge-docker run --rm --name {app} --hostname {host} --grant vpn \
         --mount type=bind,source=/data/apps/{app}/state,target=/var/lib/nordvpn {image}\n\
         ExecStop=-/usr/bin/edge-docker stop {app}\n\
         Restart=always\n\
         RestartSec=15\n\
         TimeoutStopSec=30\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    ))
}
