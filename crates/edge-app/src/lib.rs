//! Developer's tool that takes an app from a laptop to devices: builds it with
//! docker, pushes and signs it, and deploys it.
//!
//! It reads `edge-app.yaml` of the project, `app.yaml` of each app, and images of the
//! laptop's docker engine. It writes to the registry, and reaches devices with the
//! user's own `ssh`, where it calls edge-docker and nothing else. It runs whenever a
//! developer types a command, and keeps no state but a cache.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 3 configuration, 4 registry, 5 device
//! unreachable, 6 refused by the device, 7 signature, 8 rolled back, 9 not running,
//! 10 some of several devices failed, 130 interrupted.

mod cli;
mod cloud;
mod commands;
mod device;
mod exit_code;
mod image;
mod output;
mod project;
mod sandbox;

use anyhow::Result;

pub use cli::args::Args;

/// Carries out the command that `args` name.
///
/// # Errors
/// The error carries one of the exit codes above.
pub fn run(args: Args) -> Result<()> {
    commands::run(args)
}
