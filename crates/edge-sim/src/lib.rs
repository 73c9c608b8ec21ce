//! Local cloud, test VM and devices in namespaces: the surroundings in which the
//! tools are tested and demonstrated on one machine. Never shipped.
//!
//! Everything that a command of `edge-sim` writes is below the directory that
//! `--dir` names, but the base system of the test VM, which is kept in
//! `~/.cache/edge-ai`. Processes that outlive a command are noted there, and the
//! command `down` or `stop` ends them.

pub mod benchmarks;
pub mod cloud;
pub mod endpoint;
mod host;
pub mod kill_points;
mod links;
pub mod namespaces;
mod process;
mod signals;
pub mod testbed;
mod vm;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Local cloud, test VM and devices in namespaces, on one machine.
#[derive(Parser)]
#[command(version, max_term_width = 80)]
pub struct Args {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// The local cloud: MQTT broker, provisioning, shadows, registry, AWS API
    #[command(subcommand)]
    Cloud(cloud::Command),
    /// The test VM: a virtual device with the real units and programs
    #[command(subcommand, alias = "twin")]
    Vm(vm::Command),
    /// Measures the tools and the ways that were usual before them
    #[command(subcommand)]
    Bench(benchmarks::Command),
    /// A link with a delay and a rate, for ProxyCommand of ssh
    Relay(links::stdio::Args),
    /// AWS IoT's endpoint with its strict rules, quotas and scripted faults
    Endpoint(endpoint::Args),
    /// A port that leads to another one, with a delay and a rate
    Distance(links::tcp::Args),
}

/// Runs the command.
///
/// # Errors
/// The error of the command.
pub fn run(args: Args) -> Result<()> {
    match args.part {
        Part::Cloud(command) => cloud::run(command),
        Part::Vm(command) => vm::run(command),
        Part::Bench(command) => benchmarks::run(command),
        Part::Relay(args) => links::stdio::run(args),
        Part::Endpoint(args) => endpoint::run(&args),
        Part::Distance(args) => links::tcp::run(&args),
    }
}
