//! Replaces: `edge-provision.py`.
//! Reads: claim files and authorities in `/etc/edge-ai`, the serial number.
//! Writes: `/data/config/aws-iot`, and with `mark` `/data/.provisioned`.
//! Runs when: `edge-bootstrap.service`, until `/data/.provisioned` exists.
//! Exits: 0 done, 1 failed, 2 usage, 3 claim, 4 clock, 5 network, 6 refused, 7 TLS.

mod attempt;
mod claim;
mod clock;
mod device;
mod exchange;
mod mark;
mod pki;
mod state;

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Parser, Subcommand};
use edge_common::exit::Failure;
use edge_common::mqtt::Authorities;
use edge_common::{Root, log};

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
/// the claim certificate of the image. Resumes with the same key after a cut.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 80,
    after_help = "\
Exit codes: 0 done or nothing to do, 1 failed, 2 wrong usage, 3 claim files
missing or unusable, 4 the clock is not set, 5 no network or no answer, 6 the
cloud refused, 7 the server or the claim certificate is not trusted

Example: edge-provision --budget 60"
)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// How long to try before giving up
    #[arg(long, value_name = "SECS", default_value_t = 240, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    budget: u64,
}

#[derive(Subcommand)]
enum Verb {
    /// Print what is there, one fact a line; no network
    Status,
    /// Write /data/.provisioned if a valid identity is committed
    Mark,
}

/// Provisions, or does what the verb says.
///
/// # Errors
/// As the exit codes say.
pub fn run(root: &Root, args: &Args) -> Result<()> {
    let thing = device::identity(root)?;
    match args.verb {
        Some(Verb::Status) => mark::status(root, &thing),
        Some(Verb::Mark) => mark::mark(root, &thing),
        None => provision(root, &thing, Duration::from_secs(args.budget)),
    }
}

fn provision(root: &Root, thing: &device::Identity, budget: Duration) -> Result<()> {
    let Err(why) = state::committed(root, &thing.name) else {
        return Ok(());
    };
    log::info(format_args!("provisioning {}: {why:#}", thing.name));
    let end = Instant::now() + budget;
    let claim = claim::load(root).map_err(|e| Failure::wrap(CLAIM, e))?;
    let authorities = Authorities::load(root).map_err(|e| Failure::wrap(CLAIM, e))?;
    clock::wait(&claim, end)?;
    let key = state::key(root)?;
    if state::repair(root, thing, &claim, &key)? {
        return Ok(());
    }
    let attempt = attempt::Attempt {
        root,
        thing,
        claim: &claim,
        key: &key,
        authorities: &authorities,
    };
    let mut pause = attempt::FIRST_PAUSE;
    loop {
        let trouble = match attempt.run() {
            Ok(()) => return Ok(()),
            Err(trouble) => trouble,
        };
        pause = attempt::next_pause(pause, pki::random_fraction()?);
        if trouble.is_final() || Instant::now() + pause >= end {
            return Err(trouble.into_failure());
        }
        log::warn(format_args!(
            "{trouble}; trying again in {:.0} s",
            pause.as_secs_f32()
        ));
        std::thread::sleep(pause);
    }
}
