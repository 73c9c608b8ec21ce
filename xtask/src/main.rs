//! Development commands of this repository, such as checks, tests, the demo and generated
//! pages: `cargo xtask --help`.

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

/// Development commands of this repository.
#[derive(Parser)]
#[command(max_term_width = 80)]
struct Args {
    /// Set by the supervisor, the parent process of a demo or test run
    #[arg(long, hide = true)]
    supervised: bool,
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Run the demo, from power-on to a signed container, with the local cloud and the
    /// test VM; print the seconds of each step
    Demo(demo::Args),
    /// Check format, lints, scripts, sizes and comments; quick, without root
    Check,
    /// Run every check and every test, and print the time of each
    Test(suite::Args),
    /// Run all fuzz targets of fuzz/, or only the given ones
    Fuzz(fuzz::Args),
    /// Print the stripped sizes of the device programs
    Sizes,
    /// Test Terraform, its policies, the hook and scripts/run-build, without AWS
    Infra,
    /// Verify every systemd unit and rate its sandboxing
    Units,
    /// Check the Yocto layer and the kas files; write the list of crates
    Yocto(yocto::Args),
    /// Compare the dependencies with deny.toml
    Deny,
    /// Fetch the advisory database and compare the dependencies with it
    Advisories,
    /// Compare the compiler version that each crate declares with the versions that its
    /// dependencies need
    RustVersion(dependencies::RustVersionArgs),
    /// Print sizes, import cycles and shares of comments for each crate; with --check,
    /// compare with the limits
    Measure(measure::Args),
    /// Run a benchmark and print its table
    #[command(subcommand)]
    Bench(benchmarks::Benchmark),
    /// Run all cases of a test that has only a sample in the daily suite
    #[command(subcommand)]
    Campaign(campaigns::Campaign),
    /// Write docs/cli from the output of the programs' --help
    CliDocs(pages::Args),
    /// Write the manual pages of docs/man from the same output
    Man(pages::Args),
}

/// Exit code after SIGINT, SIGTERM or SIGHUP.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let result = run(Args::parse());
    if shell::going_on().is_err() {
        return INTERRUPTED.into();
    }
    match result {
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
