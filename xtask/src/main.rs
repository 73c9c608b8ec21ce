//! Chores of this repository: `cargo xtask --help`.

mod benchmarks;
mod campaigns;
mod demo;
mod dependencies;
mod fuzz;
mod infra;
mod leftovers;
mod measure;
mod pages;
mod shell;
mod sizes;
mod suite;
mod supervisor;
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
    /// Set by the supervisor of a run
    #[arg(long, hide = true)]
    supervised: bool,
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// From power-on to a signed container running, with the local cloud and
    /// the test VM; prints each step with its seconds
    Demo(demo::Args),
    /// Format, lints, scripts, form and language: quick, without root
    Check,
    /// Every check and every test, and what each costs
    Test(suite::Args),
    /// Runs the fuzz targets of fuzz/, or those that are named
    Fuzz(fuzz::Args),
    /// Prints the device programs and their stripped sizes
    Sizes,
    /// Checks Terraform, its policies, the hook and scripts/run-build, without
    /// AWS
    Infra,
    /// Verifies every unit and rates its sandbox
    Units,
    /// Checks the Yocto layer and the kas files; writes the list of crates
    Yocto(yocto::Args),
    /// Compares the dependencies with deny.toml
    Deny,
    /// Looks for known vulnerabilities of the dependencies, in a database that
    /// it fetches
    Advisories,
    /// Compares the compiler that each crate declares with its dependencies'
    RustVersion(dependencies::RustVersionArgs),
    /// Measures form and language of each crate; --check compares with the limits
    Measure(measure::Args),
    /// Prints a table of measurements
    #[command(subcommand)]
    Bench(benchmarks::Benchmark),
    /// Runs all cases of tests that have a sample in the daily suite
    #[command(subcommand)]
    Campaign(campaigns::Campaign),
    /// Writes docs/cli from the output of the programs' --help
    CliDocs(pages::Args),
    /// Writes the manual pages of docs/man in the same way
    Man(pages::Args),
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<bool> {
    shell::notice_signals()?;
    match args.chore {
        Chore::Demo(_) | Chore::Test(_) if !args.supervised => supervisor::run(),
        Chore::Demo(args) => demo::run(&args),
        Chore::Check => suite::quick(),
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
        Chore::CliDocs(args) => pages::cli(&args),
        Chore::Man(args) => pages::man(&args),
    }
}
