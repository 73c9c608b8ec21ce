//! `scripts/demo`: the main job of the product, step by step, each with its
//! seconds. Every step asserts; the first that fails ends the run, because
//! those behind it build on it.

mod device;
mod escape;
mod more;
mod registry;
mod steps;
mod world;

use std::io::{IsTerminal, Write};
use std::time::Instant;

use anyhow::Result;

use crate::shell;
use crate::tally::Tally;
pub use world::{World, until};

/// A title, and a deed that asserts what the title says.
type Step = (&'static str, fn(&mut World) -> Result<String>);

/// What to do with the result.
#[derive(clap::Args, Default)]
pub struct Args {
    /// Leave the cloud and the twin running and print how to reach them
    #[arg(long)]
    keep: bool,
    /// Go on with what else is refused, an escape that fails, and what works
    /// without the cloud
    #[arg(long)]
    all: bool,
}

/// The demo.
///
/// # Errors
/// No directory for the state.
pub fn run(args: &Args) -> Result<Tally> {
    let mut world = World::new()?;
    let tally = if args.all {
        chain(&mut world, &all())
    } else {
        chain(&mut world, &steps::STEPS)
    };
    if args.keep {
        world.keep();
    }
    Ok(tally)
}

/// The demo with all that follows it.
///
/// # Errors
/// No directory for the state.
pub fn test() -> Result<Tally> {
    run(&Args {
        all: true,
        ..Args::default()
    })
}

fn all() -> Vec<Step> {
    let (before, reboot) = steps::STEPS.split_at(steps::BEFORE_REBOOT);
    [
        before,
        &[escape::START],
        reboot,
        &[escape::END],
        &more::STEPS,
    ]
    .concat()
}

/// Runs steps until one does not hold, and counts them.
fn chain(world: &mut World, steps: &[Step]) -> Tally {
    let mut tally = Tally::default();
    let start = Instant::now();
    let live = std::io::stdout().is_terminal();
    for (name, step) in steps {
        if live {
            print!("     ...  {name}");
            // Only to be looked at.
            let _ = std::io::stdout().flush();
        }
        let begun = Instant::now();
        let result = step(world).and_then(|words| shell::going_on().map(|()| words));
        let seconds = begun.elapsed().as_secs_f32();
        tally.count(result.is_ok());
        let back = if live { "\r" } else { "" };
        println!("{back}{seconds:>6.1} s  {name}");
        match result {
            Ok(words) => print!("{}", indented(&words)),
            Err(_) if shell::going_on().is_err() => {
                println!("interrupted: stopping what was started");
                break;
            }
            Err(error) => {
                println!("FAILED: {error:#}");
                world.explain();
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

/// `words` below a step, within 80 columns where blanks allow it.
fn indented(words: &str) -> String {
    let mut text = String::new();
    let mut column = 0;
    for word in words.split_whitespace() {
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
