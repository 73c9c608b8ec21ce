//! Benchmark of many devices that are switched on at once and provision.

use std::fmt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::devices::{provisioning, write_device};
use crate::cloud;
use crate::endpoint::{Behaviour, Endpoint, Event};
use crate::signals;

/// Time budget of edge-provision on each device, in seconds.
const BUDGET_SECONDS: u64 = 1800;

/// Result of provisioning a fleet: numbers of devices and keys, and all requests.
pub struct Outcome {
    /// Number of devices that were started.
    pub devices: usize,
    /// Number of devices that received an identity: edge-provision exited with 0.
    pub provisioned: usize,
    /// Number of different keys for which the endpoint issued certificates.
    pub keys: usize,
    /// Quota of the endpoint, in provisionings per second.
    pub(crate) rate: u32,
    /// Time from the first start until edge-provision has ended on every device.
    pub(crate) duration: Duration,
    /// All requests that the endpoint received, with the time since the first
    /// start.
    pub(crate) events: Vec<Event>,
}

impl Outcome {
    /// Returns the number of requests of one kind (`connect`, `create`, `register`
    /// or `shadow`), and the number of those that succeeded.
    pub fn count(&self, kind: &str) -> (usize, usize) {
        let mine = || self.events.iter().filter(|e| e.kind == kind);
        (mine().count(), mine().filter(|e| e.succeeded).count())
    }

    /// Returns the maximum number of requests within one second.
    pub(crate) fn peak(&self) -> usize {
        let seconds = self.seconds();
        seconds
            .iter()
            .map(|(succeeded, rejected)| succeeded + rejected)
            .max()
            .unwrap_or(0)
    }

    /// Returns for each second the numbers of requests that succeeded and that were
    /// rejected.
    pub(crate) fn seconds(&self) -> Vec<(usize, usize)> {
        let last = usize::try_from(self.duration.as_secs()).unwrap_or(0);
        let mut seconds = vec![(0, 0); last + 1];
        for event in &self.events {
            let second = usize::try_from(event.at.as_secs()).unwrap_or(0).min(last);
            if event.succeeded {
                seconds[second].0 += 1;
            } else {
                seconds[second].1 += 1;
            }
        }
        seconds
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            devices,
            provisioned,
            keys,
            rate,
            ..
        } = self;
        let seconds = self.duration.as_secs_f32();
        writeln!(
            f,
            "{provisioned} of {devices} devices provisioned in {seconds:.0} s at {rate}/s; {keys} keys"
        )?;
        for kind in ["connect", "create", "register"] {
            let (all, succeeded) = self.count(kind);
            writeln!(
                f,
                "{kind:<9} {all:>6} requests, {:>6} rejected",
                all - succeeded
            )?;
        }
        write!(f, "busiest second: {} requests", self.peak())
    }
}

/// Starts edge-provision for all devices at once, one process per device, and waits
/// for their end. `rate` is the endpoint's quota per second, `spread` the maximum
/// random delay of a device in seconds.
///
/// # Errors
/// If the root of a device cannot be written, or a process cannot be started.
pub fn run(tool: &Path, devices: usize, rate: u32, spread: u64) -> Result<Outcome> {
    signals::notice()?;
    let directory = tempfile::tempdir().context("creating a temporary directory")?;
    let cloud_directory = directory.path().join("cloud");
    edge_common::file::create_directory(&cloud_directory, 0o700)?;
    let serials: Vec<_> = (0..devices).map(|n| format!("fleet-{n}")).collect();
    cloud::create(&cloud_directory, &serials)?;
    let behaviour = Behaviour {
        rate: Some(rate),
        ..Behaviour::default()
    };
    let endpoint = Endpoint::start(&cloud_directory, &behaviour)?;
    for serial in &serials {
        write_device(
            &directory.path().join(serial),
            &cloud_directory,
            endpoint.port(),
            serial,
        )?;
    }
    let (begin, offset) = (Instant::now(), endpoint.elapsed());
    let args = [
        "--budget",
        &BUDGET_SECONDS.to_string(),
        "--spread",
        &spread.to_string(),
    ];
    let mut children = Children(Vec::new());
    for serial in &serials {
        let mut command = provisioning(tool, &directory.path().join(serial), &args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        children
            .0
            .push(command.spawn().context("starting a device")?);
    }
    let mut provisioned = 0;
    for child in &mut children.0 {
        provisioned += usize::from(child.wait().context("waiting for a device")?.success());
        signals::check()?;
    }
    let duration = begin.elapsed();
    let mut events = endpoint.events();
    for event in &mut events {
        event.at = event.at.saturating_sub(offset);
    }
    let keys = endpoint.keys_seen();
    Ok(Outcome {
        devices,
        provisioned,
        keys,
        rate,
        duration,
        events,
    })
}

/// Child processes, which are killed when the list is dropped.
struct Children(Vec<Child>);

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
