//! Local cloud, build engine, test VM and devices in namespaces: environments in which the tools
//! are tested and demonstrated on one machine. edge-sim is never installed on a
//! device.
//!
//! The commands `cloud`, `engine`, `vm` and `endpoint` keep their state in the directory that
//! `--dir` names, and the base system of the test VM in `~/.cache/edge-ai`. The
//! state directory also records processes that outlive a command: `cloud down`,
//! `engine down` or `vm stop` ends them.

pub mod benchmarks;
pub mod cloud;
mod daemons;
pub mod endpoint;
pub mod engine;
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

/// Local cloud, build engine, test VM, simulated links and benchmarks, on one machine.
#[derive(Parser)]
#[command(version, max_term_width = 80)]
pub struct Args {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Local cloud: MQTT broker, provisioning, shadows, registry and AWS API
    #[command(subcommand)]
    Cloud(cloud::Command),
    /// Container engine for builds, in a network namespace of its own
    #[command(subcommand)]
    Engine(engine::Command),
    /// Test VM: a virtual device with the real units and programs
    #[command(subcommand, alias = "twin")]
    Vm(vm::Command),
    /// Benchmarks of the tools and of the scripts that they replace
    #[command(subcommand)]
    Bench(benchmarks::Command),
    /// Link with a delay and a rate to a command, for ProxyCommand of ssh
    Relay(links::stdio::Args),
    /// Endpoint of AWS IoT with its strict rules, quotas and scripted faults
    Endpoint(endpoint::Args),
    /// TCP proxy that forwards a port to another one with a delay and a rate
    Distance(links::tcp::Args),
}

/// Runs the command that the arguments select.
///
/// # Errors
/// If the command fails.
pub fn run(args: Args) -> Result<()> {
    match args.part {
        Part::Cloud(command) => cloud::run(command),
        Part::Engine(command) => engine::run(command),
        Part::Vm(command) => vm::run(command),
        Part::Bench(command) => benchmarks::run(command),
        Part::Relay(args) => links::stdio::run(args),
        Part::Endpoint(args) => endpoint::run(&args),
        Part::Distance(args) => links::tcp::run(&args),
    }
}
