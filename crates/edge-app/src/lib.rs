//! Replaces: the `edge-app.sh` script.
//! Reads: `edge-app.yaml` of the project, `app.yaml` of an app, docker's images.
//! Writes: the registry; asks `edge-docker` on devices, over the user's `ssh`.
//! Runs when: a developer types it.
//! Exits: 0 done, 1 failed, 2 wrong usage, 3 configuration, 4 registry, 5 device
//! unreachable, 6 refused by the device, 7 signature, 8 switched back, 9 not
//! running, 10 some of several devices failed, 130 interrupted.

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

/// Carries out the command that the command line names.
///
/// # Errors
/// The error carries the documented exit code.
pub fn run(args: Args) -> Result<()> {
    commands::run(args)
}
