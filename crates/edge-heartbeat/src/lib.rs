//! Replaces: the heartbeat script.
//! Reads: the identity on `/data`, `/proc`, `/sys`, the container engine's list.
//! Writes: the `reported` half of the device's shadow; nothing on disk.
//! Runs when: `edge-heartbeat.service`, once `/data/.provisioned` is there.
//! Exits: 0 told to stop, or reported once; 1 failed; 2 usage; 3 no identity.

mod containers;
mod facts;
mod notify;
mod report;

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use edge_common::exit::Failure;
use edge_common::identity::{CERTIFICATE, DeviceConfig, KEY};
use edge_common::mqtt::{Authorities, Options, PORT, Session};
use edge_common::{Root, log};

/// Exit code: there is no valid identity.
pub const IDENTITY: u8 = 3;
/// Time between two reports.
const INTERVAL: Duration = Duration::from_secs(300);
/// Limit of each step on the network.
const STEP: Duration = Duration::from_secs(15);
/// First and longest pause before connecting again. AWS takes one connection
/// of a client in some seconds.
const PAUSES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// Reports the state of the device to its shadow every five minutes, over one
/// connection that is kept.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 80,
    after_help = "\
Exit codes: 0 told to stop, or reported with --once, 1 failed, 2 wrong usage,
3 the device has no valid identity

Example: edge-heartbeat --once"
)]
pub struct Args {
    /// Report once and end
    #[arg(long)]
    once: bool,
}

/// Reports until the process is told to stop, or once.
///
/// # Errors
/// As the exit codes say; with `--once` also whatever the network does.
pub fn run(root: &Root, args: &Args) -> Result<()> {
    let config = DeviceConfig::load(root).map_err(|e| Failure::wrap(IDENTITY, e))?;
    let authorities = Authorities::load(root)?;
    let device = Device {
        root,
        config,
        authorities,
    };
    if args.once {
        let session = device.connect()?;
        device.report(&session)?;
        session.close();
        return Ok(());
    }
    let notify = notify::Notify::from_environment();
    notify.ready();
    let mut pause = PAUSES.0;
    loop {
        let start = Instant::now();
        match device.stay(&notify) {
            Ok(()) => log::warn("the connection was lost"),
            Err(error) => log::warn(format_args!("{error:#}")),
        }
        pause = if start.elapsed() > INTERVAL {
            PAUSES.0
        } else {
            (pause * 2).min(PAUSES.1)
        };
        notify.status("waiting to connect again");
        notify.sleep(pause);
    }
}

struct Device<'a> {
    root: &'a Root,
    config: DeviceConfig,
    authorities: Authorities,
}

impl Device<'_> {
    fn connect(&self) -> Result<Session> {
        let session = Session::connect(&Options {
            endpoint: &self.config.endpoint,
            port: self.config.port.unwrap_or(PORT),
            proxy: self.config.proxy.as_deref(),
            client_id: &self.config.thing_name,
            certificate: self.root.path(CERTIFICATE),
            key: self.root.path(KEY),
            authorities: &self.authorities,
            timeout: STEP,
            will: None,
        })?;
        report::subscribe(&session, &self.config.thing_name)?;
        Ok(session)
    }

    fn report(&self, session: &Session) -> Result<()> {
        let state = facts::gather(self.root);
        report::send(session, &self.config.thing_name, &state, STEP)
    }

    /// Keeps one connection and reports over it until it is lost.
    fn stay(&self, notify: &notify::Notify) -> Result<()> {
        let session = self.connect()?;
        loop {
            let begun = Instant::now();
            self.report(&session)?;
            notify.status("reported");
            if !report::idle(&session, INTERVAL.saturating_sub(begun.elapsed()), notify) {
                return Ok(());
            }
        }
    }
}
