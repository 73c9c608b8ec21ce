//! Heartbeat of the device: a service that reports the state of the device to its AWS
//! IoT shadow.
//!
//! edge-heartbeat reads `/proc`, `/sys`, the engine's list of containers and the
//! results that other tools leave on `/data`, and reports them every five minutes over
//! one MQTT connection, which stays open. From the shadow it receives the interval of
//! the reports, `desired.heartbeat_seconds`, and `desired.vpn`, which it writes to
//! `/data/config/vpn/desired.json` for edge-vpn. The time of the shadow's answers goes to
//! `/data/config/edge-heartbeat` for edge-docker. `edge-heartbeat.service` runs the
//! program once `/data/.provisioned` exists.

mod containers;
mod disk;
mod document;
mod files;
mod gatherer;
mod identity;
mod layers;
mod rejections;
mod release_numbers;
mod reported_state;
mod sd_notify;
mod service;
mod shadow;
mod temperature;
mod timing;
mod vpn;

use anyhow::{Result, bail};
use clap::Parser;
use edge_common::Root;

use document::MAX_DOCUMENT_BYTES;
use gatherer::Gatherer;
use identity::Identity;
use shadow::Answer;
pub use timing::Timing;

/// Reports the state of the device to its AWS IoT shadow.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 80,
    after_help = "\
The state is reported every five minutes, or as desired.heartbeat_seconds of the
shadow says, over one connection. When the connection breaks, the broker
publishes to edge-ai/THING/offline.

Exit codes: 0 reported with --once, 1 failed, 2 wrong usage, 3 the device has
no valid identity, 77 only root may read it. Without --once the program runs
until it is stopped.

Example: edge-heartbeat --once"
)]
pub struct Args {
    /// Report once and exit
    #[arg(long)]
    once: bool,
}

/// Reports once with `--once`, otherwise until the process is ended.
pub fn run(root: &Root, args: &Args) -> Result<()> {
    let timing = Timing::default();
    if !args.once {
        return serve(root, &timing);
    }
    let identity = Identity::load(root)?;
    let mut shadow = identity.connect(&timing)?;
    shadow.fetch_state(timing.step)?;
    let state = Gatherer::new(root).gather(timing.gather);
    let answer = shadow.report(state, MAX_DOCUMENT_BYTES, timing.step)?;
    service::note_cloud_time(root, &shadow);
    shadow.close();
    match answer {
        Answer::Accepted => Ok(()),
        Answer::Rejected(rejection) => bail!("reporting: rejected: {rejection}"),
        Answer::Missing => bail!("reporting: no answer within {} s", timing.step.as_secs()),
    }
}

/// Runs the service until the process is ended, with intervals and time limits that
/// tests can shorten.
pub fn serve(root: &Root, timing: &Timing) -> Result<()> {
    service::run(root, timing)
}
