//! Benchmark of edge-generator, in turn with `true` and with an earlier version, so that a
//! busy machine slows all of them alike.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::earlier;
use super::tables::{Figures, TestRoot, units};
use crate::shell;

/// Pairs of a number of units and the time limit of one run in milliseconds.
const LIMITS: [(usize, f64); 6] = [
    (0, 5.0),
    (1, 5.0),
    (10, 5.0),
    (100, 5.0),
    (1_000, 30.0),
    (10_000, 200.0),
];
/// Number of turns, of which the best counts.
const TURNS: usize = 5;
/// Name of the earlier program in the test root.
const BEFORE: &str = "tmp/before";

/// Prints the time of one run, as the average of many runs in one shell minus the time of
/// the same runs of `true`, and its ratios to the run with one unit, to the earlier version
/// and to `true`.
pub(super) fn run(before: Option<&str>) -> Result<()> {
    let args = ["--package=edge-generator"];
    let earlier = before.map(|commit| earlier::build(commit, &args));
    let earlier = earlier.transpose()?;
    let before = earlier.map(|programs| programs.join("edge-generator"));
    // After the earlier one, which has the same place.
    shell::run(
        shell::cargo()
            .args(["build", "--quiet", "--release"])
            .args(args),
    )?;
    println!(
        "{:>8} {:>8} {:>8} {:>9} {:>8} {:>8} {:>10} {:>9} {:>7}",
        "units",
        "ms",
        "cpu ms",
        "limit ms",
        "peak kB",
        "x 1 unit",
        "before cpu",
        "x before",
        "x true"
    );
    let mut one = None;
    for (count, limit) in LIMITS {
        let row = Row::measure(count, before.as_deref())?;
        if count == 1 {
            one = Some(row.cpu);
        }
        let ratio = |to: Option<f64>| to.map_or("-".into(), |to| format!("{:.2}", row.cpu / to));
        println!(
            "{count:>8} {:>8.2} {:>8.2} {limit:>9.1} {:>8} {:>8} {:>10} {:>9} {:>7.2}",
            row.wall,
            row.cpu,
            row.peak,
            ratio(one),
            row.before.map_or("-".into(), |cpu| format!("{cpu:.2}")),
            ratio(row.before),
            row.to_true
        );
    }
    println!("The times by the clock count only on a machine that does nothing else.");
    Ok(())
}

/// Figures of one number of units, in milliseconds and kB.
struct Row {
    wall: f64,
    cpu: f64,
    peak: u64,
    /// Processor time of the earlier version.
    before: Option<f64>,
    /// Ratio of the processor time of all runs, with their shell, to that of `true`.
    to_true: f64,
}

impl Row {
    fn measure(count: usize, before: Option<&Path>) -> Result<Self> {
        let root = TestRoot::new()?;
        units(&root.path("data/services"), count)?;
        let mut programs = vec!["/opt/edge-generator".to_string(), "/bin/true".into()];
        if let Some(program) = before {
            fs::copy(program, root.path(BEFORE)).context("copying the earlier program")?;
            programs.push(format!("/{BEFORE}"));
        }
        let runs: u16 = if count > 1000 { 5 } else { 100 };
        let mut best = vec![Figures::MAX; programs.len()];
        for _ in 0..TURNS {
            for (program, best) in programs.iter().zip(&mut best) {
                let one = format!("mkdir /n/\\$i; {program} /n/\\$i /e /l");
                let many =
                    format!("sh -c \"set -e; for i in $(seq -s \\  {runs}); do {one}; done\"");
                best.improve(&root.measure(&many, 1)?);
            }
        }
        let [ours, nothing] = [&best[0], &best[1]];
        let each = |all: f64, less: f64| (all - less).max(0.0) / f64::from(runs);
        Ok(Self {
            wall: each(ours.wall, nothing.wall),
            cpu: each(ours.cpu, nothing.cpu),
            peak: ours.peak,
            before: best.get(2).map(|b| each(b.cpu, nothing.cpu)),
            to_true: ours.cpu / nothing.cpu,
        })
    }
}
