//! Test bench, never shipped: the stand-in cloud, the device twin,
//! and devices in namespaces.

pub mod bench;
pub mod cloud;
pub mod device;
pub mod distance;
pub mod endpoint;
pub mod kill;
mod process;
mod relay;
pub mod twin;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The stand-in cloud and the device twin: a test bench on one machine.
#[derive(Parser)]
#[command(version, max_term_width = 80)]
pub struct Args {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// The stand-in cloud: MQTT broker, provisioning, shadows, registry, AWS API
    #[command(subcommand)]
    Cloud(cloud::Verb),
    /// The device twin: a virtual machine with the real units and binaries
    #[command(subcommand)]
    Twin(twin::Verb),
    /// Measures against the ways that were usual before
    #[command(subcommand)]
    Bench(bench::Verb),
    /// A link with a delay and a rate, for ProxyCommand of ssh
    Relay(relay::Args),
    /// AWS IoT's endpoint with its strict rules, quotas and scripted faults
    Endpoint(endpoint::Args),
    /// Puts a port of this machine far away
    Distance(distance::Args),
}

/// Does what the command line asks for.
///
/// # Errors
/// Whatever the verb reports.
pub fn run(args: Args) -> Result<()> {
    match args.part {
        Part::Cloud(verb) => cloud::run(verb),
        Part::Twin(verb) => twin::run(verb),
        Part::Bench(verb) => bench::run(verb),
        Part::Relay(args) => relay::run(args),
        Part::Endpoint(args) => endpoint::run(&args),
        Part::Distance(args) => distance::run(&args),
    }
}
