//! Demo (`scripts/demo`): the main purpose of the product in single steps, each with its
//! duration. Every step asserts its result, and the first failure ends the run, because
//! later steps depend on earlier ones.

mod bad_days;
mod build;
mod clocks;
mod device;
mod escape;
mod first_app;
mod more;
mod registry;
mod steps;
mod storage;
mod testbed;

use std::io::{IsTerminal, Write};
use std::time::Instant;

use anyhow::Result;

use crate::leftovers::Before;
use crate::shell;
use crate::tally::Tally;
pub(crate) use testbed::{Testbed, until};

/// Title of a demo step, and the function that runs the step, asserts what the title says
/// and returns details to print.
type Step = (&'static str, fn(&mut Testbed) -> Result<String>);

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave local cloud, test VM and container engine running, and print how to change
    /// the app, deploy it and connect to the device
    #[arg(long)]
    keep: bool,
    /// Continue with further refused requests, an escape that fails, and operation
    /// without the cloud
    #[arg(long)]
    all: bool,
    /// Use the programs as they ship, with full optimisation; building takes minutes
    /// longer
    #[arg(long)]
    release: bool,
}

/// Runs the demo; returns false if a step fails or leftovers are found on the machine.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let before = if args.keep {
        None
    } else {
        Some(Before::note()?)
    };
    let mut testbed = Testbed::new(args.release)?;
    let steps = if args.all {
        long()
    } else {
        steps::STEPS.into()
    };
    let passed = chain(&mut testbed, &steps).failed == 0;
    if args.keep && shell::going_on().is_ok() {
        testbed.keep()?;
    } else {
        drop(testbed);
    }
    let clean = before.map_or(Ok(true), |before| before.compare())?;
    Ok(passed && clean)
}

/// Runs all steps with the release programs, as part of the test suite; returns the
/// counts.
pub(crate) fn test() -> Result<Tally> {
    Ok(chain(&mut Testbed::new(true)?, &all()))
}

/// Returns all steps with those of several minutes, which the test suite leaves out.
fn long() -> Vec<Step> {
    let mut steps = all();
    let more = steps.len() - more::STEPS.len();
    let follow: Step = ("docs/first-app.md, followed", first_app::follow);
    let bad = [
        storage::STEP,
        bad_days::FULL,
        clocks::STEP,
        bad_days::RESCUE,
        follow,
    ];
    steps.splice(more..more, bad);
    steps
}

fn all() -> Vec<Step> {
    let (before, reboot) = steps::STEPS.split_at(steps::BEFORE_REBOOT);
    [
        before,
        &[escape::START],
        reboot,
        &[escape::END],
        &bad_days::STEPS,
        &more::STEPS,
    ]
    .concat()
}

/// Runs steps until one fails, prints each with its duration, and returns the counts.
fn chain(testbed: &mut Testbed, steps: &[Step]) -> Tally {
    let mut tally = Tally::default();
    let start = Instant::now();
    let live = std::io::stdout().is_terminal();
    for (name, step) in steps {
        if shell::going_on().is_err() {
            break;
        }
        if live {
            print!("     ...  {name}");
            // A flush error is ignored, since the line is only for a user who watches the
            // terminal.
            let _ = std::io::stdout().flush();
        }
        let begun = Instant::now();
        let result = step(testbed).and_then(|details| shell::going_on().map(|()| details));
        let seconds = begun.elapsed().as_secs_f32();
        tally.count(result.is_ok());
        let back = if live { "\r" } else { "" };
        println!("{back}{seconds:>6.1} s  {name}");
        match result {
            Ok(details) => print!("{}", indented(&details)),
            Err(_) if shell::going_on().is_err() => {
                println!("interrupted: stopping what was started");
                break;
            }
            Err(error) => {
                println!("FAILED: {error:#}");
                testbed.explain();
                break;
            }
        }
    }
    println!(
        "{} steps in {:.0} s, {} failed",
        tally.passed + tally.failed,
        start.elapsed().as_secs_f32(),
        tally.failed
    );
    tally
}

/// Returns the details of a step as indented lines of at most 80 columns, wrapped at
/// spaces.
fn indented(details: &str) -> String {
    let mut text = String::new();
    let mut column = 0;
    for word in details.split_whitespace() {
        if column == 0 || column + 1 + word.len() > 80 {
            text.push_str(if column == 0 { "" } else { "\n" });
            text.push_str("         ");
            column = 9;
        }
        text.push(' ');
        text.push_str(word);
        column += 1 + word.len();
    }
    if column > 0 {
        text.push('\n');
    }
    text
}
