//! Benchmarks of the tools beside the scripts that they replace. They print tables
//! and have no limits, since the machine may be busy.

mod deploy;
mod devices;
pub mod fleet;
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
    /// From a change of an app to its new container running, by `sandbox`
    Sandbox(Args),
    /// Deployment of an app to many devices, one after another and at once
    Devices(deploy::Args),
    /// Time, memory and traffic of one provisioning, near and far
    Provision {
        /// edge-provision on another root: `examples/provision_at_root`
        #[arg(long)]
        tool: PathBuf,
        /// Python script with the structure of the earlier flow
        #[arg(long)]
        earlier: PathBuf,
        /// Number of runs, whose median is printed
        #[arg(long, default_value_t = 7)]
        runs: usize,
    },
    /// A fleet that is switched on at once, with the published quotas
    Fleet {
        /// edge-provision on another root: `examples/provision_at_root`
        #[arg(long)]
        tool: PathBuf,
        /// Number of devices
        #[arg(long, default_value_t = 1000)]
        devices: usize,
        /// Quota of provisionings per second
        #[arg(long, default_value_t = 10)]
        rate: u32,
        /// File for a diagram of the requests over time
        #[arg(long)]
        svg: Option<PathBuf>,
    },
}

/// Arguments of `bench sandbox`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory of the programs, built for release
    #[arg(long, value_name = "DIR")]
    programs: PathBuf,
    /// Size of the image below the change, in MB
    #[arg(long, default_value_t = 300)]
    base: u32,
    /// Size of the layer that changes, in kB
    #[arg(long, default_value_t = 200)]
    change: u32,
}

/// Runs a benchmark.
pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Sandbox(args) => sandbox::run(&args),
        Command::Devices(args) => deploy::run(&args),
        Command::Provision {
            tool,
            earlier,
            runs,
        } => provision::run(&tool, &earlier, runs),
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
