//! Tables of time and memory. None of them fails because the machine is busy.

mod tables;

use anyhow::Result;
use clap::Subcommand;

use crate::shell;

/// Tables of measurements.
#[derive(Subcommand)]
pub(crate) enum Benchmark {
    /// One provisioning at 0 and at 100 ms of delay, beside the earlier design
    Provision {
        /// Runs of each; the table shows the median
        #[arg(long, default_value_t = 7)]
        runs: usize,
    },
    /// A fleet switched on at once, with quotas; draws docs/fleet.svg if it has
    /// 1,000 devices
    Fleet {
        /// Number of devices
        #[arg(long, default_value_t = 1000)]
        devices: usize,
    },
    /// Tables of one tool
    #[command(flatten)]
    Tool(tables::Table),
}

/// Measures with the release profile.
pub(crate) fn run(benchmark: &Benchmark) -> Result<bool> {
    match benchmark {
        Benchmark::Provision { runs } => provision(*runs)?,
        Benchmark::Fleet { devices } => fleet(*devices)?,
        Benchmark::Tool(table) => tables::run(table)?,
    }
    Ok(true)
}

fn provision(runs: usize) -> Result<()> {
    let mut command = edge_sim("provision")?;
    command.args(["--runs", &runs.to_string()]);
    command.args(["--earlier", "crates/edge-sim/src/benchmarks/earlier.py"]);
    shell::run(&mut command)
}

fn fleet(devices: usize) -> Result<()> {
    let mut command = edge_sim("fleet")?;
    command.args(["--devices", &devices.to_string()]);
    if devices == 1000 {
        command.args(["--svg", "docs/fleet.svg"]);
    }
    shell::run(&mut command)
}

/// `edge-sim bench TABLE` with the program that provisions one device.
fn edge_sim(table: &str) -> Result<std::process::Command> {
    let mut build = shell::cargo();
    build.args(["build", "--quiet", "--release"]);
    build.args(["-p", "edge-sim", "-p", "edge-provision"]);
    shell::run(build.args(["--bins", "--examples"]))?;
    let release = shell::target()?.join("release");
    let mut command = shell::command(release.join("edge-sim"));
    command.args(["bench", table, "--tool"]);
    command.arg(release.join("examples/provision_at_root"));
    Ok(command)
}
