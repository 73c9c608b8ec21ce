//! Loop that brings the device to the apps of a signed release set.
//!
//! edge-fleet reads the pending jobs that edge-heartbeat wrote, the holds of apps that a
//! person changed, and its own state in `/data/config/edge-fleet`. It runs edge-docker to
//! take sets, pull images and replace apps, one action after the other, and writes each
//! decision durably before its effect: a run that is killed is continued by the next one.
//! Results and a report are left for edge-heartbeat. `edge-fleet.service` runs the program
//! after a change of these files, by a timer, and at each boot; it ends when nothing is left
//! to do. See `docs/decisions/0057-release-sets-on-the-device.md`.

mod clock;
pub mod cloud_config;
pub mod converge;
pub mod credentials;
mod device;
mod exit_code;
mod input;
pub mod jobs;
mod login;
mod reference;
pub mod registry_login;
pub mod report;
mod run;
pub mod secret;
pub mod state;
mod status;

use anyhow::Result;
use clap::{Parser, Subcommand};
use edge_common::Root;

/// Brings the device to the apps of a signed release set.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 80,
    after_help = "\
A release set comes as a job of AWS IoT, or is demanded by an engineer. Apps
that a person changed are held: no set touches them until the hold ends. Without
a new set, apps that do not run as the last set says are repaired.

Exit codes: 0 done, or nothing can be done now; 1 failed; 2 wrong usage; 3
status: the last set was refused, or failed and the earlier apps were restored;
4 status: a set is being carried out or waits, or apps do not run as the set
says; 5 a state file is damaged; 6 another edge-fleet is running; 77 only root
may read the state.

Examples: edge-fleet status
          edge-fleet hold end hello"
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Do what is to do, as edge-fleet.service does (the default)
    #[command(after_help = "Example: edge-fleet run")]
    Run,
    /// Print set, phase, held apps, and what was refused
    #[command(after_help = "Example: edge-fleet status --json")]
    Status {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show or end holds
    #[command(subcommand, after_help = "Example: edge-fleet hold end hello")]
    Hold(HoldCommand),
}

#[derive(Subcommand)]
enum HoldCommand {
    /// Print the apps that a person changed, one a line
    #[command(after_help = "Example: edge-fleet hold list")]
    List,
    /// End the hold of an app, or all holds: the last set is restored
    #[command(
        after_help = "Examples: edge-fleet hold end hello\n          edge-fleet hold end --all"
    )]
    End {
        /// App
        #[arg(required_unless_present = "all")]
        app: Option<String>,
        /// All apps; also replaces a damaged file of holds
        #[arg(long, conflicts_with = "app")]
        all: bool,
    },
}

/// Carries out a command.
///
/// # Errors
/// As the exit codes of `--help` say.
pub fn run(root: &Root, args: &Args) -> Result<()> {
    match &args.command {
        None | Some(Command::Run) => run::run(root),
        Some(Command::Status { json }) => status::print(root, *json),
        Some(Command::Hold(HoldCommand::List)) => status::print_holds(root),
        Some(Command::Hold(HoldCommand::End { app, .. })) => {
            status::end_holds(root, app.as_deref())
        }
    }
}
