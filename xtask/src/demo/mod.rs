//! `scripts/demo`: the main job of the product, step by step, each with its
//! seconds. Every step asserts; the first that fails ends the run, because
//! those behind it build on it.

mod device;
mod registry;
mod steps;
mod world;

use std::io::Write;
use std::time::Instant;

use anyhow::Result;

use crate::suite::Tally;
use world::World;

/// What to do with the result.
#[derive(clap::Args, Default)]
pub struct Args {
    /// Leave the cloud and the twin running and print how to reach them
    #[arg(long)]
    keep: bool,
}

/// Runs all steps and counts them.
///
/// # Errors
/// No folder for the state.
pub fn run(args: &Args) -> Result<Tally> {
    let mut world = World::new()?;
    let mut tally = Tally::default();
    let start = Instant::now();
    for (name, step) in steps::STEPS {
        print!("{name:<46} ");
        std::io::stdout().flush()?;
        let begun = Instant::now();
        let result = step(&mut world);
        let seconds = begun.elapsed().as_secs_f32();
        tally.count(result.is_ok());
        match result {
            Ok(words) => println!("{seconds:>6.1} s  {words}"),
            Err(error) => {
                println!("{seconds:>6.1} s  FAILED\n{error:#}");
                world.explain();
                break;
            }
        }
    }
    println!(
        "{} steps in {:.0} s",
        tally.passed + tally.failed,
        start.elapsed().as_secs_f32()
    );
    if args.keep {
        world.keep();
    }
    Ok(tally)
}
