//! A fleet that is switched on at once.

use std::fmt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::devices::{device, provisioning};
use crate::cloud;
use crate::endpoint::{Behaviour, Endpoint, Event};
use crate::process;

/// Longest that anything is waited for, in seconds.
const BUDGET: u64 = 1800;

/// What happened.
pub struct Fleet {
    /// Devices that were started.
    pub devices: usize,
    /// Devices that ended with an identity.
    pub provisioned: usize,
    /// Different keys that certificates were issued for.
    pub keys: usize,
    /// Provisionings a second that were allowed.
    pub rate: u32,
    /// Until the last one ended.
    pub took: Duration,
    /// Every request.
    pub events: Vec<Event>,
}

impl Fleet {
    /// Requests of a kind: how many, and how many of them were done.
    pub fn count(&self, what: &str) -> (usize, usize) {
        let mine = || self.events.iter().filter(|e| e.what == what);
        (mine().count(), mine().filter(|e| e.good).count())
    }

    /// The most requests of any kind in one second.
    pub fn peak(&self) -> usize {
        let seconds = self.seconds();
        seconds
            .iter()
            .map(|(good, bad)| good + bad)
            .max()
            .unwrap_or(0)
    }

    /// For each second: requests that were done, and that were not.
    pub fn seconds(&self) -> Vec<(usize, usize)> {
        let last = usize::try_from(self.took.as_secs()).unwrap_or(0);
        let mut seconds = vec![(0, 0); last + 1];
        for event in &self.events {
            let second = usize::try_from(event.at.as_secs()).unwrap_or(0).min(last);
            if event.good {
                seconds[second].0 += 1;
            } else {
                seconds[second].1 += 1;
            }
        }
        seconds
    }
}

impl fmt::Display for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            devices,
            provisioned,
            keys,
            rate,
            ..
        } = self;
        let took = self.took.as_secs_f32();
        writeln!(
            f,
            "{provisioned} of {devices} devices provisioned in {took:.0} s at {rate}/s; {keys} keys"
        )?;
        for what in ["connect", "create", "register"] {
            let (all, good) = self.count(what);
            writeln!(
                f,
                "{what:<9} {all:>6} requests, {:>6} turned away",
                all - good
            )?;
        }
        write!(f, "busiest second: {} requests", self.peak())
    }
}

/// Starts `devices` at once, each as a process of its own, and waits for all.
///
/// # Errors
/// A process cannot be started.
pub fn run(tool: &Path, devices: usize, rate: u32, spread: u64) -> Result<Fleet> {
    process::notice_signals()?;
    let directory = tempfile::tempdir().context("making a directory")?;
    let cloud_directory = directory.path().join("cloud");
    edge_common::file::create_directory(&cloud_directory, 0o700)?;
    let serials: Vec<_> = (0..devices).map(|n| format!("fleet-{n}")).collect();
    cloud::found(&cloud_directory, &serials)?;
    let behaviour = Behaviour {
        rate: Some(rate),
        ..Behaviour::default()
    };
    let endpoint = Endpoint::start(&cloud_directory, &behaviour)?;
    for serial in &serials {
        device(
            &directory.path().join(serial),
            &cloud_directory,
            endpoint.port(),
            serial,
        )?;
    }
    let (begin, offset) = (Instant::now(), endpoint.elapsed());
    let words = [
        "--budget",
        &BUDGET.to_string(),
        "--spread",
        &spread.to_string(),
    ];
    let mut children = Children(Vec::new());
    for serial in &serials {
        let mut command = provisioning(tool, &directory.path().join(serial), &words);
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
        process::going_on()?;
    }
    let took = begin.elapsed();
    let mut events = endpoint.events();
    for event in &mut events {
        event.at = event.at.saturating_sub(offset);
    }
    let keys = endpoint.keys_seen();
    Ok(Fleet {
        devices,
        provisioned,
        keys,
        rate,
        took,
        events,
    })
}

/// They end with their owner.
struct Children(Vec<Child>);

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
