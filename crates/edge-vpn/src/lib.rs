//! VPN connection of the device, by NordVPN Meshnet or WireGuard as configured in the
//! device image.
//!
//! edge-vpn reads `/etc/edge-ai/vpn.json`, `policy.json`, the NordVPN token and
//! `desired.vpn` of the shadow, compares the state of the VPN with them, and performs
//! the missing steps: a container with NordVPN's client or a WireGuard interface, the
//! addresses on which sshd listens, and the host name in `/data/config/nordvpn` or
//! `/data/config/wireguard`, which edge-heartbeat reports. `edge-bootstrap.service`
//! starts it at the first boot, `edge-vpn.timer` every five minutes, and
//! `edge-vpn.path` after a change of `desired.vpn`.

mod cause;
mod config;
mod files;
mod net;
mod nordvpn;
mod programs;
mod ssh_probe;
mod sshd;
mod status;
mod wireguard;

use std::fs::File;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use edge_common::contract::path::{NORDVPN_HOSTNAME, WIREGUARD_ADDRESS, WIREGUARD_HOSTNAME};
use edge_common::policy::SshAccess;
use edge_common::{Root, boot, file, lock};

use cause::Cause;
use config::{Config, Provider};
use files::RUNTIME_DIRECTORY;

/// Connects the device to its VPN: NordVPN Meshnet or WireGuard.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 80,
    after_help = "\
The image names the VPN in /etc/edge-ai/vpn.json. Each run compares the state of
the device with it and does only what is missing.

Exit codes: 0 ready, or no VPN is configured; 1 failed; 2 wrong usage; 3 the
configuration is invalid; 4 no network, or no answer; 5 the token is missing,
rejected or expired; 6 the account has its ten devices; 7 the vendor's limit of
changes is reached; 8 the kernel lacks WireGuard, TUN or nf_tables; 9 the vendor
has switched Meshnet off; 10 the client's container is down; 11 edge-docker
refuses the container; 12 SSH does not answer on the VPN's address; 13 NordVPN
did not register the device; 77 only root may read the state of the VPN

Examples: edge-vpn --budget 60
          edge-vpn status --json"
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Time for all attempts; the last step may take half a minute more
    #[arg(long, value_name = "SECS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    budget: u64,
}

#[derive(Subcommand)]
enum Command {
    /// Print the state of the VPN and what is missing, one fact a line
    #[command(after_help = "Example: edge-vpn status --json")]
    Status {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Restrict sshd to the loopback before it starts, if policy.json reserves
    /// SSH for the VPN
    #[command(after_help = "Example: edge-vpn sshd    # as edge-vpn-ssh.service does")]
    Sshd,
    /// Run the container of NordVPN's client as it was signed, or remove it if
    /// the image names another VPN
    #[command(after_help = "Example: edge-vpn client    # as edge-vpn-client.service does")]
    Client,
}

/// Brings the VPN into the configured state, or runs one of the commands.
pub fn run(root: &Root, args: &Args) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(args.budget);
    match args.command {
        Some(Command::Status { json }) => status::print(root, json),
        Some(Command::Sshd) => sshd::close(root),
        Some(Command::Client) => nordvpn::reconcile_container(root, &Config::load(root)?.provider),
        None => boot::recorded(root, "edge-vpn", || reconcile(root, end)),
    }
}

/// Brings the VPN from any state into the configured one, and returns an error with the
/// [`Cause`] if this is not possible.
fn reconcile(root: &Root, end: Instant) -> Result<()> {
    let _lock = lock(root)?;
    let config = Config::load(root)?;
    let ssh = sshd::access(root)?;
    remove_other_providers(root, &config.provider)?;
    match &config.provider {
        Provider::None => check_none(ssh),
        Provider::Nordvpn(nordvpn) => nordvpn::reconcile(root, nordvpn, ssh, end),
        Provider::Wireguard(wireguard) => wireguard::reconcile(root, wireguard, ssh, end),
    }
}

fn check_none(ssh: SshAccess) -> Result<()> {
    if ssh == SshAccess::Vpn {
        return Err(Cause::Config.error(
            "policy.json reserves SSH for the VPN, and /etc/edge-ai/vpn.json names none: \
             only the console is left",
        ));
    }
    Ok(())
}

/// Locks the VPN state against another edge-vpn process: the timer, the first boot and
/// a change of `desired.vpn` may start edge-vpn at the same time.
fn lock(root: &Root) -> Result<File> {
    let directory = root.path(RUNTIME_DIRECTORY);
    file::create_directory(&directory, 0o755)?;
    lock::try_exclusive(&directory)?.context("another edge-vpn is running")
}

/// Removes the container, host names and addresses of the providers that the image does not
/// use any more.
fn remove_other_providers(root: &Root, provider: &Provider) -> Result<()> {
    if !matches!(provider, Provider::Nordvpn(_)) {
        file::remove(&root.path(NORDVPN_HOSTNAME))?;
        nordvpn::remove(root)?;
    }
    if !matches!(provider, Provider::Wireguard(_)) {
        file::remove(&root.path(WIREGUARD_HOSTNAME))?;
        file::remove(&root.path(WIREGUARD_ADDRESS))?;
    }
    Ok(())
}
