//! Benchmarks of the tools, some in comparison with the scripts that they replace.
//! Benchmarks print tables and no verdict, since the machine may be busy.

mod changes;
mod deploy;
mod devices;
pub mod fleet;
mod idle;
mod mqtt;
mod plot;
mod provision;
mod sandbox;

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use edge_common::file;

/// Commands of `edge-sim bench`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Time from a change of an app until its new container runs, with `sandbox` of
    /// edge-app
    Sandbox(Args),
    /// Time, bytes sent and disk used of one change on base images of several sizes
    Changes(changes::Args),
    /// Time to deploy an app to many devices, one after another and in parallel
    Devices(deploy::Args),
    /// Time, memory and traffic of one provisioning, at round trips of 0 and 100 ms
    Provision {
        /// Program that runs edge-provision on another root directory: the example
        /// `provision_at_root`
        #[arg(long)]
        tool: PathBuf,
        /// Python script with the steps of the earlier implementation
        #[arg(long)]
        earlier: PathBuf,
        /// Number of runs of which the median is printed
        #[arg(long, default_value_t = 7)]
        runs: usize,
    },
    /// Time, traffic, memory, size and processor time of MQTT clients with the same
    /// broker, and networks on which some addresses are dead
    Mqtt {
        /// Directory of the clients
        #[arg(long, value_name = "DIR")]
        programs: PathBuf,
        /// Names of the clients
        #[arg(required = true)]
        clients: Vec<String>,
        /// Number of runs of which the median is printed
        #[arg(long, default_value_t = 15)]
        runs: usize,
    },
    /// Traffic and memory of edge-heartbeat while nothing happens
    Idle {
        /// Program that runs edge-provision on another root directory: the example
        /// `provision_at_root`
        #[arg(long)]
        tool: PathBuf,
        /// Program that runs edge-heartbeat on another root directory: the example
        /// `heartbeat_at_root`
        #[arg(long)]
        heartbeat: PathBuf,
        /// Duration of the measurement in minutes; samples are sent once in 60
        #[arg(long, default_value_t = 60)]
        minutes: u64,
    },
    /// Provisioning of a fleet that is switched on at once, with the published
    /// quotas of AWS IoT
    Fleet {
        /// Program that runs edge-provision on another root directory: the example
        /// `provision_at_root`
        #[arg(long)]
        tool: PathBuf,
        /// Number of devices
        #[arg(long, default_value_t = 1000)]
        devices: usize,
        /// Quota of provisionings per second
        #[arg(long, default_value_t = 10)]
        rate: u32,
        /// SVG file for a diagram of the requests over time
        #[arg(long)]
        svg: Option<PathBuf>,
    },
}

/// Arguments of `edge-sim bench sandbox`, which compares edge-app with the earlier
/// script.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory of the programs of this repository, built with --release
    #[arg(long, value_name = "DIR")]
    programs: PathBuf,
    /// Size of the base image, which does not change, in MB
    #[arg(long, default_value_t = 300)]
    base: u32,
    /// Size of the layer that changes, in kB
    #[arg(long, default_value_t = 200)]
    change: u32,
}

/// Runs a command of `edge-sim bench` and prints the result.
pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Sandbox(args) => sandbox::run(&args),
        Command::Changes(args) => changes::run(&args),
        Command::Devices(args) => deploy::run(&args),
        Command::Provision {
            tool,
            earlier,
            runs,
        } => provision::run(&tool, &earlier, runs),
        Command::Mqtt {
            programs,
            clients,
            runs,
        } => mqtt::run(&programs, &clients, runs),
        Command::Idle {
            tool,
            heartbeat,
            minutes,
        } => idle::run(&tool, &heartbeat, minutes),
        Command::Fleet {
            tool,
            devices,
            rate,
            svg,
        } => {
            let fleet = fleet::run(&tool, devices, rate, 30)?;
            println!("{fleet}");
            match svg {
                Some(path) => file::write(&path, plot::draw(&fleet).as_bytes(), 0o644),
                None => Ok(()),
            }
        }
    }
}
