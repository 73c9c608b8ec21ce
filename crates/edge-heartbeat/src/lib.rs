//! Replaces: the heartbeat script.
//! Reads: the identity and boot results on `/data`, `/proc`, `/sys`, the engine's list.
//! Writes: the `reported` half of the device's shadow; `/data/config/vpn/desired.json`.
//! Runs when: `edge-heartbeat.service`, once `/data/.provisioned` is there.
//! Exits: 0 reported once; 1 failed; 2 usage; 3 no identity.

mod containers;
mod disk;
mod document;
mod facts;
mod heat;
mod notify;
mod pace;
mod shadow;
mod vpn;

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use edge_common::exit::Failure;
use edge_common::identity::{CERTIFICATE, CONFIG, DeviceConfig, KEY};
use edge_common::mqtt::{CaBundle, Options, PORT};
use edge_common::{Root, log};
use serde_json::json;

use notify::Notify;
pub use pace::Pace;
use shadow::Shadow;

/// Exit code: there is no valid identity.
pub const IDENTITY: u8 = 3;

/// Reports the state of the device to its shadow every five minutes, or as
/// `desired.heartbeat_seconds` says, over one connection that is kept.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 80,
    after_help = "\
Exit codes: 0 reported with --once, 1 failed, 2 wrong usage, 3 the device has
no valid identity. Without --once it ends only when it is told to.

When the connection breaks off, the broker publishes to edge-ai/THING/offline.

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
    if !args.once {
        return serve(root, &Pace::default());
    }
    let pace = Pace::default();
    let device = Device::load(root)?;
    let mut shadow = device.connect(pace.step)?;
    shadow.report(facts::gather(root), pace.step)?;
    shadow.close();
    Ok(())
}

/// Reports at `pace` until the process is told to stop.
///
/// # Errors
/// There is no valid identity any more.
pub fn serve(root: &Root, pace: &Pace) -> Result<()> {
    let notify = Notify::from_environment();
    let mut pause = pace.pauses.0;
    let mut beat = Beat {
        root,
        notify: &notify,
        pace,
        interval: pace.interval,
    };
    Device::load(root)?;
    notify.ready();
    loop {
        let start = Instant::now();
        match beat.stay() {
            Ok(End::Renewed) => {
                log::info("the identity was renewed: connecting again");
                pause = pace.pauses.0;
                continue;
            }
            Ok(End::Lost) => log::warn("the connection was lost"),
            Err(error) if edge_common::exit::code_of(&error) == IDENTITY => return Err(error),
            Err(error) => log::warn(format_args!("{error:#}")),
        }
        if start.elapsed() > pace.pauses.1 {
            pause = pace.pauses.0;
        }
        pause = pace.pause(pause);
        notify.status("waiting to connect again");
        notify.sleep(pause);
    }
}

/// Why a session ended.
enum End {
    Lost,
    Renewed,
}

/// The identity as it is on disk now.
struct Device {
    config: DeviceConfig,
    ca_bundle: CaBundle,
    certificate: PathBuf,
    key: PathBuf,
}

impl Device {
    fn load(root: &Root) -> Result<Self> {
        let config = DeviceConfig::load(root).map_err(|e| Failure::wrap(IDENTITY, e))?;
        let ca_bundle = CaBundle::load(root)?;
        Ok(Self {
            config,
            ca_bundle,
            certificate: root.path(CERTIFICATE),
            key: root.path(KEY),
        })
    }

    fn connect(&self, step: Duration) -> Result<Shadow> {
        let thing = &self.config.thing_name;
        let topic = shadow::will_topic(thing);
        let will = json!({ "thing": thing, "state": "offline" }).to_string();
        Shadow::connect(&Options {
            endpoint: &self.config.endpoint,
            port: self.config.port.unwrap_or(PORT),
            proxy: self.config.proxy.as_deref(),
            client_id: thing,
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            ca_bundle: &self.ca_bundle,
            timeout: step,
            will: Some((&topic, will.into_bytes())),
        })
    }
}

/// Which files the identity is: another file, or another content, is another.
type Stamp = [Option<(u64, i64, i64)>; 3];

fn stamp(root: &Root) -> Stamp {
    [CONFIG, CERTIFICATE, KEY].map(|name| {
        let data = std::fs::metadata(root.path(name)).ok()?;
        Some((data.ino(), data.mtime(), data.mtime_nsec()))
    })
}

struct Beat<'a> {
    root: &'a Root,
    notify: &'a Notify,
    pace: &'a Pace,
    interval: Duration,
}

impl Beat<'_> {
    /// Keeps one connection and reports over it until it is lost.
    fn stay(&mut self) -> Result<End> {
        let stamp = stamp(self.root);
        let device = Device::load(self.root)?;
        self.notify.status("connecting");
        let mut shadow = device.connect(self.pace.step)?;
        shadow.ask()?;
        loop {
            let next = Instant::now() + self.interval;
            let mut state = facts::gather(self.root);
            let seconds = self.interval.as_secs().max(1);
            state.insert("heartbeat_seconds".into(), json!(seconds));
            shadow.report(state, self.pace.step)?;
            self.notify.status("reported");
            match self.idle(&mut shadow, next, stamp) {
                Idle::Due => {}
                Idle::Lost => return Ok(End::Lost),
                Idle::Renewed => {
                    shadow.close();
                    return Ok(End::Renewed);
                }
            }
        }
    }

    /// Waits for the next report, telling the watchdog.
    fn idle(&mut self, shadow: &mut Shadow, mut next: Instant, known: Stamp) -> Idle {
        loop {
            if let Some(wish) = shadow.wished() {
                let wished = self.pace.wished(wish);
                if wished != self.interval {
                    log::info(format_args!("reporting every {} s", wished.as_secs()));
                    self.interval = wished;
                    // At once, so that whoever wished it sees it.
                    next = Instant::now();
                }
            }
            if let Some(wish) = shadow.wished_vpn() {
                match vpn::keep(self.root, wish.as_ref()) {
                    Ok(false) => {}
                    Ok(true) => {
                        log::info("another VPN is wished: told edge-vpn");
                        next = Instant::now();
                    }
                    Err(error) => log::warn(format_args!("{error:#}")),
                }
            }
            self.notify.alive();
            if known != stamp(self.root) {
                return Idle::Renewed;
            }
            let left = next.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Idle::Due;
            }
            if !shadow.wait(left.min(self.notify.beat())) {
                return Idle::Lost;
            }
        }
    }
}

enum Idle {
    Due,
    Lost,
    Renewed,
}
