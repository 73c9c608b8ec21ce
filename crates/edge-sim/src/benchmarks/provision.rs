//! Benchmark of the provisioning of one device at round trips of 0 and 100 ms, by
//! edge-provision and by a script with the steps of the earlier implementation.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_common::{Root, file};

use super::devices::{provisioning, write_device};
use crate::cloud;
use crate::endpoint::{Behaviour, Endpoint};
use crate::host::find;
use crate::links::tcp::{self, Counts, TcpLink};

/// Measurements of one run: times in seconds, peak memory in MB and traffic in kB.
struct Run {
    registered: f64,
    whole: f64,
    peak: f64,
    bytes: f64,
    connections: f64,
}

/// Measures provisioning by edge-provision (`tool`) and by the script `earlier`, at round
/// trips of 0 and 100 ms, `runs` times each, and prints a table of the medians.
pub(crate) fn run(tool: &Path, earlier: &Path, runs: usize) -> Result<()> {
    println!(
        "median of {runs} runs; from the start of the process; registered: the first log line that contains the word"
    );
    println!(
        "{:<18} {:>6} {:>12} {:>6} {:>8} {:>8} {:>6} {:>12}",
        "flow", "rtt ms", "registered s", "best", "whole s", "peak MB", "kB", "connections"
    );
    for delay in [0, 50] {
        for (name, python) in [
            ("edge-provision", None),
            ("earlier structure", Some(earlier)),
        ] {
            let runs = (0..runs.max(1))
                .map(|_| one(tool, python, delay))
                .collect::<Result<Vec<_>>>()?;
            let median = |of: fn(&Run) -> f64| {
                let mut values: Vec<_> = runs.iter().map(of).collect();
                values.sort_by(f64::total_cmp);
                values[values.len() / 2]
            };
            let best = runs.iter().map(|r| r.registered).fold(f64::MAX, f64::min);
            println!(
                "{name:<18} {:>6} {:>12.3} {best:>6.3} {:>8.3} {:>8.1} {:>6.1} {:>12.0}",
                delay * 2,
                median(|r| r.registered),
                median(|r| r.whole),
                median(|r| r.peak),
                median(|r| r.bytes),
                median(|r| r.connections),
            );
        }
    }
    println!(
        "limits for edge-provision: registered 0.060 s at 0 ms, 0.750 s at 100 ms; peak 10 MB; 2 connections"
    );
    Ok(())
}

fn one(tool: &Path, python: Option<&Path>, delay: u64) -> Result<Run> {
    let directory = tempfile::tempdir().context("creating a temporary directory")?;
    let (cloud_directory, root) = (
        directory.path().join("cloud"),
        directory.path().join("root"),
    );
    file::create_directory(&cloud_directory, 0o700)?;
    cloud::create(&cloud_directory, &["b1".into()])?;
    let endpoint = Endpoint::start(&cloud_directory, &Behaviour::default())?;
    let counts = Arc::new(Counts::default());
    let link = TcpLink {
        delay: Duration::from_millis(delay),
        rate: 0,
    };
    let port = tcp::start(0, endpoint.port(), link, Arc::clone(&counts))?;
    write_device(&root, &cloud_directory, port, "b1")?;
    let inner = match python {
        None => provisioning(tool, &root, &[]),
        Some(script) => {
            let mut command = Root::system().command(find("python")?);
            command.arg(script).arg(&root);
            command
        }
    };
    let (registered, whole, peak) = timed(&inner)?;
    let count = |of: &std::sync::atomic::AtomicUsize| {
        f64::from(u32::try_from(of.load(Ordering::Relaxed)).unwrap_or(0))
    };
    Ok(Run {
        registered,
        whole,
        peak: peak / 1024.0,
        bytes: count(&counts.bytes) / 1000.0,
        connections: count(&counts.connections),
    })
}

/// Runs a command under GNU time. Returns the seconds until a log line contains
/// "registered", the seconds until the end, and the peak memory in kB.
fn timed(inner: &Command) -> Result<(f64, f64, f64)> {
    let mut command = Root::system().command(find("time")?);
    command
        .args(["-f", "peak %M"])
        .arg(inner.get_program())
        .args(inner.get_args());
    let begin = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("running GNU time")?;
    let (mut registered, mut peak, mut log) = (None, None, String::new());
    for line in BufReader::new(child.stderr.take().context("standard error")?).lines() {
        let line = line.context("reading the log of a run")?;
        if line.contains("registered") {
            registered = Some(begin.elapsed().as_secs_f64());
        }
        if let Some(number) = line.strip_prefix("peak ") {
            peak = number.parse().ok();
        }
        log.push_str(&line);
        log.push('\n');
    }
    let status = child.wait().context("waiting for a run")?;
    match (registered, peak) {
        (Some(registered), Some(peak)) if status.success() => {
            Ok((registered, begin.elapsed().as_secs_f64(), peak))
        }
        _ => bail!("a run ended with {status}: {log}"),
    }
}
