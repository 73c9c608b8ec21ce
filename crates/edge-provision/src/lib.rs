//! Replaces: `edge-provision.py`.
//! Reads: claim files and CA certificates in `/etc/edge-ai`, the serial number.
//! Writes: `/data/config/aws-iot`, and with `mark` `/data/.provisioned`.
//! Runs when: `edge-bootstrap.service` once, then at each boot and by a timer.
//! Exits: 0 done, 1 failed, 2 usage, 3 claim, 4 clock, 5 network, 6 refused, 7 TLS.

mod attempt;
mod claim;
mod clock;
mod device;
mod exchange;
mod mark;
mod pki;
mod renew;
mod state;
mod status;

use std::fs::File;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use edge_common::exit::Failure;
use edge_common::mqtt::CaBundle;
use edge_common::{Root, boot, file, log};
use rustix::fs::{FlockOperation, flock};

use state::Place;

/// Exit code: the claim files are missing or unusable.
pub const CLAIM: u8 = 3;
/// Exit code: the clock is not set.
pub const CLOCK: u8 = 4;
/// Exit code: the endpoint cannot be reached, or does not answer.
pub const NETWORK: u8 = 5;
/// Exit code: the cloud said no.
pub const REFUSED: u8 = 6;
/// Exit code: the server or our claim is not trusted by the other side.
pub const TLS: u8 = 7;

/// Gets the device its own identity from AWS IoT, by fleet provisioning with
/// the claim certificate of the image. Resumes with the same key after a cut,
/// and repairs an identity that is damaged.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 80,
    after_help = "\
Exit codes: 0 done or nothing to do, 1 failed, 2 wrong usage, 3 claim files
missing or unusable, 4 the clock is not set, 5 no network or no answer, 6 the
cloud refused, 7 the server or the claim certificate is not trusted

Examples: edge-provision --budget 60
          edge-provision --renew --within 30
          edge-provision status --json"
)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// How long to try before giving up; the last try may take a minute more
    #[arg(long, value_name = "SECS", default_value_t = 240, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    budget: u64,
    /// First wait a random time up to this, so that a fleet that is switched on
    /// at once does not ask at once; `spread_seconds` of the image comes first
    #[arg(long, value_name = "SECS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    spread: u64,
    /// Get another key and certificate, and replace those in use by them
    #[arg(long)]
    renew: bool,
    /// With --renew: only if the certificate ends within so many days
    #[arg(long, value_name = "DAYS", requires = "renew")]
    within: Option<u32>,
}

#[derive(Subcommand)]
enum Verb {
    /// Print what is there, one fact a line; no network
    #[command(after_help = "Example: edge-provision status --json")]
    Status {
        /// As one object
        #[arg(long)]
        json: bool,
    },
    /// Write /data/.provisioned if a valid identity is committed
    #[command(after_help = "Example: edge-provision mark")]
    Mark,
}

/// Provisions, or does what the verb says.
///
/// # Errors
/// As the exit codes say.
pub fn run(root: &Root, args: &Args) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(args.budget);
    match args.verb {
        Some(Verb::Status { json }) => status::print(root, &device::identity(root)?, json),
        Some(Verb::Mark) => mark::mark(root, &device::identity(root)?),
        None if args.renew => boot::recorded(root, "edge-provision-renew", || {
            let thing = device::identity(root)?;
            let _alone = alone(root)?;
            state::tidy(root)?;
            renew::settle(root)?;
            renew::run(root, &thing, args.within, end)
        }),
        None => boot::recorded(root, "edge-provision", || provision(root, args, end)),
    }
}

/// Only one at a time works on the identity; the lock ends with its file.
fn alone(root: &Root) -> Result<File> {
    let directory = root.path("/data/config");
    file::create_directory(&directory, 0o755)?;
    let lock = File::open(&directory).context("locking /data/config")?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("another edge-provision is at work");
    }
    Ok(lock)
}

fn provision(root: &Root, args: &Args, end: Instant) -> Result<()> {
    let thing = device::identity(root)?;
    let _alone = alone(root)?;
    state::tidy(root)?;
    renew::settle(root)?;
    let Err(why) = state::committed(root, &thing.name) else {
        return state::forget(root, Place::Current);
    };
    log::info(format_args!("provisioning {}: {why:#}", thing.name));
    let claim = claim::load(root).map_err(|e| Failure::wrap(CLAIM, e))?;
    let ca_bundle = CaBundle::load(root).map_err(|e| Failure::wrap(CLAIM, e))?;
    let key = state::key(root, Place::Current)?;
    if state::repair(root, &thing, &claim, &key)? {
        return Ok(());
    }
    clock::wait(&claim, end)?;
    wait_spread(claim.spread.unwrap_or(Duration::from_secs(args.spread)))?;
    let mut attempt = attempt::Attempt {
        root,
        place: Place::Current,
        thing: &thing,
        claim: &claim,
        key: &key,
        known: &key,
        ca_bundle: &ca_bundle,
        session: None,
    };
    let done = attempt.persist(end);
    done.map_err(attempt::Trouble::into_failure)?;
    let checked = state::committed(root, &thing.name);
    checked.context("checking what was committed")?;
    state::forget(root, Place::Current)?;
    log::info(format_args!("provisioned as {}", thing.name));
    Ok(())
}

/// Waits a random time up to `most`.
fn wait_spread(most: Duration) -> Result<()> {
    let wait = most.mul_f64(pki::random_fraction()?);
    if !wait.is_zero() {
        log::info(format_args!(
            "waiting {:.0} s, so that not all devices ask at once",
            wait.as_secs_f32()
        ));
        std::thread::sleep(wait);
    }
    Ok(())
}
