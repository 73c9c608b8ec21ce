//! Developer's tool that brings an app from a laptop to devices: it builds the app with
//! docker, pushes and signs the image, and deploys it.
//!
//! edge-app reads `edge-app.yaml` of the project, `app.yaml` of each app, and images of
//! the laptop's docker engine. It writes to the registry, and connects to devices with
//! the user's `ssh`, where edge-docker is the only program that it calls. A developer
//! starts each command; between two commands, only a cache of facts about layers is kept.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 3 configuration, 4 registry, 5 device
//! unreachable, 6 refused by the policy, 7 signature, 8 rolled back, 9 not running,
//! 10 several devices with different results, 130 interrupted.

mod cli;
mod cloud;
mod commands;
mod device;
mod exit_code;
mod image;
mod output;
mod project;
mod sandbox;
mod temporary;

use anyhow::Result;
use edge_common::exit::{Failure, code_of};
use edge_common::log;

pub use cli::args::Args;

/// Runs the command in `args`, for example `push` or `deploy`, until its end or Ctrl-C.
///
/// # Errors
/// Each error maps to one of the exit codes that the crate documentation lists.
pub fn run(args: Args) -> Result<()> {
    commands::run(args).map_err(line_by_line)
}

/// Prints an error of several lines, for example all mistakes of an `app.yaml`, except
/// for the last line. Returns the last line with the same exit code, as the error of the
/// program.
fn line_by_line(error: anyhow::Error) -> anyhow::Error {
    let text = format!("{error:#}");
    // A message is one line: `log` replaces a line feed, with which a device could forge
    // another message.
    match text.trim_end().rsplit_once('\n') {
        Some((first, last)) => {
            first.lines().for_each(log::error);
            Failure::error(code_of(&error), last)
        }
        None => error,
    }
}
