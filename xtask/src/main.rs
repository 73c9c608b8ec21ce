//! Every chore of this repository: `cargo xtask --help`.

mod benchmarks;
mod campaigns;
mod demo;
mod dependencies;
mod fuzz;
mod infra;
mod measure;
mod pages;
mod shell;
mod sizes;
mod suite;
mod tally;
mod units;
mod yocto;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Chores of this repository.
#[derive(Parser)]
#[command(max_term_width = 80)]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// From power-on to a signed container running, in the stand-in cloud and
    /// the device twin; prints each step with its seconds
    Demo(demo::Args),
    /// Formatting, lints, scripts, units, every test, the whole chain
    Test(suite::Args),
    /// Runs the fuzz targets of fuzz/, or those that are named
    Fuzz(fuzz::Args),
    /// A table of the device programs and their stripped sizes
    Sizes,
    /// Terraform, its policies, the hook and scripts/run-build, without AWS
    Infra,
    /// Verifies every unit and rates its sandbox
    Units,
    /// Checks the Yocto layer and the kas files; renews the list of crates
    Yocto(yocto::Args),
    /// Compares the dependencies with deny.toml
    Deny,
    /// Known vulnerabilities of the dependencies; fetches their database
    Advisories,
    /// Compares the compiler that each crate declares with its dependencies'
    RustVersion(dependencies::RustVersionArgs),
    /// Measures form and words of each crate; --check compares with the limits
    Measure(measure::Args),
    /// Prints a table of measurements
    #[command(subcommand)]
    Bench(benchmarks::Benchmark),
    /// Runs all cases of tests that have a sample in the daily suite
    #[command(subcommand)]
    Campaign(campaigns::Campaign),
    /// Writes docs/cli/ from what the programs' --help prints
    CliDocs(pages::Args),
}

fn main() -> ExitCode {
    match run(Args::parse().chore) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<bool> {
    shell::notice_signals()?;
    match chore {
        Chore::Demo(args) => demo::run(&args).map(|tally| tally.failed == 0),
        Chore::Test(args) => suite::run(&args),
        Chore::Fuzz(args) => fuzz::run(&args),
        Chore::Sizes => sizes::run(),
        Chore::Infra => infra::run(),
        Chore::Units => units::run(),
        Chore::Yocto(args) => yocto::run(&args),
        Chore::Deny => dependencies::deny(),
        Chore::Advisories => dependencies::advisories(),
        Chore::RustVersion(args) => dependencies::rust_version(&args),
        Chore::Measure(args) => measure::run(&args),
        Chore::Bench(what) => benchmarks::run(&what),
        Chore::Campaign(what) => campaigns::run(&what),
        Chore::CliDocs(args) => pages::run(&args),
    }
}
