//! Measurements and campaigns that take longer than a test may.

use anyhow::Result;
use clap::Subcommand;

use crate::{bench, endure, shell};

/// Tables from a command; none of them fails because the machine is busy.
#[derive(Subcommand)]
pub enum Bench {
    /// One provisioning at 0 and at 100 ms, beside the earlier flow's structure
    Provision {
        /// Runs of each; the table has the median
        #[arg(long, default_value_t = 7)]
        runs: usize,
    },
    /// A fleet switched on at once, with quotas; draws docs/fleet.svg if all
    /// 1,000 took part
    Fleet {
        /// How many devices
        #[arg(long, default_value_t = 1000)]
        devices: usize,
    },
    /// Tables of one tool
    #[command(flatten)]
    Tool(bench::Table),
}

/// All points where a test has a sample.
#[derive(Subcommand)]
pub enum Campaign {
    /// Kills each oneshot at every system call it makes; prints the count
    Kill,
    /// The fault matrix of provisioning, with the network 40 s late
    Faults,
    /// What a device goes through in years
    #[command(flatten)]
    Endure(endure::Campaign),
}

/// Measures with the release profile.
///
/// # Errors
/// Something does not build or does not work.
pub fn bench(what: &Bench) -> Result<bool> {
    if let Bench::Tool(table) = what {
        return bench::run(table);
    }
    let build = [
        "build",
        "--quiet",
        "--release",
        "-p",
        "edge-sim",
        "--bins",
        "--examples",
    ];
    shell::run(shell::cargo().args(build))?;
    let release = shell::target()?.join("release");
    let mut command = shell::command(release.join("edge-sim"));
    command.arg("bench");
    let tool = release.join("examples/at");
    match what {
        Bench::Provision { runs } => command
            .arg("provision")
            .args(["--runs", &runs.to_string()])
            .args([
                "--earlier",
                "crates/edge-sim/src/benchmarks/earlier.py",
                "--tool",
            ])
            .arg(tool),
        Bench::Fleet { devices } => {
            command
                .args(["fleet", "--devices", &devices.to_string(), "--tool"])
                .arg(tool);
            if *devices == 1000 {
                command.args(["--svg", "docs/fleet.svg"]);
            }
            &mut command
        }
        Bench::Tool(_) => &mut command,
    };
    shell::run(&mut command)?;
    Ok(true)
}

/// Runs the tests that a campaign widens, with all that they print.
///
/// # Errors
/// As cargo.
pub fn campaign(what: &Campaign) -> Result<bool> {
    let (package, test, filter) = match what {
        Campaign::Kill => ("edge-sim", "kill*", "kill_"),
        Campaign::Faults => ("edge-sim", "faults", "every_fault"),
        Campaign::Endure(campaign) => return endure::run(campaign),
    };
    widened(package, test, filter)?;
    if matches!(what, Campaign::Kill) {
        widened("edge-vpn", test, filter)?;
    }
    Ok(true)
}

fn widened(package: &str, test: &str, filter: &str) -> Result<()> {
    let mut command = shell::cargo();
    command
        .args(["test", "-p", package, "--examples", "--test", test])
        .args([filter, "--", "--nocapture", "--test-threads=1"])
        .env("EDGE_EVERY", "1");
    shell::run(&mut command)
}
