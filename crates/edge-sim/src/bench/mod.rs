//! Measurements, side by side with the ways that were usual before. They print
//! tables and judge nothing: a machine may be busy.

mod sandbox;

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

/// What is measured.
#[derive(Subcommand)]
pub enum Verb {
    /// A change of an app, from the command to the new container running
    Sandbox(Args),
}

/// Arguments of `bench sandbox`.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the programs, built for release
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
pub fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Sandbox(args) => sandbox::run(&args),
    }
}
