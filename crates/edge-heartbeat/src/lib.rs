//! Heartbeat of the device: a service that reports the state of the device to its AWS
//! IoT shadow.
//!
//! edge-heartbeat reads `/proc`, `/sys`, the engine's list of containers and the
//! results that other tools leave on `/data`, and reports them every five minutes over
//! one MQTT connection, which stays open: the device to the classic shadow, its apps to the
//! shadow `apps`, the report of edge-fleet to the shadow `fleet`. It writes the pending jobs
//! of AWS IoT to `/data/config/edge-fleet/in`, says the results that edge-fleet leaves, and
//! sends samples of the device once an hour. From the shadow it receives the interval of
//! the reports, `desired.heartbeat_seconds`, and `desired.vpn`, which it writes to
//! `/data/config/vpn/desired.json` for edge-vpn. The time of the shadow's answers goes to
//! `/data/config/edge-heartbeat` for edge-docker. `edge-heartbeat.service` runs the
//! program once `/data/.provisioned` exists.

mod containers;
mod disk;
mod document;
mod exchange;
mod files;
mod fleet;
mod gatherer;
mod guard;
mod identity;
mod jobs;
mod layers;
mod link;
mod named;
mod rejections;
mod release_numbers;
mod reported_state;
mod samples;
mod sd_notify;
mod service;
mod shadow;
mod stamp;
mod temperature;
mod timing;
mod vpn;

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use edge_common::Root;

use document::MAX_DOCUMENT_BYTES;
use exchange::Exchange;
use gatherer::Gatherer;
use identity::Identity;
pub use jobs::Pauses;
pub use samples::Sampling;
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
publishes to edge-ai/THING/offline. Pending jobs are written for edge-fleet to
/data/config/edge-fleet/in/jobs.json, and its results are reported. Once an
hour, samples of the device go to edge-ai/THING/samples.

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

/// Reports once and exchanges jobs once with `--once`, otherwise until the process is ended.
pub fn run(root: &Root, args: &Args) -> Result<()> {
    let mut timing = Timing::default();
    if !args.once {
        return serve(root, &timing);
    }
    timing.jobs.jitter = Duration::ZERO;
    let identity = Identity::load(root)?;
    let mut link = identity.connect(&timing)?;
    let mut exchange = Exchange::new(root, &timing);
    exchange.connected();
    exchange.fetch_state(&mut link, timing.step)?;
    let mut state = Gatherer::new(root).gather(timing.gather);
    let apps = state.remove(service::APPS).unwrap_or_default();
    let answer = exchange.report(&mut link, state, MAX_DOCUMENT_BYTES, timing.step)?;
    exchange.apps.want(apps);
    exchange.read_files(root);
    exchange.settle(&mut link, timing.step * 2)?;
    service::note_cloud_time(root, &link);
    link.close();
    for rejection in [exchange.apps.rejection(), exchange.fleet.rejection()] {
        if !rejection.is_null() {
            bail!("reporting: rejected: {rejection}");
        }
    }
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
