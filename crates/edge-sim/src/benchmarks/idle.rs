//! Benchmark of an idle device: traffic and memory of edge-heartbeat while nothing happens.

use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use edge_common::{Root, file};

use super::devices::{provisioning, write_device};
use crate::cloud;
use crate::endpoint::{Behaviour, Endpoint};
use crate::links::tcp::{self, Counts, TcpLink};
use crate::signals;

/// Time after the start that is not idle: connection, first reports, first list of jobs.
const START: Duration = Duration::from_secs(90);
/// Seconds of a month of 30 days.
const MONTH: f64 = 30.0 * 86_400.0;
const SERIAL: &str = "idle-1";

/// Process that is killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs edge-heartbeat (`heartbeat`) with its own intervals for `minutes` on a device that
/// `provision` has provisioned, and prints its traffic and memory.
pub(crate) fn run(provision: &Path, heartbeat: &Path, minutes: u64) -> Result<()> {
    signals::notice()?;
    let directory = tempfile::tempdir().context("creating a temporary directory")?;
    let (state, root) = (
        directory.path().join("cloud"),
        directory.path().join("root"),
    );
    file::create_directory(&state, 0o700)?;
    cloud::create(&state, &[SERIAL.into()])?;
    let endpoint = Endpoint::start(&state, &Behaviour::default())?;
    let counts = Arc::new(Counts::default());
    let link = TcpLink {
        delay: Duration::ZERO,
        rate: 0,
    };
    let port = tcp::start(0, endpoint.port(), link, Arc::clone(&counts))?;
    write_device(&root, &state, port, SERIAL)?;
    for path in ["data/config/edge-fleet/in", "data/log/edge-heartbeat"] {
        file::create_directory(&root.join(path), 0o755)?;
    }
    // Values that change, as on a device.
    for path in ["proc", "sys"] {
        std::os::unix::fs::symlink(format!("/{path}"), root.join(path)).context("linking")?;
    }
    let status = provisioning(provision, &root, &[]).status();
    let status = status.context("running edge-provision")?;
    ensure!(status.success(), "edge-provision ended with {status}");
    let mut command = Root::system().command(heartbeat);
    command
        .arg(&root)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let heartbeat = Running(command.spawn().context("starting edge-heartbeat")?);
    wait(START)?;
    let (begin, before) = (Instant::now(), counts.bytes.load(Ordering::Relaxed));
    wait(Duration::from_secs(minutes * 60))?;
    let bytes = counts.bytes.load(Ordering::Relaxed) - before;
    let bytes = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
    let month = bytes / begin.elapsed().as_secs_f64() * MONTH / 1e6;
    println!("{bytes:.0} bytes of TCP payload in {minutes} min idle: {month:.1} MB a month");
    for key in ["Pss", "Rss"] {
        println!(
            "edge-heartbeat {key}: {} kB",
            memory(heartbeat.0.id(), key)?
        );
    }
    Ok(())
}

/// Waits, and ends at a signal.
fn wait(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_secs(1));
        signals::check()?;
    }
    Ok(())
}

/// Returns a value of the memory of a process, in kB.
fn memory(pid: u32, key: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
    let number = line.and_then(|l| l.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("{path} has no {key}"))
}
