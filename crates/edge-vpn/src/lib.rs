//! Replaces: `edge-nordvpn.sh`.
//! Reads: `/etc/edge-ai/vpn.json`, `policy.json`, the token; wishes of the shadow.
//! Writes: `/data/config/{nordvpn,wireguard}`, its unit in `/data/services`, what
//! sshd listens on; sets up a WireGuard interface.
//! Runs when: `edge-bootstrap.service`, then `edge-vpn.timer`.
//! Exits: 0 ready or none wanted; else the cause, see `--help`.

mod cause;
mod client;
mod config;
mod desired;
mod key;
mod later;
mod net;
mod nordvpn;
mod peers;
mod ready;
mod sshd;
mod status;
mod tool;
mod unit;
mod wg;
mod wireguard;
mod words;

use std::fs::File;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use edge_common::{Root, boot, file, log};
use rustix::fs::{FlockOperation, flock};

pub use cause::Cause;
use config::{Config, Provider};

/// What this program keeps for itself until the next boot.
const RUN: &str = "/run/edge-vpn";

/// Brings the device into the VPN that the image names, NordVPN Meshnet or
/// WireGuard, and keeps it there: looks at what is, and does what is missing.
/// Safe to run at any time; a second run changes nothing.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 80,
    after_help = "\
Exit codes: 0 ready, or no VPN is wanted; 1 failed; 2 wrong usage; 3 the
configuration is not right; 4 no network, or no answer; 5 the token is missing,
refused or expired; 6 the account has its ten devices; 7 the vendor's limit of
changes is reached; 8 the kernel lacks WireGuard, TUN or nf_tables; 9 the vendor
has switched Meshnet off; 10 the client's container is down; 11 edge-docker
refuses the container; 12 SSH does not answer on the VPN's address

Examples: edge-vpn --budget 60
          edge-vpn status --json"
)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// How long to try before giving up; the last step may take half a minute
    /// more
    #[arg(long, value_name = "SECS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    budget: u64,
}

#[derive(Subcommand)]
enum Verb {
    /// Print what is there and what is missing, one fact a line
    #[command(after_help = "Example: edge-vpn status --json")]
    Status {
        /// As one object
        #[arg(long)]
        json: bool,
    },
    /// Before sshd starts: let it listen on the loopback alone, if policy.json
    /// says that SSH is for the VPN
    #[command(after_help = "Example: edge-vpn sshd    # as edge-vpn-ssh.service does")]
    Sshd,
}

/// Reconciles, or does what the verb says.
///
/// # Errors
/// As the exit codes say.
pub fn run(root: &Root, args: &Args) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(args.budget);
    match args.verb {
        Some(Verb::Status { json }) => status::print(root, json),
        Some(Verb::Sshd) => sshd::close(root),
        None => boot::recorded(root, "edge-vpn", || reconcile(root, end)),
    }
}

/// One step: what the configuration asks for, whatever was there before.
fn reconcile(root: &Root, end: Instant) -> Result<()> {
    let _alone = alone(root)?;
    let config = Config::load(root)?;
    let ssh = sshd::Policy::load(root)?;
    forget_others(root, &config.provider)?;
    match &config.provider {
        Provider::None => none(ssh),
        Provider::Nordvpn(nordvpn) => nordvpn::reconcile(root, nordvpn, ssh, end),
        Provider::Wireguard(wireguard) => wireguard::reconcile(root, wireguard, ssh, end),
    }
}

fn none(ssh: sshd::Policy) -> Result<()> {
    if ssh == sshd::Policy::Vpn {
        return Err(Cause::Config.error(
            "policy.json keeps SSH to the VPN, and /etc/edge-ai/vpn.json names none: \
             only the console is left",
        ));
    }
    Ok(())
}

/// Only one at a time; the lock ends with its file.
fn alone(root: &Root) -> Result<File> {
    let directory = root.path(RUN);
    file::create_directory(&directory, 0o755)?;
    let lock = File::open(&directory).with_context(|| format!("locking {RUN}"))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("another edge-vpn is at work");
    }
    Ok(lock)
}

/// Names that another provider gave are no longer this device's; its unit ends.
fn forget_others(root: &Root, provider: &Provider) -> Result<()> {
    if !matches!(provider, Provider::Nordvpn(_)) {
        file::remove(&root.path(nordvpn::HOSTNAME))?;
        unit::remove(root)?;
    }
    if !matches!(provider, Provider::Wireguard(_)) {
        file::remove(&root.path(wireguard::HOSTNAME))?;
        file::remove(&root.path(wireguard::ADDRESS))?;
    }
    Ok(())
}

/// Makes `directory` for root alone, and removes what a cut during a write has left
/// there: it may hold a secret.
fn tidy(root: &Root, directory: &str) -> Result<()> {
    let place = root.path(directory);
    file::create_directory(&place, 0o700)?;
    let entries = std::fs::read_dir(&place).with_context(|| format!("reading {directory}"))?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(".new-") {
            file::remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Keeps one line durably; says if that is new.
fn keep_line(root: &Root, path: &str, line: &str) -> Result<()> {
    if file::ensure(&root.path(path), format!("{line}\n").as_bytes(), 0o644)? {
        log::info(format_args!("{path}: {line}"));
    }
    Ok(())
}
