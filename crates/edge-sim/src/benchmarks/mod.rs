//! Measurements, side by side with the ways that were usual before. They print
//! tables and judge nothing: a machine may be busy.

pub mod deploy;
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
pub enum Command {
    /// A change of an app, from the command to the new container running
    Sandbox(Args),
    /// A version of an app to many devices, one after another and at once
    Devices(deploy::Args),
    /// Time, memory and traffic of one provisioning, near and far
    Provision {
        /// edge-provision on another root: `examples/provision_at_root`
        #[arg(long)]
        tool: PathBuf,
        /// The structure of the earlier Python flow
        #[arg(long)]
        earlier: PathBuf,
        /// Runs of each; the table has the median
        #[arg(long, default_value_t = 7)]
        runs: usize,
    },
    /// A fleet that is switched on at once, with the published quotas
    Fleet {
        /// edge-provision on another root: `examples/provision_at_root`
        #[arg(long)]
        tool: PathBuf,
        /// How many devices
        #[arg(long, default_value_t = 1000)]
        devices: usize,
        /// Provisionings a second that the cloud allows
        #[arg(long, default_value_t = 10)]
        rate: u32,
        /// Where to draw the requests over time
        #[arg(long)]
        svg: Option<PathBuf>,
    },
}

/// Arguments of `bench sandbox`.
#[derive(clap::Args)]
pub struct Args {
    /// Directory of the programs, built for release
    #[arg(long, value_name = "DIR")]
    programs: PathBuf,
    /// Millions of bytes of the image below the change
    #[arg(long, default_value_t = 300)]
    base: u32,
    /// Thousands of bytes of the layer that changes
    #[arg(long, default_value_t = 200)]
    change: u32,
}

/// Measures.
///
/// # Errors
/// Something that is measured does not work.
pub fn run(command: Command) -> Result<()> {
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
