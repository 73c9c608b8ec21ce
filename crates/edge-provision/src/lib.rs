//! Provisioning of the device identity: key and certificate from AWS IoT fleet
//! provisioning, requested with the claim certificate of the device image.
//!
//! edge-provision reads the claim files and the CA certificates in `/etc/edge-ai` and
//! the serial number of the board, creates a key, requests a certificate over MQTT, and
//! commits both to `/data/config/aws-iot`. `edge-bootstrap.service` runs the program
//! until the identity exists and then `edge-provision mark`, which writes
//! `/data/.provisioned`. At each later boot `edge-provision-check.service` validates
//! and repairs the identity, `edge-provision-renew.timer` replaces the certificate
//! before it expires, and `edge-provision-refused.timer` an identity that the cloud
//! refuses.

mod attempt;
mod claim;
mod clock;
mod device;
mod error;
mod exit_code;
mod fleet_provisioning;
mod marker;
mod pki;
mod refused;
mod rejection;
mod renewal;
mod schedule;
mod status;
mod store;

use std::fs::File;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use edge_common::exit::{Failure, denied};
use edge_common::identity::DeviceConfig;
use edge_common::mqtt::CaBundle;
use edge_common::{Root, backoff, boot, file, lock, log};

use attempt::Attempt;
use device::Device;
use error::AttemptError;
use store::Location;

/// Provisions the device identity: key and certificate for AWS IoT.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 80,
    after_help = "\
The identity is requested by fleet provisioning with the claim certificate of
the image. After an interruption the next run continues with the same key; a
damaged identity is repaired.

Exit codes: 0 done or nothing to do, 1 failed, 2 wrong usage, 3 claim files
missing or unusable, 4 the clock is not set, 5 no network or no answer, 6 the
cloud rejected the device, 7 the server or the claim certificate is not trusted,
77 only root may read the identity: nothing is known about it

Examples: edge-provision --budget 60
          edge-provision --renew --within 30
          edge-provision status --json"
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Time for all attempts; the last one may take a minute more
    #[arg(long, value_name = "SECS", default_value_t = 240, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    budget: u64,
    /// Longest random wait before the first attempt, so that a fleet that is
    /// switched on at once does not connect at once; `spread_seconds` of the
    /// image takes precedence
    #[arg(long, value_name = "SECS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    spread: u64,
    /// Do nothing if a rejection is too recent: attempt again after 5, 15 and 60
    /// minutes, then every hour; for the units
    #[arg(long, conflicts_with = "renew")]
    scheduled: bool,
    /// Request another key and certificate and replace those in use
    #[arg(long)]
    renew: bool,
    /// With --renew: only if the cloud has refused the identity for a day, and once
    /// a day
    #[arg(long, requires = "renew", conflicts_with = "within")]
    refused: bool,
    /// With --renew: only if the certificate expires within so many days
    #[arg(long, value_name = "DAYS", requires = "renew")]
    within: Option<u32>,
}

#[derive(Subcommand)]
enum Command {
    /// Print the identity on disk, one fact a line, without network
    #[command(after_help = "Example: edge-provision status --json")]
    Status {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Write /data/.provisioned if a valid identity is committed
    #[command(after_help = "Example: edge-provision mark")]
    Mark,
}

/// Provisions or renews the identity, or runs the command `status` or `mark`.
pub fn run(root: &Root, args: &Args) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(args.budget);
    match args.command {
        Some(Command::Status { json }) => status::print(root, &Device::read(root)?, json),
        Some(Command::Mark) => marker::write(root, &Device::read(root)?),
        None if args.refused => {
            let device = Device::read(root)?;
            let _lock = lock(root)?;
            refused::run(root, &device, end)
        }
        None if args.renew => boot::recorded(root, "edge-provision-renew", || {
            let device = Device::read(root)?;
            let _lock = lock(root)?;
            store::set_aside(root)?;
            store::remove_leftovers(root)?;
            renewal::recover(root)?;
            renewal::run(root, &device, args.within, end)
        }),
        None => {
            // Not recorded: the record of the rejection stays.
            if args.scheduled {
                schedule::check(root)?;
            }
            let result = boot::recorded(root, "edge-provision", || provision(root, args, end));
            schedule::note(root, result)
        }
    }
}

/// Locks the identity against another process: the renewal timer and the check at boot
/// may coincide, and two keys for one device would lock it out of the cloud.
fn lock(root: &Root) -> Result<File> {
    let directory = root.path("/data/config");
    file::create_directory(&directory, 0o755)?;
    lock::try_exclusive(&directory)?.context("another edge-provision is running")
}

fn provision(root: &Root, args: &Args, end: Instant) -> Result<()> {
    let device = Device::read(root)?;
    let _lock = lock(root)?;
    store::set_aside(root)?;
    store::remove_leftovers(root)?;
    renewal::recover(root)?;
    // The identity is validated at every boot and not only checked for existence: a
    // damaged file or the disk of another device must not be accepted.
    let reason = match store::validate(root, &device.thing_name) {
        Ok((config, _)) => {
            store::remove_pending(root, Location::Current)?;
            return adopt_endpoint(root, &device, &config);
        }
        Err(reason) => reason,
    };
    log::info(format_args!(
        "provisioning {}: {reason:#}",
        device.thing_name
    ));
    let claim = claim::load(root).map_err(|e| Failure::wrap(exit_code::CLAIM, denied(e)))?;
    let ca_bundle = CaBundle::load(root).map_err(|e| Failure::wrap(exit_code::CLAIM, e))?;
    let key = store::load_or_create_key(root, Location::Current)?;
    if store::restore_config(root, &device, &claim, &key)? {
        return Ok(());
    }
    clock::wait(&claim, end)?;
    let spread = claim.spread.unwrap_or(Duration::from_secs(args.spread));
    // The spread may be longer than the budget, which is for the attempts.
    let end = end + wait_spread(spread);
    let mut attempt = Attempt {
        root,
        location: Location::Current,
        device: &device,
        claim: &claim,
        key: &key,
        known_key: &key,
        ca_bundle: &ca_bundle,
        session: None,
    };
    attempt.persist(end).map_err(AttemptError::into_failure)?;
    store::validate(root, &device.thing_name).context("validating the committed identity")?;
    store::remove_pending(root, Location::Current)?;
    log::info(format_args!("provisioned as {}", device.thing_name));
    Ok(())
}

/// Writes endpoint, port and proxy of the device image to the configuration if they
/// differ: the image may be newer than the identity. Without a usable claim the
/// configuration is kept.
fn adopt_endpoint(root: &Root, device: &Device, config: &DeviceConfig) -> Result<()> {
    let claim = match claim::load(root) {
        Ok(claim) => claim,
        Err(error) => {
            log::warn(format_args!("{error:#}; the endpoint in use is kept"));
            return Ok(());
        }
    };
    if store::configuration(device, &claim) == *config {
        return Ok(());
    }
    let (endpoint, port) = (&claim.endpoint, claim.port);
    log::info(format_args!(
        "connecting to {endpoint}:{port} from now on, as the image says"
    ));
    store::commit(root, Location::Current, device, &claim)
}

/// Waits for a random time up to `spread`: a batch of devices is often switched on at
/// once, and AWS serves ten provisionings per second and account. Returns the time.
fn wait_spread(spread: Duration) -> Duration {
    let wait = spread.mul_f64(backoff::random_fraction());
    if !wait.is_zero() {
        log::info(format_args!(
            "waiting {:.0} s to spread the load of a fleet",
            wait.as_secs_f32()
        ));
        std::thread::sleep(wait);
    }
    wait
}
