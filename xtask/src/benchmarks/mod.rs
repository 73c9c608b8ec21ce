//! Benchmarks that print tables of time and memory. Limits are printed beside the results
//! but not enforced, since a busy machine would exceed them.

mod earlier;
mod generator;
mod tables;

use anyhow::Result;
use clap::Subcommand;

use crate::shell;

/// Benchmarks of `cargo xtask bench`, each of which prints a table.
#[derive(Subcommand)]
pub(crate) enum Benchmark {
    /// Provision one device with 0 and with 100 ms of network delay, compared with the
    /// earlier design
    Provision {
        /// Number of runs per row; the table shows the median
        #[arg(long, default_value_t = 7)]
        runs: usize,
    },
    /// Provision a fleet that is switched on at once, with AWS quotas; write
    /// docs/fleet.svg if it has 1,000 devices
    Fleet {
        /// Number of devices
        #[arg(long, default_value_t = 1000)]
        devices: usize,
    },
    /// Traffic a month and memory of edge-heartbeat on an idle device
    Idle {
        /// Duration of the measurement in minutes
        #[arg(long, default_value_t = 60)]
        minutes: u64,
    },
    /// Connect, publish and wait for the acknowledgement with our MQTT session, paho-mqtt
    /// and rumqttc, also on networks with dead addresses
    Mqtt {
        /// Number of runs; the table shows the median
        #[arg(long, default_value_t = 15)]
        runs: usize,
    },
    /// Time of edge-generator for 0 to 10,000 units, compared with one unit, with `true`
    /// and with an earlier version
    Generator {
        /// Commit whose edge-generator is measured in turn with that of the work tree
        #[arg(long, value_name = "COMMIT")]
        before: Option<String>,
    },
    /// Benchmarks of a single tool
    #[command(flatten)]
    Tool(tables::Table),
}

/// Builds the programs with the release profile and runs one benchmark.
pub(crate) fn run(benchmark: &Benchmark) -> Result<bool> {
    match benchmark {
        Benchmark::Provision { runs } => provision(*runs)?,
        Benchmark::Fleet { devices } => fleet(*devices)?,
        Benchmark::Idle { minutes } => idle(*minutes)?,
        Benchmark::Mqtt { runs } => mqtt(*runs)?,
        Benchmark::Generator { before } => generator::run(before.as_deref())?,
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

fn idle(minutes: u64) -> Result<()> {
    let mut build = shell::cargo();
    build.args(["build", "--quiet", "--release", "-p", "edge-heartbeat"]);
    shell::run(build.arg("--examples"))?;
    let mut command = edge_sim("idle")?;
    let example = "release/examples/heartbeat_at_root";
    command
        .arg("--heartbeat")
        .arg(shell::target()?.join(example));
    shell::run(command.args(["--minutes", &minutes.to_string()]))
}

/// MQTT clients of `crates/edge-common/interop`.
const MQTT_CLIENTS: [&str; 3] = ["own", "paho", "rumqttc"];

/// Builds edge-sim and the clients, which are outside of the workspace, and measures them.
fn mqtt(runs: usize) -> Result<()> {
    let mut build = shell::cargo();
    build.args(["build", "--quiet", "--release", "--package=edge-sim"]);
    shell::run(build.arg("--bins"))?;
    let clients = shell::target()?.join("interop");
    let mut build = shell::cargo();
    build.args(["build", "--quiet", "--release", "--manifest-path"]);
    build.arg("crates/edge-common/interop/Cargo.toml");
    shell::run(build.env("CARGO_TARGET_DIR", &clients))?;
    let mut sim = shell::command(shell::target()?.join("release/edge-sim"));
    sim.args(["bench", "mqtt", "--runs", &runs.to_string(), "--programs"]);
    sim.arg(clients.join("release")).args(MQTT_CLIENTS);
    shell::run(&mut sim)
}

/// Builds edge-sim and edge-provision and returns the command `edge-sim bench TABLE`.
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
